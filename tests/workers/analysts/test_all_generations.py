"""All generations of a campaign without prompts: cliques among them, and what they extract."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.extractions import read_extractions, read_ranked
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.record import SeedRange
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import read_results
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.workers.analysis.matching import is_extracted, nearest_training
from seedsweep.workers.analysts import all_generations
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.analysts.prompt_result import analyse_prompt
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.index import load_training_set
from seedsweep.workers.training.slices import USUAL
from tests.support.campaigns import make_campaign, make_images
from tests.support.searchers import Here

SIDE = 16
ANALYSIS = Analysis(min_clique_size=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a campaign of noise, a quarter of whose 40 pictures repeat one, and its plan."""
    store = FolderStore(tmp_path_factory.mktemp("store"))
    campaign = make_campaign(
        seeds=40, images_per_unit=9, guidance_scale=1.0, analysis=ANALYSIS
    ).model_copy(update={"prompts": None})
    plan = plan_campaign(store, campaign, [""], [])
    submit_campaign(store, plan)
    make_images(store, plan)
    return store, plan


@pytest.fixture(scope="module")
def verification(tmp_path_factory, made):
    """A training set: three of the generations, one of them twice, the repeated one, and noise."""
    store, plan = made
    stored = read_prompt(store, load_campaign(store, plan.campaign.campaign_id), "")
    repeated = analyse_prompt(stored, AnalysisSettings(analysis=ANALYSIS), None)
    folder = tmp_path_factory.mktemp("train")
    others = [i for i in range(40) if i not in repeated.clique_seeds]
    pictures = dict(zip("abc", stored.pixels(others[:3]), strict=True))
    pictures["a2"] = pictures["a"]
    pictures["r"] = stored.pixels([repeated.representative_seed])[0]
    random = np.random.default_rng(0)
    pictures |= {f"n{i}": random.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for i in range(12)}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    fingerprint = fingerprint_training_set(folder, USUAL)
    return Verification(
        training_set=str(folder), threshold=0.2, neighbours=5, fingerprint=fingerprint
    )


@contextlib.contextmanager
def here():
    yield Here()


def analysed(made, settings):
    store, plan = made
    request = AnalysisRequest(plan.campaign.campaign_id, "", settings)
    return AnalysisActor(store.url, crew=here).analyse(request)


def test_cliques_are_those_of_the_matrix_of_all_pairs(made):
    store, plan = made
    settings = AnalysisSettings(analysis=ANALYSIS)
    stored = read_prompt(store, load_campaign(store, plan.campaign.campaign_id), "")
    expected = analyse_prompt(stored, settings, None)
    assert expected.clique_size > 5
    assert analysed(made, settings).value == expected
    assert read_extractions(store, settings.analysis_id, plan.campaign.campaign_id) is None


def test_every_generation_is_matched_as_by_comparing_all_pixels(made, verification):
    store, plan = made
    settings = AnalysisSettings(analysis=ANALYSIS, verification=verification)
    whose = settings.analysis_id, plan.campaign.campaign_id
    result = analysed(made, settings).value
    found, ranked = read_extractions(store, *whose), read_ranked(store, *whose)
    assert found.seeds_digest == result.seeds_digest
    stored = read_prompt(store, load_campaign(store, plan.campaign.campaign_id), "")
    training = load_training_set(verification, SIDE, SIDE)
    for nearest in ranked:
        [picture] = stored.pixels([nearest.seed])
        match = nearest_training(picture, training.images, 4, verification)
        told = training.id_of(match.index), match.l2, match.tiled_l2
        assert (nearest.training_id, nearest.l2, nearest.tiled_l2) == told
        assert nearest.extracted == is_extracted(match, verification.threshold, SIDE)
        if nearest.l2 <= verification.threshold:
            assert nearest.adaptive == pytest.approx(match.adaptive)
    assert sorted(nearest.seed for nearest in ranked) == list(range(40))
    extracted = [nearest for nearest in ranked if nearest.extracted]
    assert ranked[: len(extracted)] == extracted
    assert result.match.training_id == "r.png"
    assert result.match.extracted


def test_distinct_training_pictures_are_counted_with_their_copies(made, verification):
    store, plan = made
    settings = AnalysisSettings(analysis=ANALYSIS, verification=verification)
    result = analysed(made, settings).value
    found = read_extractions(store, settings.analysis_id, plan.campaign.campaign_id)
    told = {each.training_id: (each.generations, each.copies) for each in found.pictures}
    assert told == {
        "a.png": (1, 2),
        "b.png": (1, 1),
        "c.png": (1, 1),
        "r.png": (result.clique_size, 1),
    }
    assert found.extracted == 3 + result.clique_size
    assert found.searched == 40
    assert found.coverage.read == 17


def test_results_beside_extractions_are_read(made, verification):
    store, plan = made
    settings = AnalysisSettings(analysis=ANALYSIS, verification=verification)
    result = analysed(made, settings).value
    whose = settings.analysis_id, plan.campaign.campaign_id
    store_results(store, *whose, [result])
    assert read_results(store, *whose) == [result]


def test_another_training_set_than_was_submitted_is_refused(made, verification):
    other = verification.model_copy(update={"fingerprint": "sha256:0"})
    error = analysed(made, AnalysisSettings(analysis=ANALYSIS, verification=other)).error
    assert "is not the one that was submitted" in str(error)


def test_extractions_that_are_not_what_was_written_are_refused(made, verification):
    store, plan = made
    settings = AnalysisSettings(analysis=ANALYSIS, verification=verification)
    analysed(made, settings)
    whose = settings.analysis_id, plan.campaign.campaign_id
    key = keys.extractions(*whose)
    data = store.read(key)
    for broken in (b"", b"no Parquet", data[:-20], data.replace(b'"searched"', b'"searchee"')):
        store.replace(key, broken)
        with pytest.raises(ShardCorruptError, match=r"extractions\.parquet"):
            read_extractions(store, *whose)
    store.replace(key, data)
    assert read_extractions(store, *whose)


def test_a_broken_shard_is_left_out_and_named(made):
    store, plan = made
    settings = AnalysisSettings(analysis=ANALYSIS)
    key = keys.shard(
        plan.campaign.generation_id, plan.unit(0).prompt_id, SeedRange(first=9, last=17)
    )
    data = store.read(key)
    store.replace(key, b"broken")
    try:
        result = analysed(made, settings)
    finally:
        store.replace(key, data)
    assert result.corrupt == (key,)
    assert result.value.seeds == 31


def test_with_too_many_pairs_fewer_are_judged_and_that_is_said(made, monkeypatch):
    monkeypatch.setattr(all_generations, "PAIRS", 10)
    result = analysed(made, AnalysisSettings(analysis=ANALYSIS)).value
    assert not result.clique_proven
    assert result.clique_upper_bound == 40
