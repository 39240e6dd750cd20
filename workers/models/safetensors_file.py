"""What a safetensors file says of its tensors, read without loading any."""

import json
import math
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedsweep.storage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of a whole safetensors file by name: their shapes and the names of their dtypes;
    and the texts that whoever saved it put beside them."""

    shapes: dict[str, list[int]]
    dtypes: dict[str, str]
    metadata: dict[str, str]


def read_header(file: Path) -> Header | None:
    """The header of a safetensors file; None if it is not whole, or is none."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        text = opened.read(length) if length <= size - 8 else b""
    try:
        described: dict[str, Any] = json.loads(text)
        metadata = described.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in described.values()), default=0)
        shapes = {name: _shape(tensor["shape"], size) for name, tensor in described.items()}
        dtypes = {name: str(tensor["dtype"]) for name, tensor in described.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    said = metadata if isinstance(metadata, dict) else {}
    return Header(shapes, dtypes, said) if 8 + length + end == size else None


def _shape(sides: Any, size: int) -> list[int]:
    """The sides of a tensor that a file of so many bytes may hold; raises `ValueError`."""
    shape = [operator.index(side) for side in sides]
    if any(side < 0 for side in shape) or math.prod(shape) > 8 * size:
        raise ValueError(shape)
    return shape


def is_pointer(file: Path) -> bool:
    """Whether a file only names one in Git LFS."""
    with file.open("rb") as opened:
        return opened.read(40).startswith(b"version https://git-lfs")


def whole_header(role: str, file: Path) -> Header:
    """The header of a part of a model that is one file; raises `ConfigError` if it is not whole."""
    header = read_header(file)
    if header is not None and header.shapes:
        return header
    if is_pointer(file):
        raise ConfigError(
            f"The {role} {file} only points to weights in Git LFS; fetch them with `git lfs pull`."
        )
    raise ConfigError(
        f"The {role} {file} is cut short, or no safetensors; fetch or save the file again."
    )
