"""The example's controls are what its README says: never trained on, and as many as it takes."""

import csv
import hashlib
import io
import tomllib
from collections import defaultdict

import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedsweep.audit.findings.operating_point import controls_needed
from tests.support.checkout import ROOT

EMOJI = ROOT / "examples" / "emoji"
PAIRS = [("campaign", "controlled"), ("paper-regime", "paper-controlled")]


def rows(name):
    with (EMOJI / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def training():
    columns = ["image", "caption", "subject"]
    return pq.read_table(EMOJI / "train.parquet", columns=columns).to_pylist()


def test_no_control_is_a_training_caption_or_names_an_emoji_that_was_shown(training):
    controls = {row["prompt"] for row in rows("controls.csv")}
    assert len(controls) == len(rows("controls.csv"))
    assert controls.isdisjoint({row["caption"] for row in training})
    assert controls.isdisjoint({row["subject"] for row in training})
    assert controls.isdisjoint({row["prompt"] for row in rows("truth.csv")})


def test_the_control_pictures_show_emoji_that_were_never_trained_on(training):
    shown = pq.read_table(EMOJI / "control-pictures.parquet").to_pylist()
    subjects = {row["subject"] for row in shown}
    assert len(subjects) == len(shown) == 300
    assert subjects.isdisjoint({row["subject"] for row in training})
    assert {row["prompt"] for row in rows("controls.csv")} & subjects
    sizes = {Image.open(io.BytesIO(row["image"]["bytes"])).size for row in shown}
    assert sizes == {(64, 64)}


def test_controls_are_dealt_by_their_hashes_as_measured_prompts_are():
    for row in [*rows("controls.csv"), *rows("truth.csv")]:
        last = hashlib.sha256(row["prompt"].encode()).digest()[-1]
        assert row["half"] == ("report" if last % 2 else "choose")


def test_nobody_picked_the_controls():
    """Each half's are in the order of their hashes, so none was chosen by what came of it."""
    for half in ("choose", "report"):
        names = [row["prompt"] for row in rows("controls.csv") if row["half"] == half]
        assert names == sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        assert len(names) >= controls_needed(0.05)


@pytest.mark.parametrize(("usual", "controlled"), PAIRS)
def test_a_controlled_campaign_is_the_usual_one_with_more_prompts(usual, controlled):
    """Only then are the usual one's images its own as well."""
    files = [tomllib.loads((EMOJI / f"{name}.toml").read_text()) for name in (usual, controlled)]
    before, after = (rows(file["prompts"].pop("file")) for file in files)
    assert files[0].pop("name") != files[1].pop("name")
    assert files[0] == files[1]
    assert after[: len(before)] == before
    dealt = [row["prompt"] for row in rows("controls.csv")]
    added = [row["prompt"] for row in after[len(before) :]]
    assert added == [prompt for prompt in dealt if prompt in added] != []


def test_no_training_picture_has_two_captions(training):
    """So that prompts hang together by no picture, and intervals may be exact."""
    captions = defaultdict(set)
    for row in training:
        picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        captions[hashlib.sha256(picture.tobytes()).digest()].add(row["caption"])
    assert max(map(len, captions.values())) == 1
