"""Processes that outlive the command that started them: found again, and never mistaken.

A number alone names no process: the kernel gives it to another one. So it is known by its number,
its start in this boot, and its command. Linux only.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from seedsweep.storage.whole_file import write_whole

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
_TICKS = os.sysconf("SC_CLK_TCK")


_EXEC_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this user; `started` counts clock ticks since the boot `boot`.

    Its command is the one that it was started with, whatever runs that: a script's has its
    interpreter before it.
    """

    pid: int
    started: int
    boot: str
    command: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """Whether it is there still, and not only waits to be reaped."""
        found = look(self.pid)
        return found is not None and self._is(found)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to no other process; nothing happens where it is gone."""
        with contextlib.suppress(ProcessLookupError):
            # Held by the descriptor, the process cannot be replaced between look and signal.
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.is_running:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)

    def _is(self, found: "Process") -> bool:
        arguments = self.command[1:]
        same_command = found.command[len(found.command) - len(arguments) :] == arguments
        return (self.started, self.boot) == (found.started, found.boot) and same_command


def look(pid: int) -> Process | None:
    """The process of this number; None where there is none, or one that only is to be reaped."""
    try:
        state, started = _state_and_start(pid)
        command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state in "ZX":
        return None
    return Process(pid, started, _BOOT.read_text().strip(), tuple(command.split("\0")[:-1]))


def start(
    command: Sequence[str], stand: Path, environment: Mapping[str, str], log: Path
) -> Process | None:
    """Start a process in a session of its own, whose working folder is `stand`.

    What it prints is added to the log; its files and sockets are for this user only. Returns None
    where it ended at once.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=stand,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
        )
    # It is to outlive us, which is nothing to warn about.
    child.returncode = 0
    deadline = time.monotonic() + _EXEC_SECONDS
    while (found := look(child.pid)) is not None and time.monotonic() < deadline:
        started = replace(found, command=tuple(command))
        if started.is_running:
            return started
        time.sleep(0.001)  # its command is not yet the one that it becomes
    return None


def standing_in(stand: Path) -> list[Process]:
    """The processes of this user without a terminal whose working folder is `stand`.

    That is how the children of a process are known that has died: Ray's have sessions, and names,
    of their own. People who look into the folder have a terminal.
    """
    found = (look(pid) for pid in _pids() if _stands_in(pid, stand))
    return [process for process in found if process is not None and process.pid != os.getpid()]


def save(process: Process, file: Path) -> None:
    """Keep what the process is known by."""
    write_whole(file, json.dumps(asdict(process)), private=True)


def load(file: Path) -> Process | None:
    """What was saved, None where nothing was."""
    if not file.is_file():
        return None
    kept = json.loads(file.read_text())
    return Process(kept["pid"], kept["started"], kept["boot"], tuple(kept["command"]))


def _pids() -> Iterator[int]:
    return (int(folder.name) for folder in _PROC.iterdir() if folder.name.isdecimal())


def _stands_in(pid: int, stand: Path) -> bool:
    folder = _PROC / str(pid)
    try:
        if folder.stat().st_uid != os.getuid() or (folder / "cwd").readlink() != stand:
            return False
        return _fields(pid)[4] == "0"
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _state_and_start(pid: int) -> tuple[str, int]:
    fields = _fields(pid)
    return fields[0], int(fields[19])


def _fields(pid: int) -> list[str]:
    """The fields of its stat file behind its name, which may hold anything: state, parent, …"""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
