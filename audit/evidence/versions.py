"""What wrote a bundle: versions, and a hash of the code that ran."""

import hashlib
import platform
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

from seedsweep import __version__

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pyarrow",
    "pydantic",
    "scikit-learn",
    "scipy",
)


def versions() -> dict[str, str]:
    """What wrote the bundle: seedsweep, its very code, Python and the libraries that matter."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {
        "seedsweep": __version__,
        "code_sha256": code_digest(),
        "python": platform.python_version(),
        **libraries,
    }


def code_digest() -> str:
    """A hash of all of seedsweep's own source files: releases are not the only code that runs."""
    total = hashlib.sha256()
    for name, content in sorted(_sources(files("seedsweep"), "seedsweep")):
        total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Every source file below the folder: its path, and what it holds."""
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, name)
        elif entry.name.endswith((".py", ".lua", ".html")):
            yield name, entry.read_bytes()
