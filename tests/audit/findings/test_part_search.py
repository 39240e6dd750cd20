"""Parts that prompts repeat, looked for in training pictures, in other prompts and in controls."""

import json
import os
from contextlib import nullcontext

import pytest

from seedsweep.audit.findings import part_search, verification
from seedsweep.audit.findings.part_search import are_unrelated
from seedsweep.audit.findings.verification import is_verified
from seedsweep.storage.campaigns import load_verifications
from seedsweep.storage.keys import finding, unit_shard
from seedsweep.storage.settings.analysis import Verification
from tests.support.commands import seedsweep_here
from tests.support.part_campaign import BICYCLE, CAMERA, HARBOUR, LAMP, PartCampaign
from tests.support.part_campaign import part_search as part_search_of
from tests.support.searchers import Here


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return PartCampaign(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def seedsweep(desk):
    """Run the command line in the campaign's folder."""
    return lambda *arguments: seedsweep_here(
        *map(str, arguments), folder=desk.folder, environment=os.environ
    )


@pytest.fixture
def on_cluster(joining_ray, monkeypatch):
    """Have the command join a cluster."""
    for name, value in joining_ray.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def here(monkeypatch):
    """Have the command search in this process."""
    monkeypatch.setattr(verification, "searchers", lambda actors: nullcontext(Here()))


@pytest.fixture
def verify(desk, seedsweep):
    """Search the training set; returns what was found of each prompt's part."""

    def run(*more):
        words = ["verify", desk.id, "--training-set", "train.parquet", "--actors", 2, *more]
        done = seedsweep(*words)
        assert done.returncode == 0, done.stderr
        [newest, *_] = load_verifications(desk.store, desk.id)
        return {part.prompt: part.match for part in newest.parts}, done.stdout

    return run


def test_a_part_matches_the_training_pictures_that_show_it(desk, verify, seedsweep, on_cluster):
    found, printed = verify()
    assert [len(result.parts) for result in desk.results] == [1, 1, 1, 1]
    camera, bicycle, harbour, lamp = (found[p] for p in (CAMERA, BICYCLE, HARBOUR, LAMP))
    assert (camera.copies, camera.unrelated, camera.elsewhere) == (3, 0, 0)
    assert camera.extracted
    assert camera.l2 < 0.02 < 0.9 < camera.correlation
    assert camera.training_id in {f"train.parquet#{row}" for row in (20, 21, 22)}
    assert (bicycle.copies, bicycle.unrelated) == (2, 1)
    assert (bicycle.is_common, bicycle.extracted) == (True, False)
    assert (harbour.copies, harbour.elsewhere) == (0, 1)
    assert (lamp.is_common, lamp.extracted, lamp.controls) == (True, False, None)
    told = " ".join(printed.split())
    assert "Parts of the picture: 4, of 4 prompts." in told
    assert "nothing unrelated does: 1, of 1 prompt." in told
    assert "or prompts show it too: 3." in told
    results = json.loads(seedsweep("results", desk.id, "--json").stdout)
    kinds = {each["prompt"]: each["memories"][0]["kind"] for each in results}
    assert kinds == {CAMERA: "partial", BICYCLE: "common", HARBOUR: "common", LAMP: "common"}
    assert {each["prompt"] for each in results if each["extracted_partial"]} == {CAMERA}


def test_what_control_pictures_show_as_well_is_not_extracted(verify, here):
    found, _ = verify("--controls", "strangers.parquet")
    assert found[CAMERA].extracted
    assert found[CAMERA].controls == 0
    assert found[CAMERA].control_l2 > 0.1
    found, printed = verify("--controls", "leaked.parquet")
    assert (found[CAMERA].controls, found[CAMERA].extracted) == (1, False)
    assert found[CAMERA].control_l2 < 0.02
    assert "Of these 4 parts control pictures show 1." in " ".join(printed.split())


def test_controls_are_compared_block_by_block_with_the_same_result(verify, here, monkeypatch):
    at_once, _ = verify("--controls", "leaked.parquet")
    monkeypatch.setattr(part_search, "_BLOCK_BYTES", 1)
    assert verify("--controls", "leaked.parquet")[0] == at_once


def test_a_part_is_looked_for_in_so_many_other_prompts_at_most(verify, here, monkeypatch):
    everywhere, _ = verify()
    assert [everywhere[prompt].elsewhere for prompt in (HARBOUR, LAMP)] == [1, 1]
    monkeypatch.setattr(part_search, "ELSEWHERE", 2)
    assert {match.elsewhere for match in verify()[0].values()} <= {0, 1}


def test_a_part_whose_pictures_are_gone_is_told(desk, verify, here):
    unit = next(u for u in map(desk.plan.unit, range(4)) if u.prompt == HARBOUR)
    key = unit_shard(unit)
    data = desk.store.read(key)
    desk.store.delete(key)
    try:
        found, printed = verify()
    finally:
        desk.store.create(key, data)
    assert HARBOUR not in found
    assert "Parts whose picture could not be looked at: 1. The first: The image of seed" in printed


def test_a_campaign_is_verified_once_its_parts_were_looked_for(desk, verify, here):
    assert is_verified(desk.store, desk.id)  # it names no training set
    verify()
    [newest, *_] = load_verifications(desk.store, desk.id)
    assert newest.settings == Verification(training_set=str(desk.folder / "train.parquet"))
    assert {part.prompt_id for part in newest.parts} == {r.prompt_id for r in desk.results}


def test_parts_that_a_version_before_told_by_their_place_count_as_not_searched(
    desk, verify, here, seedsweep
):
    verify()
    [newest, *_] = load_verifications(desk.store, desk.id)
    key = finding(desk.id, "verifications", newest.verification_id)
    written = json.loads(desk.store.read(key))
    for place, part in enumerate(written["parts"]):
        del part["part_id"]
        part["number"] = place
    desk.store.replace(key, json.dumps(written).encode())

    [known, *_] = load_verifications(desk.store, desk.id)
    assert known == newest.model_copy(update={"parts": ()})
    results = json.loads(seedsweep("results", desk.id, "--json").stdout)
    assert [result["memories"][0]["match"] for result in results] == [None] * 4
    found, _ = verify()
    assert found[CAMERA].extracted


@pytest.mark.parametrize(
    ("prompt", "caption", "unrelated"),
    [
        (CAMERA, "a Camera", False),
        (CAMERA, "bicycle", True),
        ("a cat with hat", "a dog with coat", False),  # no word of the first says anything
        ("kitten with hat", "puppy with coat", True),
        (CAMERA, None, False),
        (CAMERA, "", False),
        ("Straße bei Nacht", "STRASSE", False),
    ],
)
def test_captions_are_unrelated_if_both_say_something_and_nothing_in_common(
    prompt, caption, unrelated
):
    assert are_unrelated(prompt, caption) == unrelated


def test_a_match_is_of_the_very_part_that_was_looked_for(tmp_path):
    """What is analysed again under the same settings, with other pictures, may find another one."""
    made = PartCampaign(tmp_path)
    part_search_of(made)
    camera = next(result for result in made.results if result.prompt == CAMERA)
    [part] = camera.parts
    other = part.model_copy(update={"tiles": part.tiles[1:]})
    again = camera.model_copy(update={"parts": (other,)})
    rest = [result for result in made.results if result is not camera]
    made.store_results([again, *rest])
    told = seedsweep_here("results", made.id, "--json", folder=tmp_path, environment=os.environ)
    found = {each["prompt"]: each for each in json.loads(told.stdout)}
    assert found[CAMERA]["memories"][0]["match"] is None
    assert found[CAMERA]["extracted_partial"] is None
    assert found[BICYCLE]["memories"][0]["match"]["training_id"]
