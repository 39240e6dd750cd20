import logging

import pytest

from seedsweep.scheduler.analysing import analyst_service, reanalysis
from seedsweep.scheduler.analysing.analyst_service import AnalystService
from seedsweep.scheduler.analysing.reanalysis import analyse_missing
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.retention import Recipes
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign, store_control
from seedsweep.storage.errors import ImagesNotKeptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.receipts import list_receipts
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Control
from seedsweep.storage.results import read_results
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.cluster.ray_cluster import Actors
from tests.support.campaigns import make_campaign, make_images
from tests.support.searchers import analyse_here

CUTS = (SeedRange(first=0, last=3), SeedRange(first=4, last=7))
PROMPTS = ["a cat", "a dog", "a fox"]
FLAGGED, UNFLAGGED = [1], [0, 2]
STRICTER = AnalysisSettings(analysis=Analysis(min_clique_size=3, edge_threshold=0.001))
FULL = AnalysisSettings(analysis=Analysis(min_clique_size=3, matrix="full"))


class KilledError(BaseException):
    """The process ends here."""


class Until:
    """Passes calls on, and at the wanted one of those named kills the process instead."""

    def __init__(self, behind, names, steps):
        self._behind, self._names, self._steps = behind, names, steps

    def __getattr__(self, name):
        found = getattr(self._behind, name)
        if name not in self._names:
            return found

        def call(*arguments):
            if next(self._steps, None) is None:
                raise KilledError(name)
            return found(*arguments)

        return call


class Desk:
    """A store with noise campaigns, all their images made, and auditors of them without Ray."""

    def __init__(self, folder, ledger, workforce, monkeypatch):
        self.store, self.ledger, self.workforce = FolderStore(folder), ledger, workforce
        self._monkeypatch = monkeypatch

    def submit(self, name="c", keep="flagged", matrix="pruned"):
        analysis = Analysis(min_clique_size=3, matrix=matrix)
        sampling = {"seeds": 8, "images_per_unit": 4}
        campaign = make_campaign(
            name, prompts=len(PROMPTS), keep=keep, analysis=analysis, **sampling
        )
        plan = Plan(campaign, PROMPTS, CUTS)
        submit_campaign(self.store, plan)
        self.make(plan, range(len(plan)))
        self.restore(plan)
        return plan

    def make(self, plan, indexes):
        make_images(self.store, plan, indexes)

    def restore(self, plan):
        self.ledger.restore(plan.campaign.campaign_id, restore_state(self.store, plan))

    def audit(self, plan, steps=10_000):
        """Have all that is ready analysed; is killed after so many changes to store or ledger."""
        left = iter(range(steps))
        store = Until(self.store, {"create", "replace", "delete"}, left)
        ledger = Until(self.ledger, {"analysed", "reopen"}, left)
        self._monkeypatch.setattr("seedsweep.workers.analysts.actor.open_store", lambda url: store)
        self._monkeypatch.setattr(analyst_service, "analyse", analyse_here)
        # What ended without a word would come again only once its lease has ended.
        for prompt in range(len(PROMPTS)):
            self.ledger.put_back(plan.campaign.campaign_id, prompt, 0, "")
        looks = iter(range(2))
        analyst = AnalystService(store, ledger, self.workforce, lambda: next(looks, None) is None)
        analyst.run(Actors())

    def make_what_is_open(self, plan):
        """Do what a worker would; returns the indexes of the units that it made."""
        campaign_id = plan.campaign.campaign_id
        _, indexes = self.ledger.issue(campaign_id, 100)
        gone = [i for i in indexes if not self.store.exists(keys.unit_shard(plan.unit(i)))]
        self.make(plan, gone)
        for index in indexes:
            self.ledger.complete(campaign_id, index)
        return gone

    def results(self, plan, settings=None):
        analysis_id = (settings or plan.campaign.settings).analysis_id
        return read_results(self.store, analysis_id, plan.campaign.campaign_id)

    def judge_again(self, plan, settings):
        submission = load_campaign(self.store, plan.campaign.campaign_id)
        with self._monkeypatch.context() as patch:
            patch.setattr("seedsweep.workers.analysts.actor.open_store", lambda url: self.store)
            patch.setattr(reanalysis, "analyse", analyse_here)
            return analyse_missing(
                self.store, submission, settings, PROMPTS, Actors(), lambda done, total: None
            )

    def kept(self, plan):
        """The units that have shards, and the prompts that have receipts."""
        shards = plan.done(self.store.list("shards/"))
        receipts = plan.receipted(list_receipts(self.store, plan.campaign.campaign_id))
        prompts = receipts.reshape(-1, len(CUTS)).all(axis=1)
        return shards.nonzero()[0].tolist(), prompts.nonzero()[0].tolist()

    def is_settled(self, plan):
        counts = self.ledger.counts(plan.campaign.campaign_id)
        return counts.settled and counts.done == len(plan)


@pytest.fixture
def make_desk(ledger, workforce, monkeypatch):
    return lambda folder: Desk(folder, ledger, workforce, monkeypatch)


@pytest.fixture
def desk(tmp_path, make_desk):
    return make_desk(tmp_path / "store")


@pytest.fixture
def expected(make_desk, tmp_path):
    """The results of a campaign like the desk's that keeps all."""

    def judge(matrix="pruned", settings=None):
        other = make_desk(tmp_path / "expected")
        plan = other.submit(keep="all", matrix=matrix)
        other.audit(plan)
        if settings:
            other.judge_again(plan, settings)
        assert other.kept(plan) == (list(range(6)), [])
        return other.results(plan, settings)

    return judge


def test_only_the_shards_of_flagged_prompts_stay_and_receipts_of_the_others(desk, expected):
    plan = desk.submit()
    desk.audit(plan)
    assert desk.kept(plan) == ([2, 3], UNFLAGGED)
    assert desk.is_settled(plan)
    assert desk.results(plan) == expected()


@pytest.mark.parametrize("matrix", ["pruned", "full"])
@pytest.mark.parametrize("forgets", [False, True], ids=["the broker stays", "the broker forgets"])
def test_whatever_change_an_analyst_dies_at_the_next_one_finishes_the_job(
    tmp_path, make_desk, expected, matrix, forgets
):
    """With all pixels wanted, nothing could be judged again once the first shard is deleted."""
    wanted = expected(matrix)
    deaths, ended = 0, False
    while not ended:
        desk = make_desk(tmp_path / str(deaths))
        plan = desk.submit(matrix=matrix)
        try:
            desk.audit(plan, steps=deaths)
            ended = True
        except KilledError:
            deaths += 1
        if forgets:
            desk.restore(plan)
        desk.audit(plan)
        assert desk.is_settled(plan)
        assert desk.kept(plan) == ([2, 3], UNFLAGGED)
        assert desk.results(plan) == wanted
    assert deaths == 2 + 1 + 4 + 3  # receipts, results, shards, prompts


def test_a_broker_that_forgot_all_has_nothing_done_again(desk):
    plan = desk.submit()
    desk.audit(plan)
    restored = restore_state(desk.store, plan)
    assert restored.done.all()
    assert restored.analysed.all()
    assert restored.ready == ()
    assert restored.flagged == frozenset(FLAGGED)


def test_images_that_another_campaign_has_too_all_stay_and_that_is_said_once(desk, caplog):
    plan, other = desk.submit(), desk.submit("other", keep="all")
    with caplog.at_level(logging.INFO, logger="seedsweep.scheduler.campaign.retention"):
        desk.audit(plan)
    assert desk.kept(plan)[0] == list(range(6))
    (said,) = caplog.messages
    assert plan.campaign.campaign_id in said
    assert other.campaign.campaign_id in said
    assert restore_state(desk.store, plan).ready == ()


def test_images_left_by_a_sharing_that_has_ended_go_where_there_is_a_receipt(desk):
    plan = desk.submit()
    desk.audit(plan)
    other = desk.submit("other", keep="all")
    assert restore_state(desk.store, plan).ready == ()
    for key in list(desk.store.list(f"campaigns/{other.campaign.campaign_id}/")):
        desk.store.delete(key)
    assert restore_state(desk.store, plan).ready == tuple(UNFLAGGED)
    desk.restore(plan)
    desk.audit(plan)
    assert desk.kept(plan) == ([2, 3], UNFLAGGED)
    assert desk.is_settled(plan)


def test_a_campaign_that_cannot_be_read_may_share_any_image(desk):
    plan = desk.submit()
    recipes = Recipes(desk.store)
    assert recipes.shared_with(plan.campaign) is None
    desk.store.create(keys.campaign("broken"), b"{")
    assert recipes.shared_with(plan.campaign) == "broken"
    desk.store.delete(keys.campaign("broken"))
    assert recipes.shared_with(plan.campaign) is None


def test_campaigns_of_other_recipes_share_nothing(desk):
    plan = desk.submit()
    submit_campaign(
        desk.store,
        Plan(
            plan.campaign.model_copy(
                update={"name": "other", "sampling": Sampling(seeds=8, width=8, height=8)}
            ),
            PROMPTS,
            CUTS,
        ),
    )
    assert Recipes(desk.store).shared_with(plan.campaign) is None


def test_a_stricter_analysis_of_what_is_left_says_what_one_of_all_images_says(desk, expected):
    plan = desk.submit()
    desk.audit(plan)
    assert desk.judge_again(plan, STRICTER) == []
    assert desk.results(plan, STRICTER) == expected(settings=STRICTER)
    assert desk.kept(plan) == ([2, 3], UNFLAGGED)


def test_an_analysis_that_wants_deleted_images_judges_the_others_and_says_why(desk, expected):
    plan = desk.submit()
    desk.audit(plan)
    refused = desk.judge_again(plan, FULL)
    assert [type(error) for error in refused] == [ImagesNotKeptError] * len(UNFLAGGED)
    (judged,) = desk.results(plan, FULL)
    assert judged in expected(settings=FULL)
    assert judged.prompt == PROMPTS[FLAGGED[0]]


def test_a_new_analysis_deletes_nothing(desk):
    plan = desk.submit()
    desk.judge_again(plan, STRICTER)
    desk.judge_again(plan, plan.campaign.settings)
    assert desk.kept(plan) == (list(range(6)), [])


@pytest.mark.parametrize("keep", ["all", "flagged"])
def test_a_shard_that_is_gone_before_its_prompt_is_analysed_is_made_again(
    desk, expected, caplog, keep
):
    plan = desk.submit(keep=keep)
    desk.store.delete(keys.unit_shard(plan.unit(5)))
    desk.audit(plan)
    assert "made again" in caplog.text
    assert {result.prompt for result in desk.results(plan)} == set(PROMPTS[:2])
    assert desk.make_what_is_open(plan) == [5]
    desk.audit(plan)
    assert desk.is_settled(plan)
    assert desk.results(plan) == expected()


def test_a_prompt_with_a_parked_unit_is_judged_without_it_and_keeps_its_other_images(desk):
    plan = desk.submit()
    campaign_id = plan.campaign.campaign_id
    desk.store.delete(keys.unit_shard(plan.unit(5)))
    desk.ledger.reopen(campaign_id, [5])
    desk.ledger.park(campaign_id, 5)
    desk.audit(plan)
    assert {r.prompt: r.seeds for r in desk.results(plan)} == dict(
        zip(PROMPTS, (8, 8, 4), strict=True)
    )
    assert desk.kept(plan) == ([2, 3, 4], [0])

    desk.ledger.retry(campaign_id, [5])
    assert desk.make_what_is_open(plan) == [5]
    desk.audit(plan)
    assert desk.kept(plan) == ([2, 3], UNFLAGGED)
    assert desk.is_settled(plan)


def test_images_that_a_campaign_wants_after_all_are_made_again(desk, expected):
    """So a changed analysis that meets a prompt of which images are deleted gets through."""
    plan = desk.submit()
    desk.audit(plan)
    store_control(desk.store, plan.campaign.campaign_id, Control(settings=FULL))
    desk.restore(plan)
    desk.audit(plan)
    assert desk.make_what_is_open(plan) == [0, 1, 4, 5]
    desk.audit(plan)
    assert desk.is_settled(plan)
    assert desk.results(plan, FULL) == expected(settings=FULL)
    assert desk.kept(plan) == ([2, 3], UNFLAGGED)


def test_where_those_cannot_be_made_either_the_prompt_waits_and_says_why(desk):
    plan = desk.submit()
    desk.audit(plan)
    campaign_id = plan.campaign.campaign_id
    store_control(desk.store, campaign_id, Control(settings=FULL))
    desk.restore(plan)
    desk.audit(plan)
    for index in (0, 1, 4, 5):
        desk.ledger.park(campaign_id, index)
    desk.audit(plan)
    assert 'keep = "all"' in desk.ledger.counts(campaign_id).trouble
