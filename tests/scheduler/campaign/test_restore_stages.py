"""A campaign with stages, whose broker forgets everything now and then."""

import random

import pytest

from seedsweep.scheduler.analysing.reanalysis import AnalysisOptions
from seedsweep.scheduler.campaign.progress import Broker, Services, read_progress
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.storage.campaigns import store_done
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.live_state import DROPPED
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from tests.support.campaigns import campaign_file, make_images, submit_file
from tests.support.played import Played

SEEDS = 16
PROMPTS = [f"prompt {number}" for number in range(9)]


class Funnel(Played):
    """A campaign with stages of pictures."""

    def __init__(self, folder, ledger, missed_sample):
        file = campaign_file(
            folder / "campaign.toml",
            PROMPTS,
            sampling={"seeds": SEEDS, "width": 8, "height": 8, "images_per_unit": 4},
            analysis={"tiles": 2, "min_clique_size": 4},
            stages=({"seeds": 4}, {"seeds": 10, "min_clique_size": 3}),
            missed_sample=missed_sample,
        )
        store = FolderStore(folder / "store")
        super().__init__(store, ledger, submit_file(store, file))


@pytest.fixture
def funnel(tmp_path, ledger):
    """Have a campaign with stages in a folder of that name."""

    def begin(name, missed_sample=0.0):
        folder = tmp_path / name
        folder.mkdir()
        return Funnel(folder, ledger, missed_sample)

    return begin


@pytest.mark.parametrize("missed_sample", [0.0, 0.5])
def test_whatever_is_forgotten_the_same_prompts_go_on_and_nothing_is_made_twice(
    funnel, ledger, missed_sample
):
    undisturbed = funnel("undisturbed", missed_sample)
    undisturbed.restore()
    undisturbed.finish()
    assert 0 < sum(r.dropped_after is not None for r in undisturbed.results) < len(PROMPTS)
    assert len(undisturbed.made) < len(undisturbed.plan)

    for seed in range(4):
        chance = random.Random(seed)
        disturbed = funnel(f"disturbed {seed}", missed_sample)
        disturbed.restore()

        def forget(chance=chance, disturbed=disturbed):
            if chance.random() < 0.4:
                if chance.random() < 0.5:
                    store_done(disturbed.store, disturbed.id, ledger.done_units(disturbed.id))
                ledger.forget(disturbed.id)
                disturbed.restore(checkpointed=chance.random() < 0.5)

        disturbed.finish(forget)
        assert len(disturbed.made) == len(set(disturbed.made))
        assert set(disturbed.made) == set(undisturbed.made)
        assert disturbed.results == undisturbed.results


def test_the_store_alone_knows_that_the_campaign_is_done(funnel, broker_url):
    campaign = funnel("done")
    campaign.restore()
    campaign.finish()
    live = campaign.ledger.counts(campaign.id)
    stored = read_progress(campaign.store, campaign.id, None, None)
    broker = Broker(campaign.ledger, Workforce(broker_url))
    served = read_progress(campaign.store, campaign.id, broker, Services(True, (), 0))
    assert stored.state == served.state == "done"
    for progress in (stored, served):
        assert progress.units_done + progress.units_dropped == progress.units == live.units
        assert progress.images == progress.images_done < progress.images_full
        assert progress.images_full == len(PROMPTS) * SEEDS
    assert (stored.images, stored.units_dropped) == (served.images, served.units_dropped)


def test_images_of_another_campaign_are_not_made_again_and_change_nothing(funnel):
    few = funnel("few")
    few.restore()
    few.finish()
    all_there = funnel("all")
    make_images(all_there.store, all_there.plan)
    all_there.restore()
    all_there.finish()
    assert all_there.made == []
    assert all_there.results == few.results
    restored = restore_state(all_there.store, all_there.plan)
    assert (restored.held, restored.dropped) == (0, 0)
    assert ((restored.stages >= DROPPED).sum()) == sum(
        result.dropped_after is not None for result in few.results
    )


def test_results_of_other_settings_know_what_was_dropped(funnel):
    campaign = funnel("again")
    campaign.restore()
    campaign.finish()
    settings = AnalysisOptions(edge_threshold=0.2).apply(campaign.campaign.settings)
    actor, restored = (
        AnalysisActor(campaign.store.url),
        restore_state(campaign.store, campaign.plan),
    )
    for text, stage in zip(PROMPTS, (restored.stages % DROPPED).tolist(), strict=True):
        request = AnalysisRequest(campaign.id, text, settings, stage=stage, as_is=True)
        found = actor.analyse(request).value
        [before] = [result for result in campaign.results if result.prompt == text]
        assert (found.drop, found.seeds) == (before.drop, before.seeds)
