"""Every key that a campaign file may have: what it takes, its default, and what it means."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from seedsweep.storage.record import Record
from seedsweep.storage.settings.campaign import Campaign

FILLED_IN = {
    "model": frozenset({"fingerprint", "config_fingerprint"}),
    "model.adapters": frozenset({"fingerprint"}),
    "model.embeddings": frozenset({"fingerprint"}),
    "model.components": frozenset({"fingerprint"}),
    "prompts": frozenset({"digest", "count"}),
    "verification": frozenset({"fingerprint"}),
}
"""By table, the keys of the record that submission fills in: a file may not have them."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a campaign file.

    `takes` says in words which values it has. `default` is what holds without it, as it would stand
    in the file: "" if that is nothing, None if the key has to be there.
    """

    name: str
    takes: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a campaign file: `name` is "" for the keys above the first one; there may be any
    number of one that `is_repeated`."""

    name: str
    meaning: str
    is_required: bool
    is_repeated: bool
    keys: tuple[Key, ...]


def tables() -> list[Table]:
    """All tables of a campaign file, in the order of the record."""
    return [*_tables("", Campaign, True, False)]


def _tables(
    name: str, record: type[BaseModel], is_required: bool, is_repeated: bool
) -> Iterator[Table]:
    schema, meanings = record.model_json_schema(), _meanings(record)
    inner = {field: _record_of(info.annotation) for field, info in record.model_fields.items()}
    keys = tuple(
        Key(field, _takes(about), _default(field, about, schema), meanings.get(field, ""))
        for field, about in schema["properties"].items()
        if inner[field] is None and field not in FILLED_IN.get(name, ())
    )
    yield Table(name, _meaning(record), is_required, is_repeated, keys)
    for field, info in record.model_fields.items():
        if found := inner[field]:
            several = get_origin(info.annotation) is tuple
            inner_name = f"{name}.{field}".lstrip(".")
            yield from _tables(inner_name, found, info.is_required(), several)


def _record_of(annotation: Any) -> type[BaseModel] | None:
    options = get_args(annotation) or (annotation,)
    records = (one for one in options if isinstance(one, type) and issubclass(one, BaseModel))
    return next(records, None)


def _meaning(record: type[BaseModel]) -> str:
    """The record's docstring, without the name of its table."""
    first, _, rest = (inspect.getdoc(record) or "").partition("\n\n")
    said = first.partition("`: ")[2] or first
    return " ".join(f"{said[:1].upper()}{said[1:]} {rest}".split())


def _meanings(record: type[BaseModel]) -> dict[str, str]:
    """What stands below each field of the record, on one line."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101  # what inspect gives of a class
    above = record.__base__
    meanings = _meanings(above) if above and above is not Record and above is not BaseModel else {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                meanings[name] = " ".join(text.split())
    return meanings


def _default(field: str, about: dict[str, Any], schema: dict[str, Any]) -> str | None:
    if field in schema.get("required", ()):
        return None
    value = about.get("default")
    return "" if value in (None, "") else json.dumps(value)


def _takes(about: dict[str, Any]) -> str:
    """The values of a key in words, from its part of the JSON schema."""
    about = next((one for one in about.get("anyOf", ()) if one.get("type") != "null"), about)
    if "const" in about or "enum" in about:
        return " or ".join(json.dumps(value) for value in about.get("enum", [about.get("const")]))
    kinds = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}
    said = kinds.get(about["type"], "a text")
    if about.get("maxLength") == 1:
        said = "one letter"
    bounds = [
        *(f"above {about['exclusiveMinimum']}" for _ in about.keys() & {"exclusiveMinimum"}),
        *(f"from {about['minimum']}" for _ in about.keys() & {"minimum"}),
        *(f"to {about['maximum']:,}" for _ in about.keys() & {"maximum"}),
    ]
    return " ".join([said, *bounds])
