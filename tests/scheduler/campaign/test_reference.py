"""The reference knows every key that a campaign file may have, and nothing else."""

import json
import tomllib
from pathlib import Path

import pytest

from seedsweep.scheduler.campaign.file import parse_campaign
from seedsweep.scheduler.campaign.reference import FILLED_IN, tables
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.record import Record
from seedsweep.storage.settings.campaign import Campaign

NEEDED = {"name": "a", "prompts": {"file": "p.txt"}, "model": {}}
REQUIRED = {
    "stages": {"seeds": 4},
    "model.adapters": {"path": "a"},
    "model.embeddings": {"path": "a", "token": "t"},
    "model.components": {"path": "a", "name": "vae"},
}
ALL = [(table, key) for table in tables() for key in table.keys]
NAMES = [f"{table.name}.{key.name}".lstrip(".") for table, key in ALL]


def parse(text):
    return parse_campaign(tomllib.loads(text), Path("c.toml"))


def with_value(table, key, value):
    """A campaign file with one value in it, as nested tables."""
    raw = json.loads(json.dumps(NEEDED))
    if "verification" in table:
        raw["verification"] = {"training_set": "t"}
    if table in REQUIRED:
        above, _, last = table.rpartition(".")
        (raw[above] if above else raw)[last] = [dict(REQUIRED[table])]
    inner = raw
    for part in filter(None, table.split(".")):
        inner = first(inner.setdefault(part, {}))
    inner[key] = value
    return raw


def first(table):
    return table[0] if isinstance(table, list | tuple) and table else table


@pytest.mark.parametrize(("table", "key"), ALL, ids=NAMES)
def test_every_key_says_what_it_takes_and_means(table, key):
    assert key.takes
    assert key.meaning.endswith(".")
    assert "\n" not in key.meaning


@pytest.mark.parametrize(
    ("table", "key"),
    [pytest.param(*one, id=name) for one, name in zip(ALL, NAMES, strict=True) if one[1].default],
)
def test_a_key_with_its_default_is_the_same_campaign_as_without_it(table, key):
    value = tomllib.loads(f"x = {key.default}")["x"]
    with_it = parse_campaign(with_value(table.name, key.name, value), Path("c.toml"))
    bare = with_value(table.name, key.name, value)
    inner = bare
    for part in filter(None, table.name.split(".")):
        inner = first(inner[part])
    del inner[key.name]
    assert parse_campaign(bare, Path("c.toml")) == with_it


def test_what_submission_fills_in_is_refused_and_not_listed():
    for table, keys in FILLED_IN.items():
        for key in keys:
            assert f"{table}.{key}" not in NAMES
            with pytest.raises(ConfigError, match="is filled in on submission"):
                parse_campaign(with_value(table, key, "x"), Path("c.toml"))


def test_no_key_of_the_records_is_left_out():
    parts = {
        table.partition(".")[2]: (needed,) for table, needed in REQUIRED.items() if "." in table
    }
    verification = {"training_set": "t", "near_copies": {"correlation": 0.5}}
    tables = {"model": parts, "stages": (REQUIRED["stages"],), "verification": verification}
    stored = Campaign.model_validate({**NEEDED, **tables})

    def listed(value, above=""):
        for name, inner in value:
            path = f"{above}.{name}".lstrip(".")
            if isinstance(first(inner), Record):
                yield from listed(first(inner), path)
            else:
                yield path

    filled_in = {f"{table}.{key}" for table, keys in FILLED_IN.items() for key in keys}
    assert set(NAMES) == set(listed(stored)) - filled_in
