"""The score of the models without prompts, on a small store whose truth is known."""

import csv

import numpy as np
import pytest

from examples.ddpm import score, truth
from examples.emoji.drawing import Subject
from examples.emoji.picture_files import Picture


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    return [
        Picture(pixels, f"emoji {n}", copies, "copies", n)
        for n, (pixels, copies) in enumerate(zip(drawn, (3, 1, 1), strict=True))
    ]


def judge_of(pictures, monkeypatch, rendering):
    """A judge for whom every rendering of an emoji is that picture."""
    monkeypatch.setattr(truth, "small_rendering", lambda *_: rendering)
    monkeypatch.setattr(truth, "as_stored", lambda pixels: pixels)
    return truth.Judge(pictures, [Subject(p.caption, None) for p in pictures])


def shifted(picture, levels):
    """The picture, that many levels away at each value."""
    return np.where(picture.pixels < 128, picture.pixels + levels, picture.pixels - levels).astype(
        np.uint8
    )


def test_a_generation_repeats_what_is_near_and_nearer_than_renderings_of_the_emoji(
    pictures, monkeypatch
):
    made = np.stack([shifted(pictures[0], 10), shifted(pictures[2], 25), shifted(pictures[2], 26)])
    judge = judge_of(pictures, monkeypatch, np.zeros((32, 32, 3), np.uint8))
    monkeypatch.setattr(truth, "AT_ONCE", 2)
    found = list(judge.repeats("c", [5, 6, 7], made))
    assert found == [truth.Repeat("c", 5, 0, 0.0392), truth.Repeat("c", 6, 2, 0.098)]
    nearer = judge_of(pictures, monkeypatch, shifted(pictures[0], 9))
    assert [each.seed for each in nearer.repeats("c", [5, 6, 7], made)] == [6]


def test_truth_has_a_column_for_each_campaign(pictures, tmp_path):
    repeats = [truth.Repeat("a", seed, 0, 0.01) for seed in (1, 2)] + [truth.Repeat("b", 1, 2, 0.1)]
    truth.write_truth(pictures, repeats, ["a", "b"], tmp_path / "truth.csv")
    with (tmp_path / "truth.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["original", "caption", "copies", "a", "b"]
    assert [row[2:] for row in rows[1:]] == [["3", "2", "0"], ["1", "0", "0"], ["1", "0", "1"]]
    assert score.read_copies(tmp_path / "truth.csv") == {0: 3, 1: 1, 2: 1}


def ranked(*found):
    return [score.Ranked(original, extracted, right) for original, extracted, right in found]


@pytest.fixture
def audits():
    first = ranked((0, True, True), (0, True, False), (1, True, False), (2, False, False))
    second = ranked((1, True, True), (0, False, False))
    return [score.Audit("a", first, 3), score.Audit("b", second, 1)]


COPIES = {0: 3, 1: 1, 2: 1}


def test_a_picture_is_right_if_its_best_generation_is(audits):
    rows = {row[0]: row[1:] for row in score.totals(audits)}
    assert rows["generations"] == ["4", "2"]
    assert rows["extracted"] == ["3", "1"]
    assert rows["distinct training pictures"] == ["2", "1"]
    assert [cell.split(" = ")[0] for cell in rows["of these right"]] == ["1/2", "1/1"]


def test_pictures_of_each_number_of_copies_are_counted_apart(audits):
    rows = {row[0]: row[1:] for row in score.by_copies(audits, COPIES)}
    counts = {name: [cell.split(" = ")[0] for cell in cells] for name, cells in rows.items()}
    assert counts["1"] == ["1/2", "1", "1/2", "1"]
    assert counts["3"] == ["1/1", "2", "0/1", "0"]


def test_precision_is_told_down_to_each_rank(audits, monkeypatch):
    monkeypatch.setattr(score, "RANKS", (1, 4, 9))
    rows = list(score.by_rank(audits))[1:]
    assert rows[0] == ["1", "1 right = 1.00, 1 pictures", "1 right = 1.00, 1 pictures"]
    assert rows[1][:2] == ["4", "1 right = 0.25, 1 pictures"]
    assert len(rows) == 2


def test_the_models_are_compared_picture_by_picture(audits):
    compared, said = score.difference(audits, COPIES)
    assert compared.startswith("Extracted pictures: 2/3")
    assert "1/3" in compared
    assert "one run stands on each side" in said
