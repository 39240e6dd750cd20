"""A model that describes pictures by vectors: an ONNX file, and a TOML of what it expects.

Nothing but its graph is run: it has no operators of its own, and no files but weights beside it.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.record import Positive, Record

BATCH = 16
"""So many pictures are embedded at once, if the model does not say itself."""

Vectors = NDArray[np.float16]
"""(n, values), each of length 1, or 0 for what the model has no numbers for."""

_PACKAGES = {"onnxruntime": "onnxruntime", "faiss": "faiss-cpu"}
_NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SCRIPTS = {".pt", ".pth", ".ts", ".torchscript"}

Colours = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class EmbeddingSettings(Record):
    """What the TOML beside a model says of it."""

    size: Annotated[int, Field(ge=1, le=4096)]
    """The model takes squares of so many pixels both ways."""
    scale_to: Positive | None = None
    """The picture is brought to so many pixels first, and its centre is cut. Not set: `size`."""
    resize: Literal["short-side", "stretch"] = "short-side"
    """As of `[verification]`."""
    mean: Colours
    """What is taken off red, green and blue in [0, 1]."""
    std: tuple[Spread, Spread, Spread]
    """What they are divided by then."""
    output: str = ""
    """Which output is the vector, if the model has several."""
    alike: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Pictures whose vectors have at least this cosine are compared by their pixels."""

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if (self.scale_to or self.size) < self.size:
            raise ValueError(f"scale_to = {self.scale_to} is less than size = {self.size}")
        return self


class EmbeddingModel(Record):
    """A model at an absolute `path`, with its settings and how many `values` a vector has."""

    path: str
    settings: EmbeddingSettings
    values: int

    @property
    def scaled(self) -> int:
        """The side to which a picture is brought before its centre is cut."""
        return self.settings.scale_to or self.settings.size

    def embed(self, pictures: NDArray[np.uint8]) -> Vectors:
        """The vectors of pictures (n, scaled, scaled, 3) uint8; the same whatever stands beside a
        picture. Raises `ConfigError` if the model fails."""
        session, size, count = _opened(self.path), self.settings.size, len(pictures)
        first = (self.scaled - size) // 2
        cut = pictures[:, first : first + size, first : first + size]
        batch = session.batch
        vectors = np.zeros((count, self.values), np.float16)
        for at in range(0, count, batch):
            # Always as many: another shape gives other last digits.
            some = np.zeros((batch, size, size, 3), np.uint8)
            here = min(batch, count - at)
            some[:here] = cut[at : at + here]
            vectors[at : at + here] = _units(session.run(some, self.settings)[:here])
        return vectors


def open_embedding(path: Path) -> EmbeddingModel:
    """The model at `path` and the settings in the .toml beside it, once it has embedded a picture.
    Raises `ConfigError` if it or what runs it is missing or unfit."""
    path = path.absolute()
    _refuse_other_kinds(path)
    _refuse_missing_packages(path)
    settings = _read_settings(path.with_suffix(".toml"), path)
    session = _opened(str(path))
    session.refuse_unfit(settings)
    some = np.zeros((session.batch, settings.size, settings.size, 3), np.uint8)
    made = session.run(some, settings)
    return EmbeddingModel(path=str(path), settings=settings, values=made.shape[1])


class _Session:
    """An open model."""

    def __init__(self, path: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it says is raised as well
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no base but that
            raise _unfit(path, f"onnxruntime cannot load it ({_in_short(error)})") from error
        self._path = path
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(each.name for each in inputs)
            raise _unfit(path, f"it takes {names}, and not a picture alone")
        self._input = inputs[0]
        if self._input.type not in _NUMBERS or len(self._input.shape) != 4:
            what = f"{self._input.type} {self._input.shape}"
            raise _unfit(path, f"it takes {what}, and not pictures of floats")
        shape = self._input.shape
        self._channels_last = shape[3] == 3 and shape[1] != 3
        self.batch: int = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else BATCH

    def refuse_unfit(self, settings: EmbeddingSettings) -> None:
        """Raise `ConfigError` unless it takes pictures of that size and has that output."""
        shape = self._input.shape
        sides = shape[1:3] if self._channels_last else shape[2:4]
        channels = shape[3] if self._channels_last else shape[1]
        if any(isinstance(side, int) and side != settings.size for side in sides):
            raise _unfit(
                self._path, f"it takes {sides[1]} x {sides[0]} pixels, not {settings.size}"
            )
        if isinstance(channels, int) and channels != 3:
            raise _unfit(self._path, f"its pictures have {channels} channels, not 3")
        names = [each.name for each in self._session.get_outputs()]
        if settings.output and settings.output not in names:
            raise _unfit(
                self._path, f"it has no output {settings.output}; it has {', '.join(names)}"
            )
        if not settings.output and len(names) > 1:
            raise _unfit(
                self._path,
                f"it has several outputs; set `output` in its .toml to one of {', '.join(names)}",
            )

    def run(self, pictures: NDArray[np.uint8], settings: EmbeddingSettings) -> NDArray[np.float64]:
        """What it gives for as many (batch, size, size, 3) as it takes: (batch, values)."""
        scaled = (pictures / np.float32(255) - np.array(settings.mean)) / np.array(settings.std)
        given = scaled if self._channels_last else np.moveaxis(scaled, 3, 1)
        given = np.ascontiguousarray(given, _NUMBERS[self._input.type])
        wanted = [settings.output] if settings.output else None
        try:
            made = np.asarray(self._session.run(wanted, {self._input.name: given})[0])
        except Exception as error:
            raise _unfit(self._path, f"it fails ({_in_short(error)})") from error
        # Networks of convolutions have (n, values, 1, 1).
        if made.ndim < 2 or len(made) != len(pictures) or max((1, *made.shape[2:])) > 1:
            raise _unfit(
                self._path,
                f"for {len(pictures)} pictures it gives {list(made.shape)}, no vector for each; "
                "export it with its pooled output",
            )
        return made.reshape(len(made), -1).astype(np.float64)


@lru_cache(maxsize=2)
def _opened(path: str) -> _Session:
    return _Session(path)


def _units(vectors: NDArray[np.float64]) -> Vectors:
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0)
    # Squares of what is far from 1 leave the range of floats.
    vectors = vectors / np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-300)
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, 1e-300), np.float16)


def _refuse_other_kinds(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path} is no file; name an ONNX model with --embedding.")
    if path.suffix.lower() in _SCRIPTS or _begins_as_zip(path):
        raise ConfigError(
            f"{path} is a TorchScript or another file of PyTorch, which runs what it says as it is "
            "loaded; export it to ONNX, as docs/select.md shows."
        )
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"{path} is no .onnx file; name an ONNX model with --embedding.")


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); name an ONNX model with --embedding."
        ) from error


def _refuse_missing_packages(path: Path) -> None:
    missing = [_PACKAGES[name] for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{path} needs {' and '.join(missing)}, not installed here; "
            "pip install 'seedsweep[select]'."
        )


def _read_settings(file: Path, model: Path) -> EmbeddingSettings:
    what = "write `size`, `mean` and `std` into it, as docs/select.md shows"
    try:
        return EmbeddingSettings.model_validate(
            tomllib.loads(file.read_text("utf-8")), strict=False
        )
    except FileNotFoundError as error:
        raise ConfigError(
            f"{model.name} does not say what it expects, and {file} is missing; {what}."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "it"
        raise ConfigError(f"{file}: {name}: {first['msg']}; {what}.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({_in_short(error)}); {what}.") from error


def _unfit(path: str, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be used: {why}.")


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
