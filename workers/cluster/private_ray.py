"""A Ray of this process alone: its folder, its token, and how long it may take to start."""

import contextlib
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from seedsweep.storage.errors import ConfigError, TransientError
from seedsweep.storage.held_folder import hold_folder
from seedsweep.storage.whole_file import write_whole

log = logging.getLogger(__name__)

START_SECONDS = 300
"""So long may each step of a start take; on a busy machine it takes over a minute."""

STARTS = 3
"""How often it is tried, since somebody may take a port that was free."""

WORD_SECONDS, POLL_SECONDS = 20.0, 0.1

PREFIX = "ssray-"
"""Of its folder; short, so that a TMPDIR of 26 characters has room for sockets."""

SOCKET_CHARACTERS = 107
"""The longest path that the kernel takes for a socket."""

_SOCKET = "r/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""The longest name of a socket in it: Ray lets everybody into its own folder, so that is inside."""

_HOST = "127.0.0.1"
_GRAVE = re.compile(r"^\[[^\]]* [EC] \d+ \d+\] \(\w+\) \S+ +(.*\S)", re.MULTILINE)

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # Ray's own limits are 30 s for the first two, 60 s for the third; then it gives up.
    "RAY_gcs_server_port_wait_time_s": str(START_SECONDS),
    "RAY_agent_register_timeout_ms": str(START_SECONDS * 1000),
    "RAY_worker_register_timeout_seconds": str(START_SECONDS),
    # A node that has no turn for half a minute is not dead: it is the only one.
    "RAY_health_check_failure_threshold": "60",
    # No process that waits for work: an actor has one of its own.
    "RAY_prestart_worker_first_driver": "0",
}
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""The variables of an actor, which has one CPU."""

_AGENTS = ("--dashboard_agent_command", "--runtime_env_agent_command")
_IDLE = [
    *(sys.executable, "-S", "-E", "-c"),
    "import os, time; node = os.getppid();"
    " node != 1 and all(time.sleep(1) is None for _ in iter(lambda: os.getppid() == node, False))",
]
_OF_THE_MACHINE = ("RAY_TMPDIR", "RAY_memory_", "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE")
"""Beginnings of those variables of Ray that say what this machine bears. All others are meant for
another Ray: its address and certificates, its resources, hooks that run code of others."""


def use_private_environment() -> None:
    """Have Ray, which is not imported yet, ask for a token of ours, and know nothing of what the
    environment says of other clusters."""
    for name in [*os.environ]:
        if name.startswith("RAY_") and not name.startswith(_OF_THE_MACHINE):
            del os.environ[name]
    os.environ.update(ENVIRONMENT)


def start(ray: Any, cpus: int, folder: Path) -> None:
    """Start a Ray with so many CPUs that nobody else can use, however busy this machine is.

    A start that takes long is logged. Raises `TransientError` if it does not start.
    """
    began = time.monotonic()
    for tries_left in reversed(range(STARTS)):
        try:
            _start_once(ray, cpus, folder)
            return
        except Exception as error:
            # Ray itself raises a bare Exception here.
            _end_what_began(error)
            why = _first_grave_line(folder / "r") or first_line(error)
            if not tries_left or time.monotonic() - began > START_SECONDS:
                raise TransientError(
                    f"Ray does not start on this machine ({why}); free processors, memory or room "
                    f"in {folder.parent}, and try again."
                ) from error
            log.warning("Ray did not start (%s); it is tried again.", why)


def _start_once(ray: Any, cpus: int, folder: Path) -> None:
    *agents, metrics = _free_ports(4)
    with _alone(ray), _patient(ray, folder / "r", agents):
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 * 1024 * 1024,
            _node_ip_address=_HOST,
            # Otherwise the node waits until an agent says one.
            _metrics_export_port=metrics,
            _temp_dir=str(folder / "r"),
        )


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for Ray that only this user may enter, for the time of the block.

    It lies in RAY_TMPDIR, TMPDIR or /tmp: the first that can be written and is short enough for
    Ray's sockets. Folders there whose process was killed are removed first. Raises `ConfigError`
    if there is none.
    """
    folder, lock = _make_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_folder() -> tuple[Path, int]:
    refused = []
    for place in _places():
        if len(str(place / f"{PREFIX}12345678" / _SOCKET)) > SOCKET_CHARACTERS:
            refused.append(f"{place} is too long for its sockets")
            continue
        try:
            return hold_folder(place, PREFIX)
        except OSError as error:
            refused.append(f"{place}: {error.strerror or error}")
    raise ConfigError(
        f"There is no folder for Ray ({'; '.join(refused)}); set RAY_TMPDIR to a short path that "
        "can be written."
    )


def _places() -> list[Path]:
    named = [os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp"]  # noqa: S108
    return list(dict.fromkeys(Path(place).absolute() for place in named if place))


@contextlib.contextmanager
def _alone(ray: Any) -> Iterator[None]:
    """For the time of the block, have Ray start without the processes that only a cluster needs.

    These are the server of its dashboard and its agents, what asks for further nodes, and what
    collects the output of actors on other nodes. Ray starts them without a dashboard too, and no
    setting changes that; its node insists on agents, so it has two that do nothing. What needs
    them, jobs, metrics and runtime environments, is not used; actors get `ONE_THREAD` of their
    node. Measured on 2 cores: a start takes 2.6 CPU seconds and not 6.

    Each process is the first of a group: what is sent to ours, as `timeout` and CI do, ends us, and
    we them. Ended beside us, they would be waited for.
    """
    services, parameter = ray._private.services, ray._private.parameter
    serve, begin, params = (
        services.start_api_server,
        services.start_ray_process,
        parameter.RayParams,
    )
    popen = services.ConsolePopen

    def start_process(command: list[str], process_type: str, fate_share: bool, **how: Any) -> Any:
        plain = [_without_agent(argument) for argument in command]
        how["env_updates"] = (how.get("env_updates") or {}) | ONE_THREAD
        return begin(plain, process_type, fate_share, **how)

    services.start_api_server = lambda *_, **__: (None, None)
    services.start_ray_process = start_process
    services.ConsolePopen = partial(popen, process_group=0)
    parameter.RayParams = partial(params, include_log_monitor=False, no_monitor=True)
    try:
        yield
    finally:
        services.start_api_server, services.start_ray_process = serve, begin
        services.ConsolePopen = popen
        parameter.RayParams = params


def _without_agent(argument: str) -> str:
    """An argument of a node's command; in place of an agent it names what ends with the node."""
    name, _, _ = argument.partition("=")
    return f"{name}={shlex.join(_IDLE)}" if name in _AGENTS else argument


@contextlib.contextmanager
def _patient(ray: Any, folder: Path, ports: list[int]) -> Iterator[None]:
    """For the time of the block, let a start of Ray take as long as it takes.

    Ray's node ends itself if the agents beside it have not said within 15 s which ports they have,
    and ours never say, so that is said here; and its driver gives the node up after 30 s. No
    setting changes either (Ray's issue 65983).
    """
    services, parameter = ray._private.services, ray._private.parameter
    ask, params, began = services.get_node, parameter.RayParams, time.monotonic()
    names = ("runtime_env_agent_port", "metrics_agent_port", "dashboard_agent_listen_port")

    def get_node(gcs_address: str, node_id: str) -> Any:
        said = began
        # The third is the one that Ray does not tell its node.
        name = f"{names[2]}_{node_id}"
        write_whole(folder / "session_latest" / name, str(ports[2]))
        while True:
            try:
                return ask(gcs_address, node_id)
            except Exception:
                now = time.monotonic()
                if now - began > START_SECONDS:
                    raise
                if _has_lost_a_child():
                    raise TransientError("one of its processes has ended") from None
                if now - said > WORD_SECONDS:
                    said = now
                    log.warning("Ray has been starting for %.0f s; it is waited for.", now - began)
                time.sleep(POLL_SECONDS)

    services.get_node = get_node
    parameter.RayParams = partial(params, **dict(zip(names, ports, strict=True)))
    try:
        yield
    finally:
        services.get_node, parameter.RayParams = ask, params


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def _has_lost_a_child() -> bool:
    """Whether a child of this process has ended, such as Ray's node."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _end_what_began(error: BaseException) -> None:
    """End the processes of a Ray that did not start, which nothing but the traceback knows."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        end = getattr(frame.f_locals.get("self"), "kill_all_processes", None)
        if end:
            end(check_alive=False, allow_graceful=False)


def _first_grave_line(folder: Path) -> str:
    """What Ray's node or head said first that it calls an error, empty if nothing."""
    for name in ("raylet.out", "gcs_server.out"):
        with contextlib.suppress(OSError):
            text = (folder / "session_latest" / "logs" / name).read_text(errors="replace")
            if grave := _GRAVE.search(text):
                return grave[1][:200]
    return ""


def first_line(error: Exception) -> str:
    """What an error says first, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
