import numpy as np
import pytest

from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.storage.campaigns import store_done
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.result_parts import store_results
from tests.support.campaigns import park_unit, submit_pairs
from tests.support.results import make_flagged, make_result


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def plan(store):
    """A stored campaign of 30 prompts with two units each."""
    return submit_pairs(store)


def a_result(plan, prompt, seeds, flagged=False):
    make = make_flagged if flagged else make_result
    return make(prompt=plan.prompts[prompt], seeds=seeds)


def test_the_state_is_rebuilt_from_shards_parked_units_and_results(store, plan):
    campaign_id = plan.campaign.campaign_id
    for index in (0, 1, 2, 4, 5):
        store.create(unit_shard(plan.unit(index)), b"shard")
    park_unit(store, plan, 3)
    store_results(store, plan.campaign.analysis_id, campaign_id, [a_result(plan, 0, 10, True)])
    restored = restore_state(store, plan)
    assert np.flatnonzero(restored.done).tolist() == [0, 1, 2, 4, 5]
    assert restored.parked == {3}
    assert restored.ready == (1, 2)
    assert np.flatnonzero(restored.analysed).tolist() == [0]
    assert restored.flagged == {0}


def test_a_prompt_whose_result_covers_fewer_images_is_analysed_again(store, plan):
    for index in (0, 1):
        store.create(unit_shard(plan.unit(index)), b"shard")
    results = [a_result(plan, 0, 5)]
    store_results(store, plan.campaign.analysis_id, plan.campaign.campaign_id, results)
    assert restore_state(store, plan).ready == (0,)


def test_what_a_checkpoint_missed_of_an_analysed_prompt_its_result_tells(store, plan):
    campaign_id = plan.campaign.campaign_id
    store_done(store, campaign_id, np.zeros(len(plan), dtype=np.bool_))
    results = [a_result(plan, 0, 10), a_result(plan, 1, 5)]
    store_results(store, plan.campaign.analysis_id, campaign_id, results)
    restored = restore_state(store, plan, checkpointed=True)
    assert np.flatnonzero(restored.done).tolist() == [0, 1]
    assert np.flatnonzero(restored.analysed).tolist() == [0]
    assert restore_state(store, plan).done.sum() == 0
