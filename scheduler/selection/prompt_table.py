"""Chosen prompts → a file that a campaign's `[prompts]` reads."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seedsweep.storage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ChosenPrompt:
    """A row: a training picture's caption, how many near-copies the picture has, itself among them,
    what it is called, and why it was chosen, reasons joined by `+`."""

    prompt: str
    copies: int
    training_id: str
    why: str


COLUMNS = tuple(field.name for field in fields(ChosenPrompt))


def refuse_output(output: Path) -> None:
    """Raise `ConfigError` unless the file can be written there, of a kind that prompts are read
    from, and takes nothing's place."""
    if output.suffix.lower() not in _WRITERS:
        kinds = ", ".join(_WRITERS)
        raise ConfigError(f"{output} is of no kind that is written; name one of {kinds} with -o.")
    if output.exists() or output.is_symlink():
        raise ConfigError(f"{output} is there already; name another file with -o.")
    try:
        _unfinished(output).touch()
    except (OSError, ValueError) as error:
        raise _not_writable(output, error) from error
    _unfinished(output).unlink()


def write_prompts(prompts: Sequence[ChosenPrompt], output: Path) -> None:
    """Write the prompts, in this order; whoever reads the file finds it whole. Raises
    `ConfigError` if it cannot be written."""
    unfinished = _unfinished(output)
    try:
        unfinished.write_bytes(_WRITERS[output.suffix.lower()](prompts))
        unfinished.replace(output)
    except OSError as error:
        raise _not_writable(output, error) from error


def _unfinished(output: Path) -> Path:
    return output.with_name(f".{output.name}.writing")


def _not_writable(output: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{output} cannot be written ({error}); name another file with -o.")


def _csv(prompts: Sequence[ChosenPrompt]) -> bytes:
    text = io.StringIO(newline="")
    # A lone carriage return is not quoted otherwise.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    writer.writerows(asdict(prompt).values() for prompt in prompts)
    return text.getvalue().encode()


def _jsonl(prompts: Sequence[ChosenPrompt]) -> bytes:
    lines = (json.dumps(asdict(prompt), ensure_ascii=False) for prompt in prompts)
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet(prompts: Sequence[ChosenPrompt]) -> bytes:
    columns = [(name, pa.int64() if name == "copies" else pa.string()) for name in COLUMNS]
    schema = pa.schema(columns)
    table = pa.Table.from_pylist([asdict(prompt) for prompt in prompts], schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


_WRITERS: Mapping[str, Callable[[Sequence[ChosenPrompt]], bytes]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
