"""Files that only their owner reads."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write the file with mode 0600; whoever reads it finds it whole, the old one or the new."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    fresh.replace(file)
