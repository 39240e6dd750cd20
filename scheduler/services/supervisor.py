"""One worker process per device: started, started again when it dies, drained together.

Ctrl-C reaches only the supervisor, which lets all finish what they have in hand. If the supervisor
is killed they do so by themselves.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from seedsweep.scheduler.services.child_process import start_process
from seedsweep.storage.errors import ConfigError
from seedsweep.workers.devices import visible_devices
from seedsweep.workers.monitoring import http_pages

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1

FIRST_WAIT_SECONDS = 1.0
"""Short, since most deaths are one-off: a device out of memory, a kill by hand."""

LONGEST_WAIT_SECONDS = 60.0
"""A worker that keeps dying costs its host one start a minute; once it can live, it is soon
back."""

STEADY_SECONDS = 300.0
"""Longer than a large model takes to load: a worker that dies of its first unit has not lived."""

TOOK_ITSELF_OUT, REFUSED = 1, 2


class DeviceWorker:
    """A device's place: `tend` starts its worker, and starts it again some time after it died."""

    def __init__(self, device: str, command: Sequence[str]) -> None:
        self._device, self._command = device, command
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._due = self._wait = 0.0
        self._code: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether a worker lives here now."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_refused(self) -> bool:
        """Whether its last worker found its settings wrong."""
        return self._process is None and self._code == REFUSED

    def tend(self) -> None:
        """Start the worker if it is due; note its death. Returns at once."""
        if self._process is None:
            if time.monotonic() >= self._due:
                self._start()
            return
        code = self._process.poll()
        if code is not None:
            what = f"The worker on {self._device} (process {self._process.pid}) {_ending(code)}"
            self._process, self._code = None, code
            self._put_off(what, time.monotonic() - self._began)

    def drain(self) -> None:
        """Have the worker finish what it has in hand, and end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the worker now; others get its units when its leases expire."""
        if self._process is not None:
            self._process.kill()

    def _start(self) -> None:
        self._began = time.monotonic()
        # As OpenMP's spinning threads would take the cores of the other workers.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        try:
            self._process = start_process(self._command, environment)
        except OSError as error:
            self._code = None
            self._put_off(f"The worker on {self._device} could not be started ({error})", 0.0)

    def _put_off(self, what: str, lived: float) -> None:
        self._wait = next_wait(self._wait, self._code, lived)
        self._due = time.monotonic() + self._wait
        log.warning("%s; it is started again in %.0f s.", what, self._wait)


def next_wait(last: float, code: int | None, lived: float) -> float:
    """Seconds until a worker that ended with `code` after `lived` seconds is started again. `last`
    is the wait before, 0 if there was none. It is the longest at once if the worker itself saw that
    it cannot go on, or refused its settings: somebody has to mend the device or the host first.
    """
    if code in (TOOK_ITSELF_OUT, REFUSED):
        return LONGEST_WAIT_SECONDS
    if lived >= STEADY_SECONDS:
        return FIRST_WAIT_SECONDS
    return min(LONGEST_WAIT_SECONDS, max(FIRST_WAIT_SECONDS, 2 * last))


def choose_devices(names: str | None, processes: int | None) -> list[str]:
    """The device of each worker: all visible ones, or those named, as in `0,1` or `cuda:0,cpu`.

    Raises `ConfigError` for a device that is not visible or is named twice, and for several
    `processes` on anything but the CPU.
    """
    visible = visible_devices()
    if names is None:
        devices = visible
    else:
        words = [word.strip() for word in names.split(",")]
        devices = [f"cuda:{word}" if word.isdecimal() else word for word in words]
    unknown = sorted({*devices} - {*visible, "cpu"})
    if unknown:
        raise ConfigError(
            f"--devices names {', '.join(map(repr, unknown))}, but this machine shows "
            f"{', '.join(visible)}; name those, or see CUDA_VISIBLE_DEVICES."
        )
    if len({*devices}) < len(devices):
        raise ConfigError(f"--devices {names} names a device twice; it serves one worker.")
    if processes is None:
        return devices
    if devices != ["cpu"]:
        raise ConfigError(
            f"--processes is for the CPU, but the workers would be on {', '.join(devices)}, where "
            "each device serves one; leave it out, or add --devices cpu."
        )
    return devices * processes


def worker_commands(
    devices: Sequence[str], options: Sequence[str], metrics_port: int | None
) -> list[list[str]]:
    """The command of each device's worker; each has the next metrics port from the first on.

    Without a port each takes its own first free one, with 0 none has any. Raises `ConfigError`
    if there are more workers than ports to take.
    """
    if metrics_port is None and len(devices) > http_pages.PORTS:
        raise ConfigError(
            f"{len(devices)} workers are more than the {http_pages.PORTS} ports that they find by "
            "themselves; give --metrics-port the first of as many, or 0."
        )
    commands = []
    for number, device in enumerate(devices):
        command = [
            sys.executable,
            "-m",
            "seedsweep.cli",
            "worker",
            "--device",
            device,
            *options,
        ]
        if metrics_port is not None:
            command += ["--metrics-port", str(metrics_port + number if metrics_port else 0)]
        commands.append(command)
    return commands


def supervise(devices: Sequence[str], commands: Sequence[Sequence[str]]) -> None:
    """Keep a worker alive on each device until SIGTERM or SIGINT, then let all finish.

    That has no time limit; a second signal kills them. Raises `ConfigError` if every worker
    refused its settings.
    """
    signals = _count_signals()
    workers = [DeviceWorker(*each) for each in zip(devices, commands, strict=True)]
    log.info("The supervisor keeps a worker on each of %s.", ", ".join(devices))
    while not signals():
        for worker in workers:
            worker.tend()
        if all(worker.is_refused for worker in workers):
            raise ConfigError("Every worker refused its settings; mend what they said above.")
        time.sleep(TICK_SECONDS)
    log.info("The workers finish what they have in hand; a second signal kills them.")
    for worker in workers:
        worker.drain()
    while any(worker.is_running for worker in workers):
        if signals() > 1:
            for worker in workers:
                worker.kill()
        time.sleep(TICK_SECONDS)
    log.info("The supervisor has stopped.")


def _count_signals() -> Callable[[], int]:
    """From now on SIGTERM and SIGINT are only counted; returns how many came."""
    came: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: came.append(number))
    return came.__len__


def _ending(code: int) -> str:
    words = {TOOK_ITSELF_OUT: "took itself out (exit 1)", REFUSED: "refused its settings (exit 2)"}
    return words.get(code, f"ended (exit {code})" if code >= 0 else f"died (signal {-code})")
