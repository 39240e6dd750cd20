"""What tests ask the kernel about processes."""

import os
from pathlib import Path


def is_alive(pid):
    """Whether the process runs: a zombie does not."""
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    """The process ids of a process's children, with their command lines."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(_fields(stat)[1]) == pid:
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _fields(stat):
    """The fields of a stat file behind the process's name: state, parent, ..."""
    return stat.read_text().rsplit(")", 1)[1].split()


def resident_bytes(pid):
    """How much of the process's memory is resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids):
    """The seconds of CPU that the processes took, and those of their children that have ended."""
    fields = (_fields(Path(f"/proc/{pid}/stat")) for pid in pids)
    return sum(sum(map(int, each[11:15])) for each in fields) / os.sysconf("SC_CLK_TCK")
