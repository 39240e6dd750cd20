"""Files on this machine that readers find whole."""

import os
from pathlib import Path


def write_whole(file: Path, text: str, private: bool = False) -> None:
    """Write the file as UTF-8; whoever reads it finds it whole, the old one or the new.

    Only its owner may read a `private` one. One writer at a time; what a killed one left is
    replaced. Raises `OSError` if it cannot be written, and leaves the old one.
    """
    unfinished = file.with_name(f".{file.name}.writing")
    unfinished.unlink(missing_ok=True)
    mode = 0o600 if private else 0o666
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.write(text)
    unfinished.replace(file)
