"""`seedsweep score`: what was found among prompts that somebody labelled."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.audit.findings import present
from tests.support.commands import seedsweep_here
from tests.support.part_campaign import BICYCLE, CAMERA, HARBOUR, LAMP, PartCampaign, part_search
from tests.support.results import make_flagged


@pytest.fixture
def made(tmp_path):
    return PartCampaign(tmp_path)


@pytest.fixture
def score(made):
    """Score the labels in this file's text."""

    def run(text, *options, name="labels.csv"):
        (made.folder / name).write_text(text)
        words = ["score", made.id, "--labels", name, *options]
        return seedsweep_here(*words, folder=made.folder, environment=os.environ)

    return run


def rows(*labelled):
    return "prompt,type\n" + "".join(f'"{prompt}",{label}\n' for prompt, label in labelled)


def test_each_label_says_how_many_of_its_prompts_were_found(made, score):
    plain = made.results[3].model_copy(update={"parts": ()})
    flagged = make_flagged(
        **{name: getattr(made.results[1], name) for name in ("prompt", "seeds", "seeds_digest")}
    )
    made.store_results([made.results[0], flagged, made.results[2], plain])
    part_search(made)
    text = rows((CAMERA, "TM"), (BICYCLE, "VM"), (LAMP, "TM"), ("a fox", "VM"))
    told = json.loads(score(text, "--json").stdout)
    assert (told["absent"], told["unlabelled"], told["no_evidence"]) == (1, 1, 0)
    of_tm, of_vm = told["scores"]
    assert (of_tm["label"], of_vm["label"]) == ("TM", "VM")
    names = ("flagged", "part_alone", "either")
    assert [(of_tm[n]["count"], of_tm[n]["n"]) for n in names] == [(0, 2), (1, 2), (1, 2)]
    assert [(of_vm[n]["count"], of_vm[n]["n"]) for n in names] == [(1, 1), (0, 1), (1, 1)]
    assert (of_tm["extracted"]["count"], of_vm["extracted"]) == (1, None)
    shown = " ".join(score(text).stdout.split())
    assert "1/2 = 0.5 [0.0126, 0.987]" in shown
    assert "With a label, but not analysed: 1 prompt." in shown
    assert "Analysed, but without a label: 1 prompt." in shown


def test_a_label_whose_prompts_repeat_nothing_extracts_none_of_them(made, score):
    plain = made.results[3].model_copy(update={"parts": ()})
    made.store_results([*made.results[:3], plain])
    text = rows((CAMERA, "TM"), (plain.prompt, "N"))
    assert [each["extracted"] for each in json.loads(score(text, "--json").stdout)["scores"]] == [
        None,
        None,
    ]  # nothing was compared
    part_search(made)
    of_n, of_tm = json.loads(score(text, "--json").stdout)["scores"]
    assert (of_n["extracted"]["count"], of_n["extracted"]["n"]) == (0, 1)
    assert of_tm["extracted"]["count"] == 1


def test_prompts_of_a_label_that_are_the_same_to_the_model_count_once(made, score, monkeypatch):
    prompts = [CAMERA, BICYCLE, HARBOUR, LAMP]
    same = {prompts.index(BICYCLE): 0, prompts.index(LAMP): 0}
    monkeypatch.setattr(present, "first_ones", lambda *_: {prompts[i]: CAMERA for i in same})
    text = rows((CAMERA, "TM"), (BICYCLE, "TM"), (HARBOUR, "TM"), (LAMP, "VM"))
    told = json.loads(score(text, "--json").stdout)
    assert told["same"] == 1
    assert [(each["label"], each["either"]["n"]) for each in told["scores"]] == [
        ("TM", 2),
        ("VM", 1),
    ]
    words = "The same to the model as another of their label, and in no rate: 1 prompt."
    assert words in " ".join(score(text).stdout.split())


def test_prompts_without_evidence_are_in_no_rate(made, score):
    blank = made.results[0].model_copy(update={"parts": (), "excluded": 5})
    made.store_results([blank, *made.results[1:]])
    told = json.loads(score(rows((CAMERA, "TM"), (BICYCLE, "TM")), "--json").stdout)
    assert told["no_evidence"] == 1
    assert told["scores"][0]["either"]["n"] == 1


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("prompt,type\na fox,VM\n", (), "None of 1 labelled prompt was analysed"),
        ("prompt,kind\na fox,VM\n", (), "has no column 'type'"),
        (f"Caption;type\n{CAMERA};VM\n", ("--column", "Caption"), "has no column"),
        ("prompt,type\na fox,VM\na fox,TM\n", (), "has the labels 'VM' and 'TM'"),
        ("prompt,type\na fox\n", (), "Line 2 of labels.csv has 1 cells"),
        ("prompt,type\na fox,VM\n", ("--delimiter", ";;"), "One character stands between cells"),
        ("prompt,type\na fox,VM\n", ("--delimiter", ""), "One character stands between cells"),
        ("prompt,type\na fox,VM\n", ("--delimiter", "\n"), "cannot stand between cells"),
        ("prompt,type\na \xff fox,VM\n", ("--labels", "gone.csv"), "it is not there"),
    ],
)
def test_a_file_that_labels_nothing_is_refused(score, text, options, said):
    ended = score(text, *options)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_a_list_with_semicolons_is_read_if_that_is_said(score):
    text = f";Caption;URL;type\n0;{HARBOUR};;TM\n1;{CAMERA};;VM\n"
    ended = score(text, "--column", "Caption", "--delimiter", ";", "--json")
    assert [each["label"] for each in json.loads(ended.stdout)["scores"]] == ["TM", "VM"]


def test_labels_are_read_from_tables_alone(score):
    ended = score("a fox", name="labels.txt")
    assert ended.returncode == 2
    assert "Labels are read from tables" in ended.stderr


def test_lists_come_as_parquet_too(made, score):
    table = pa.table({"caption": [CAMERA, BICYCLE, LAMP], "overfit_type": ["TV", "MV", None]})
    pq.write_table(table, made.folder / "known.parquet")
    words = ("--column", "caption", "--label-column", "overfit_type", "--json")
    told = json.loads(score("", "--labels", "known.parquet", *words).stdout)
    assert [each["label"] for each in told["scores"]] == ["MV", "TV"]
    assert told["unlabelled"] == 2
