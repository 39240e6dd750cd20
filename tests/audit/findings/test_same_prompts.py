"""Prompts that are the same to the model are told of where rates count each of them."""

import pytest

from seedsweep.audit.findings import same_prompts
from seedsweep.audit.findings.comparison import compare_campaigns
from seedsweep.audit.findings.control_prompts import Marks, without_repeats
from seedsweep.audit.findings.duplication import measure_duplication
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.folder_store import FolderStore
from tests.support.arms import submit
from tests.support.patience import done_within

SIZES = {"a cat": 5, "A cat": 5, "a dog": 0, "A Cat": 5}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(same_prompts, "same_prompts", lambda campaign, unseen: {1: 0, 3: 0})
    return FolderStore(tmp_path / "store")


def told(notes):
    return [note for note in notes if "the same to the model" in note]


def test_a_comparison_says_it_once(store):
    found = compare_campaigns(store, *(submit(store, name, SIZES) for name in ("a", "b")))
    [note] = told(found.notes)
    assert note.startswith("2 of 4 prompts are the same to the model as another one of them")


def test_only_prompts_that_are_counted_are_told_of(store, tmp_path):
    campaign_id = submit(store, "a", SIZES)
    (tmp_path / "copies.csv").write_text("prompt,copies\nA cat,3\na dog,1\nA Cat,1\n")
    [note] = told(measure_duplication(store, campaign_id, tmp_path / "copies.csv").notes)
    assert note.startswith("1 of 3 prompts")
    (tmp_path / "copies.csv").write_text("prompt,copies\nA cat,3\na dog,1\n")
    assert told(measure_duplication(store, campaign_id, tmp_path / "copies.csv").notes) == []


def test_nothing_is_read_if_all_differ(store, monkeypatch):
    monkeypatch.setattr(same_prompts, "same_prompts", lambda campaign, unseen: {})
    monkeypatch.setattr(same_prompts, "load_prompts", None)
    submission = load_campaign(store, submit(store, "a", SIZES))
    assert same_prompts.same_words(store, submission, ["a cat", "A cat"]) == ()


def test_very_many_controls_are_looked_through_at_once():
    controls = tuple(f"control {number}" for number in range(20_000))
    same_as = {f"control {number}": "control 0" for number in range(1, 20_000, 2)}
    with done_within(5):
        left, (said,) = without_repeats(Marks(controls, ()), same_as)
    assert {*left.controls} == {*controls[::2]}
    assert said.startswith("Left out: 10,000 of 20,000 controls, such as 'control 1'")
