"""Processes that end with this one, and a supervised one that is started again when it dies.

Each has a session of its own, so that Ctrl-C reaches only this process, which stops them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from seedsweep.storage.errors import ConfigError, SeedsweepError, TransientError

STOP_SECONDS = 15.0


MAX_QUICK_DEATHS = 5


QUICK_SECONDS = 20.0


def start_process(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, with exactly this environment and without input.

    It writes to `output`, None for where this process writes to. Raises `OSError` if it cannot
    be started.
    """
    binding = [sys.executable, "-m", "seedsweep.scheduler.services.end_with_parent"]
    return subprocess.Popen(
        [*binding, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )


class Child:
    """A supervised process: `ensure_alive` starts it again when it has died, unless that was the
    last of so many deaths."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        deaths: int = MAX_QUICK_DEATHS,
    ) -> None:
        self.name, self.log = name, log
        self._deaths = deaths
        self._command, self._environment = command, environment
        self._quick_deaths = 0
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the present process."""
        return self._process.pid

    def ensure_alive(self) -> None:
        """Start the process again if it has died.

        Raises `ConfigError` if the user's settings ended it, `TransientError` if it
        waited for something in vain, and `SeedsweepError` if it died as often as it may in a row
        soon after its start.
        """
        code = self._process.poll()
        if code is None:
            return
        if code == 2:
            raise ConfigError(self._last_words())
        # A worker that took itself out ends with 1, however long it lived.
        quick = code == 1 or time.monotonic() - self._began < QUICK_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if code == 3 and (not quick or self._quick_deaths >= self._deaths):
            raise TransientError(self._last_words())
        if self._quick_deaths >= self._deaths:
            raise SeedsweepError(
                f"The {self.name} keeps dying (exit {code}); its last words: {self._last_words()}"
            )
        self._start()

    def forget_deaths(self) -> None:
        """Count anew how often it died: what may have ended it is out of the way."""
        self._quick_deaths = 0

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, deadline: float) -> None:
        """Wait for the process until `deadline` (monotonic seconds), then kill it."""
        self.ask_to_stop()
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._began = time.monotonic()
        with self.log.open("ab") as output:
            environment = {**os.environ, **self._environment}
            self._process = start_process(self._command, environment, output)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"none; see {self.log}."


@contextlib.contextmanager
def stopping(children: list[Child]) -> Iterator[list[Child]]:
    """Stop all children at the end, together, whatever happened."""
    try:
        yield children
    finally:
        deadline = time.monotonic() + STOP_SECONDS
        for child in reversed(children):
            child.ask_to_stop()
        for child in reversed(children):
            child.stop(deadline)
