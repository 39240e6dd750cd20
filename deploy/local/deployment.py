"""Start, look at and stop the parts of a deployment on one machine."""

import contextlib
import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import parts, settings
from deploy.local.part import Layout, LocalPart, client_environment
from deploy.local.place import Place
from deploy.local.ports import HOST, is_free
from deploy.local.ray_node import clean_up
from deploy.local.settings import Options, Settings
from deploy.local.stopping import stop
from seedsweep.scheduler.services.supervisor import choose_devices
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError, SeedsweepError
from seedsweep.storage.whole_file import write_whole
from seedsweep.storage.workforce import Workforce

START_SECONDS = 90.0
POLL_SECONDS = 0.05
STOP_SECONDS = 60.0
PATIENCE = 900.0
"""So long the workers and the analyst have for what is in hand, unless `down` is told."""
FIRST_WORD_SECONDS, WORD_SECONDS = 3.0, 10.0
"""When `up` first says what it waits for, and how often then."""
STOP_ORDER = (("worker", "analyst"), ("scheduler",), ("ray",), ("store",), ("broker", "prometheus"))
"""Each group is asked to stop once the one before is gone, since it needs what follows."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class State:
    """How a part is; `seconds`: since it was started.

    `waits_for`: what it says it waits for, if it answers and is not ready; else empty.
    `left_over`: how many processes it started that run on although it has died.
    """

    name: str
    running: bool
    answers: bool
    pid: int | None
    seconds: float | None
    address: str
    log: str
    waits_for: str
    left_over: int = 0


def up(folder: Path, options: Options, say: Say) -> Settings:
    """Start what does not run, on the data it had, and wait until everything answers.

    What runs stays as it is. Says a line for each part. Raises `ConfigError` for a program that is
    missing, a port that somebody else took, other options than those that it runs with, and a
    folder that another `up` or `down` works on; and `SeedsweepError` where a part does not come up,
    the others then stay.
    """
    layout = _make(folder)
    with _alone(layout):
        last, workers = settings.load(layout.settings), count_workers(options)
        if last is not None and last.options != options:
            _require_stillness(layout, last.options, options)
        kept = settings.settle(last, options, workers)
        servers, services = _parts(layout, kept)
        settings.save(kept, layout.settings)
        write_whole(layout.environment, _exports(kept), private=True)
        started = _start(layout, servers, say)
        if "store" in started:
            _examine(kept, say)
        _start(layout, services, say)
    return kept


def down(folder: Path, patience: float, say: Say) -> None:
    """Stop everything in order; the workers and the analyst finish within `patience` seconds.

    What takes longer is killed, and its workers count as stopped, not as lost. No process is
    touched that was not started here. Says a line for each part.
    """
    layout = Layout(folder)
    kept = settings.load(layout.settings)
    if kept is None:
        raise ConfigError(f"{folder} holds no deployment; name the folder that `up` was given.")
    with _alone(layout):
        for group in STOP_ORDER:
            places = [layout.place(name) for name in group]
            seconds = patience if "worker" in group else min(patience, STOP_SECONDS)
            if "worker" in stop(places, seconds, say):
                _take_leave(kept)
        clean_up(layout.data("ray"))


def status(folder: Path) -> list[State]:
    """How each part is, in the order in which they are started.

    Raises `ConfigError` for a folder without a deployment.
    """
    layout = Layout(folder)
    kept = settings.load(layout.settings)
    if kept is None:
        raise ConfigError(f"{folder} holds no deployment; make one with `up`.")
    servers, services = _parts(layout, kept)
    return [_state(layout.place(part.name), part) for part in [*servers, *services]]


def count_workers(options: Options) -> int:
    """How many workers there are to be.

    Raises `ConfigError` for devices that are not visible, and for several workers on one of them.
    """
    devices = choose_devices(options.devices, None)
    if options.workers is not None and devices != ["cpu"]:
        raise ConfigError(
            f"--workers is for the CPU, but they would be on {', '.join(devices)}, where each "
            "device serves one; leave it out, or add --devices cpu."
        )
    return len(devices) * (options.workers or 1)


def _require_stillness(layout: Layout, last: Options, wanted: Options) -> None:
    names = [name for group in STOP_ORDER for name in group]
    if not last.prometheus:
        names.remove("prometheus")
    dead = [name for name in names if layout.place(name).leader is None]
    if len(dead) == len(names):
        return
    one_more = f"`. {layout.environment}; seedsweep worker --device cpu`"
    adding = f" {one_more} adds a worker without a stop." if last.workers != wanted.workers else ""
    raise ConfigError(
        f"Nothing was changed: the deployment runs with {settings.differences(last, wanted)}. Stop "
        f"it with `down`, then `up` takes that.{adding}{_words_on(dead)}"
    )


def _words_on(dead: Sequence[str]) -> str:
    """What does not run, and how it is started again; empty if all runs."""
    if not dead:
        return ""
    does = "does" if len(dead) == 1 else "do"
    return f" {', '.join(dead)} {does} not run; `up` without these options starts what is missing."


def _parts(layout: Layout, kept: Settings) -> tuple[list[LocalPart], list[LocalPart]]:
    """The servers, and what needs them."""
    services = parts.services(layout, kept, count_workers(kept.options))
    if kept.options.prometheus:
        services.append(parts.prometheus(layout, kept))
    return parts.servers(layout, kept), services


def _start(layout: Layout, wanted: Sequence[LocalPart], say: Say) -> list[str]:
    """Start together what does not run, and wait for all; returns the names of what did not."""
    missing = [part for part in wanted if layout.place(part.name).leader is None]
    for part in missing:
        _make_room(layout.place(part.name), part, say)
    began = time.monotonic()
    for part in missing:
        layout.data(part.name).mkdir(mode=0o700, parents=True, exist_ok=True)
        part.prepare()
        layout.place(part.name).start(part.command, part.environment)
    waiting, next_word = list(wanted), FIRST_WORD_SECONDS
    while waiting:
        seconds = time.monotonic() - began
        for part in [part for part in waiting if part.answers()]:
            waiting.remove(part)
            how = f"answers after {seconds:.1f} s" if part in missing else "runs"
            say(f"{part.name:<10} {how} at {part.address}")
        for part in waiting:
            _require_life(layout.place(part.name), part, seconds)
        if waiting and seconds >= next_word:
            say(
                f"… {', '.join(part.name for part in waiting)}: waits {seconds:.0f} s for an answer"
            )
            next_word = seconds + WORD_SECONDS
        time.sleep(POLL_SECONDS)
    return [part.name for part in missing]


def _make_room(place: Place, part: LocalPart, say: Say) -> None:
    """End what a part that died has left; raises `ConfigError` where others have its ports."""
    if not place.is_empty:
        say(f"{part.name:<10} has died; what it left is ended first")
        stop([place], PATIENCE if part.name == "worker" else STOP_SECONDS, say)
    taken = [port for port in part.ports if not is_free(port)]
    if taken:
        raise ConfigError(
            f"Port {taken[0]} of the {part.name} is taken by another program (see `ss -ltnp`); "
            "end that and try again."
        )


def _require_life(place: Place, part: LocalPart, seconds: float) -> None:
    if place.leader is None:
        raise SeedsweepError(f"The {part.name} ended: {place.last_words()} (see {place.log}).")
    if seconds > START_SECONDS:
        raise SeedsweepError(
            f"The {part.name} runs, but has not answered for {START_SECONDS:.0f} s; its log, "
            f"{place.log}, says why."
        )


def _examine(kept: Settings, say: Say) -> None:
    """Have `seedsweep doctor` make the bucket and look at the servers."""
    began = time.monotonic()
    say(f"{'doctor':<10} looks at broker, store, Ray and devices …")
    finished = subprocess.run(
        [sys.executable, "-m", "seedsweep.cli", "doctor", "--create-bucket", "--json"],
        env=os.environ | client_environment(kept),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        findings = json.loads(finished.stdout)
    except ValueError:
        raise SeedsweepError(f"`seedsweep doctor` failed: {finished.stderr.strip()}") from None
    failed = [f"{f['says']} {f['remedy']}" for f in findings if f["verdict"] == "failure"]
    if failed:
        raise SeedsweepError("`seedsweep doctor` says: " + " ".join(failed))
    say(f"{'doctor':<10} found nothing wrong in {time.monotonic() - began:.1f} s")


def _take_leave(kept: Settings) -> None:
    """Take leave for workers of this deployment that were killed on purpose, and so could not."""
    ports = kept.ports
    ours = {f"{HOST}:{ports.workers + number}" for number in range(ports.workers_reserved)}
    workforce = Workforce(client_environment(kept)["SEEDSWEEP_BROKER_URL"])
    with contextlib.suppress(BrokerUnavailableError):
        for sign in workforce.signs():
            if sign.worker.metrics in ours and not sign.worker.why_out:
                workforce.leave(sign.worker.name)


def _exports(kept: Settings) -> str:
    """What a shell reads so that `seedsweep` finds this deployment."""
    lines = [
        "# Of this deployment alone, and secret. Read it with: . FILE",
        "# Written by every `up` from settings.json: changes here are lost. To change a password:",
        "# `down`, edit `secrets` in settings.json, `up`, and read this file again in every shell.",
    ]
    lines += [f"export {k}={shlex.quote(v)}" for k, v in client_environment(kept).items()]
    commands = shlex.quote(str(Path(sys.executable).parent))
    return "\n".join([*lines, f'export PATH={commands}:"$PATH"', ""])


def _state(place: Place, part: LocalPart) -> State:
    leader = place.leader
    answers = leader is not None and part.answers()
    return State(
        name=part.name,
        running=leader is not None,
        answers=answers,
        pid=leader.pid if leader else None,
        seconds=leader.age if leader else None,
        address=part.address,
        log=str(place.log),
        waits_for=part.waits_for() if leader and not answers else "",
        left_over=0 if leader else len(place.others),
    )


def _make(folder: Path) -> Layout:
    if not hasattr(os, "pidfd_open"):
        raise ConfigError("This needs Linux 5.3 or newer; elsewhere use deploy/compose.yaml.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout = Layout(folder)
    layout.logs.mkdir(mode=0o700, exist_ok=True)
    return layout


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Let no other `up` or `down` work on the folder."""
    with layout.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another `up` or `down` works on {layout.folder}; wait until it is done."
            ) from None
        yield
