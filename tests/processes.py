"""What tests ask the kernel about processes."""

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
