"""Where a part of the deployment lives: its record, its log, its processes."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local import processes
from deploy.local.processes import Process


class Place:
    """The place of the part `name` in a deployment's folder; whoever looks, it is the same one."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / "log" / f"{name}.log"
        self._stand = (folder / "run" / name).resolve()
        self._record = folder / "run" / f"{name}.json"

    @property
    def leader(self) -> Process | None:
        """The process that was started here, None where it is gone."""
        kept = processes.load(self._record)
        return kept if kept is not None and kept.is_running else None

    @property
    def others(self) -> list[Process]:
        """All others here: what the leader started, even if it is gone."""
        leader = self.leader
        pid = leader.pid if leader else None
        return [process for process in processes.standing_in(self._stand) if process.pid != pid]

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs here."""
        return self.leader is None and not self.others

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the leader; whether it stays is for `leader` to say."""
        self._stand.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        started = processes.start(command, self._stand, environment, self.log)
        if started is not None:
            processes.save(started, self._record)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the leader, who ends its own; without one, to all."""
        leader = self.leader
        for process in [leader] if leader else self.others:
            process.send(signal.SIGTERM)

    def kill(self) -> None:
        """End everything here without a word."""
        leader = self.leader
        for process in [*([leader] if leader else []), *self.others]:
            process.send(signal.SIGKILL)

    def forget(self) -> None:
        """Remove the record of a leader that is gone."""
        self._record.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The last line of the log."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.is_file() else []
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else "it said nothing"
