"""Pictures in a tar, as WebDataset keeps them: each a member, its caption beside it."""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from seedsweep.workers.training.picture_file import PICTURES, caption_text, refuse_bytes

TARS: Mapping[str, Literal["r:", "r:gz"]] = {".tar": "r:", ".tar.gz": "r:gz", ".tgz": "r:gz"}
"""The kinds of tars, and how each is opened."""

_BLOCK = 512
_CHUNK = 1 << 20


def read_members(
    path: Path, kind: str, left_out: Counter[str]
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The pictures of a tar of this kind by name, in order; each can be read until the next one is
    asked for. Other members are counted in `left_out`, captions aside.

    Raises what is in `UNREADABLE` where the tar breaks off, at the end too: it has to end with two
    blocks of zeros and nothing after them, so that one cut at any byte is not taken for whole.
    """
    with tarfile.open(path, TARS[kind]) as opened:
        for member in opened:
            suffix = PurePosixPath(member.name).suffix.lower()
            if member.isfile() and suffix in PICTURES:
                yield _printable(member.name), partial(_member_bytes, opened, member)
            elif suffix in PICTURES and not member.isdir():
                left_out["link in a tar"] += 1
            elif member.isfile() and suffix != ".txt":
                left_out[suffix or "file without suffix"] += 1
        _check_end(opened)


def captions_in(path: Path, kind: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The captions of a tar's pictures, by what `names` calls them: the members of the same names
    with `.txt`."""
    wanted = {_without_suffix(member): name for member, name in names.items()}
    with tarfile.open(path, TARS[kind]) as opened:
        for member in opened:
            stem = _without_suffix(_printable(member.name))
            if not member.isfile() or not member.name.endswith(".txt") or stem not in wanted:
                continue
            if caption := caption_text(_member_bytes(opened, member)):
                yield wanted[stem], caption


def _check_end(opened: tarfile.TarFile) -> None:
    """Raise unless the tar's last member is followed by its end mark, and that by zeros alone."""
    file = opened.fileobj
    if file is None:
        return
    file.seek(opened.offset)
    data = file.read(_CHUNK)
    if len(data) < 2 * _BLOCK and not data[:_BLOCK].strip(b"\0"):
        raise EOFError("it has no end mark: it was cut, or its writer was stopped")
    while data:
        if data.strip(b"\0"):
            raise ValueError("it was cut, is damaged, or goes on after its end mark")
        data = file.read(_CHUNK)


def _member_bytes(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    refuse_bytes(member.size)
    file = opened.extractfile(member)
    return file.read() if file else b""


def _printable(name: str) -> str:
    """The name where it is text, else with its odd bytes spelled out."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _without_suffix(name: str) -> str:
    return name.rpartition(".")[0]
