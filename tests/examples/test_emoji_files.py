"""The example's files are what its README says: what was planted, controls that nobody picked."""

import csv
import hashlib
import io
import json
import tomllib
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open

from seedsweep.audit.findings.operating_point import controls_needed
from tests.support.checkout import ROOT

EMOJI = ROOT / "examples" / "emoji"


def rows(name):
    with (EMOJI / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def training():
    columns = ["image", "caption", "copies", "group", "original"]
    return pq.read_table(EMOJI / "train.parquet", columns=columns).to_pylist()


@pytest.fixture(scope="module")
def groups(training):
    """The captions of each group."""
    found = defaultdict(set)
    for row in training:
        found[row["group"]].add(row["caption"])
    return found


def test_a_picture_is_there_as_often_as_the_model_saw_it_in_an_epoch(training):
    rows_of = Counter((row["caption"], row["image"]["bytes"]) for row in training)
    assert {(row["caption"], row["image"]["bytes"]): row["copies"] for row in training} == rows_of
    sizes = {Image.open(io.BytesIO(row["image"]["bytes"])).size for row in training}
    assert sizes == {(64, 64)}


def test_each_group_has_as_many_captions_as_its_claims_take(training, groups):
    most = Counter()
    for row in training:
        most[row["caption"]] = max(most[row["caption"]], row["copies"])
    by_copies = Counter(most[caption] for caption in groups["copies"])
    assert by_copies == {3: 60, 10: 60, 30: 60, 100: 60}
    common = set().union(*(groups[f"common {part}"] for part in ("frame", "logo", "background")))
    found = {name: len(groups[name]) for name in ("varied", "template", "near", "two")}
    assert found == {"varied": 40, "template": 100, "near": 20, "two": 10}
    assert len(common) == 40


def test_no_caption_is_of_two_groups(groups):
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))


def test_no_training_picture_has_two_captions(training):
    """So that prompts hang together by no picture, and intervals may be exact."""
    captions = defaultdict(set)
    for row in training:
        captions[row["image"]["bytes"]].add(row["caption"])
    assert max(map(len, captions.values())) == 1


def test_every_planted_caption_was_measured_and_no_other_that_is_no_control(groups):
    planted = set().union(*(names for group, names in groups.items() if group != "once"))
    measured = {row["prompt"] for row in rows("truth.csv")}
    controls = {row["prompt"] for row in rows("controls.csv")}
    assert planted <= measured <= planted | controls


def test_rates_are_those_of_the_distances_by_the_rule_of_the_readme():
    seeds = defaultdict(list)
    for row in pq.read_table(EMOJI / "distances.parquet").to_pylist():
        seeds[row["prompt"]].append(row)
    assert len(rows("truth.csv")) == len(seeds)
    for row in rows("truth.csv"):
        found = seeds[row["prompt"]]
        repeats = Counter(
            each["original"]
            for each in found
            if each["l2"] <= 0.1 and each["l2"] < (each["rendering_l2"] or 0)
        )
        most = max(repeats.values(), default=0)
        assert (int(row["repeats"]), int(row["seeds"])) == (most, len(found))
        assert float(row["repeat_rate"]) == round(most / len(found), 4)
        assert len(found) == (250 if 0 < first_repeats(found) <= 12 else 32)


def first_repeats(found):
    """How many of the first 32 seeds repeat the picture that most of them repeat."""
    counts = Counter(
        each["original"]
        for each in sorted(found, key=lambda each: each["seed"])[:32]
        if each["l2"] <= 0.1 and each["l2"] < (each["rendering_l2"] or 0)
    )
    return max(counts.values(), default=0)


def test_no_truth_was_measured_at_a_seed_that_a_campaign_has():
    seeds = pq.read_table(EMOJI / "distances.parquet", columns=["seed"])["seed"].to_pylist()
    for name in ("campaign", "scored"):
        sampling = tomllib.loads((EMOJI / f"{name}.toml").read_text())["sampling"]
        assert sampling["seeds"] < min(seeds)


def test_controls_were_never_seen_or_each_picture_once(training, groups):
    controls = {row["prompt"]: row for row in rows("controls.csv")}
    assert len(controls) == len(rows("controls.csv")) >= 780
    never = {prompt for prompt, row in controls.items() if row["group"] == "untrained"}
    assert never.isdisjoint({row["caption"] for row in training})
    assert controls.keys() - never <= groups["once"]
    assert {row["copies"] for row in training if row["group"] == "once"} == {1}


def test_the_control_pictures_show_emoji_that_were_never_trained_on(training):
    shown = pq.read_table(EMOJI / "control-pictures.parquet").to_pylist()
    subjects = {row["caption"] for row in shown}
    assert len(subjects) == len(shown) == 300
    assert subjects.isdisjoint({row["caption"] for row in training})
    sizes = {Image.open(io.BytesIO(row["image"]["bytes"])).size for row in shown}
    assert sizes == {(64, 64)}


def test_nobody_picked_the_controls():
    """Halves and the order in them are by hash, so none was chosen by what came of it."""
    for half, needed in (("choose", 300), ("report", 480)):
        chosen = [row for row in rows("controls.csv") if row["half"] == half]
        assert len(chosen) >= needed >= controls_needed(0.01)
        for group in ("once", "untrained"):
            names = [row["prompt"] for row in chosen if row["group"] == group]
            assert names == sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        for row in chosen:
            last = hashlib.sha256(row["prompt"].encode()).digest()[-1]
            assert row["half"] == ("choose" if last % 8 < 3 else "report")


def test_the_scored_campaign_has_every_planted_caption_and_every_control(groups):
    planted = set().union(*(names for group, names in groups.items() if group != "once"))
    controls = {row["prompt"] for row in rows("controls.csv")}
    assert {row["prompt"] for row in rows("scored-prompts.csv")} == planted | controls
    assert {row["prompt"] for row in rows("prompts.csv")} <= planted | controls | groups["once"]


def test_the_scored_campaign_differs_from_the_usual_one_in_its_prompts_alone():
    usual, scored = (
        tomllib.loads((EMOJI / f"{name}.toml").read_text()) for name in ("campaign", "scored")
    )
    assert usual.pop("name") != scored.pop("name")
    assert usual.pop("prompts") != scored.pop("prompts")
    # It looks for parts as well, which alters nothing else.
    assert scored["analysis"].pop("partial") is True
    assert usual == scored


def test_the_model_of_the_deduplicated_set_is_asked_the_same():
    usual, other = (
        tomllib.loads((EMOJI / f"{name}.toml").read_text()) for name in ("campaign", "deduplicated")
    )
    assert (usual.pop("name"), other.pop("name")) == ("emoji", "emoji-deduplicated")
    assert (usual["model"].pop("path"), other["model"].pop("path")) == ("model", "deduplicated")
    assert usual == other


def test_both_models_draw_with_one_autoencoder():
    assert (EMOJI / "deduplicated" / "vae").samefile(EMOJI / "model" / "vae")
    config = (EMOJI / "model" / "vae" / "config.json").read_text()
    assert json.loads(config).get("_name_or_path") is None


def test_the_weights_are_small_enough_for_a_repository():
    one, both = (
        {file.resolve() for name in names for file in (EMOJI / name).rglob("*") if file.is_file()}
        for names in (["model"], ["model", "deduplicated"])
    )
    assert sum(file.stat().st_size for file in one) <= 16e6
    assert sum(file.stat().st_size for file in both) <= 30e6


@pytest.mark.parametrize(
    "file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
)
def test_only_the_second_model_is_stored_in_eight_bits(file):
    stored = {}
    for name in ("model", "deduplicated"):
        with safe_open(EMOJI / name / file, "pt") as weights:
            parts = [weights.get_slice(key) for key in weights.keys()]  # noqa: SIM118
            stored[name] = {(len(part.get_shape()) > 1, part.get_dtype()) for part in parts}
    assert stored["model"] == {(True, "F16"), (False, "F16")}
    assert stored["deduplicated"] == {(True, "F8_E4M3"), (False, "F16")}
