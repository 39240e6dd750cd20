"""`seedsweep select` as a shell sees it."""

import json
import os

import numpy as np
import pytest

from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.onnx_models import TOML, need_embeddings, write_model
from tests.support.pictures import data_of, drawings, stored_anew, write_parquet


@pytest.fixture
def training_set(tmp_path):
    one, two, three = drawings(3, 1)
    made = [one, two, stored_anew(two, 80), three]
    captions = ["one", 'a "two", or\nmore', 'a "two", or\nmore', None]
    return write_parquet(tmp_path / "t.parquet", [data_of(p) for p in made], caption=captions)


@pytest.fixture
def seedsweep(tmp_path):
    def run(*words, **environment):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        return seedsweep_here(*words, folder=tmp_path, environment=environment)

    return run


def test_what_it_writes_goes_straight_into_a_campaign(
    seedsweep, training_set, tmp_path, joining_ray
):
    asked = ("--most-duplicated", "5", "--outliers", "1", "--random", "1", "--actors", "2")
    ended = seedsweep("select", "t.parquet", "-o", "p.csv", *asked, **joining_ray)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("3 distinct pictures, 1 of them with copies;")
    assert lines[-1] == "p.csv"
    assert 'column = "prompt"' in ended.stderr
    (tmp_path / "c.toml").write_text(
        'name = "c"\n[model]\npipeline = "noise"\n'
        '[prompts]\nfile = "p.csv"\ncolumn = "prompt"\n'
        "[sampling]\nwidth = 8\nheight = 8\n"
    )
    plan = seedsweep("plan", "c.toml", "--json")
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["prompts"] == 2

    again = seedsweep("select", "t.parquet", "-o", "p.csv", *asked)
    assert (again.returncode, again.stderr) == (
        2,
        "p.csv is there already; name another file with -o.\n",
    )
    asked = ("--random", "9", "--json")
    summary = seedsweep("select", "t.parquet", "-o", "q.jsonl", *asked, **joining_ray)
    assert json.loads(summary.stdout)["chosen"] == [{"why": "random", "asked": 9, "prompts": 2}]


def test_an_embedding_has_actors_find_copies_that_forms_alone_miss(
    seedsweep, tmp_path, joining_ray
):
    need_embeddings()
    one, two = (drawings(9, 3)[place] for place in (3, 1))
    moved = [np.roll(each, (3, 3), (0, 1)) for each in (one, two)]
    write_parquet(
        tmp_path / "t.parquet", [data_of(p) for p in (one, two, *moved)], caption=[*"abab"]
    )
    write_model(tmp_path / "m.onnx", toml=f"{TOML}alike = 0.7\n")
    asked = ("--most-duplicated", "3", "--outliers", "1", "--actors", "1", "--embedding")
    ended = seedsweep("select", "t.parquet", "-o", "p.csv", *asked, "m.onnx", **joining_ray)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("2 distinct pictures, 2 of them with copies;")
    rows = (tmp_path / "p.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [['"a"', "2"], ['"b"', "2"]]
    refused = seedsweep("select", "t.parquet", "-o", "q.csv", *asked, "away.onnx")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "away.onnx" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("t.parquet", "-o", "p.csv"), "Nothing is to be chosen"),
        (("away", "-o", "p.csv", "--random", "1"), "away cannot be read"),
        (("t.parquet", "-o", "p.xls", "--random", "1"), "of no kind that is written"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(seedsweep, training_set, words, said, tmp_path):
    ended = seedsweep("select", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / words[2]).exists()
