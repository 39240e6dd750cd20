"""What a re-analysis changes of the settings, and which prompts it judges again."""

import pytest

from seedsweep.scheduler.analysing import analyst_service, reanalysis
from seedsweep.scheduler.analysing.analyst_service import AnalystService
from seedsweep.scheduler.analysing.reanalysis import AnalysisOptions, analyse_again
from seedsweep.scheduler.campaign.current import results_now
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.record import SeedRange
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule
from seedsweep.workers.cluster.ray_cluster import Actors
from tests.support.campaigns import make_campaign, make_images
from tests.support.searchers import analyse_here

BEFORE = AnalysisSettings(analysis=Analysis(parts=PartRule(least=9)))


def test_parts_are_looked_for_anywhere_by_the_rule_that_was_there():
    asked = AnalysisOptions(partial=True, part_shift=0.08, part_mirror=True, part_scale=0.05)
    analysis = asked.apply(BEFORE).analysis
    assert analysis.partial
    assert analysis.parts == PartRule(least=9, shift=0.08, mirror=True, scale=0.05)
    assert AnalysisOptions(partial=True).apply(BEFORE).analysis.parts == PartRule(least=9)


@pytest.mark.parametrize(
    "options", [{"part_shift": 0.05}, {"part_mirror": True}, {"part_scale": 0.05}]
)
def test_parts_that_are_not_looked_for_are_nowhere(options):
    with pytest.raises(ConfigError, match="--part-shift, --part-mirror and --part-scale say where"):
        AnalysisOptions(**options).apply(BEFORE)


def test_a_part_may_not_move_further_than_a_tenth_of_the_side():
    with pytest.raises(ConfigError, match=r"shift = 0\.2 should be less than or equal to 0\.1"):
        AnalysisOptions(partial=True, part_shift=0.2).apply(BEFORE)


PROMPTS = ["a cat", "a dog", "a fox"]
CUTS = (SeedRange(first=0, last=3), SeedRange(first=4, last=7))
ALL = dict.fromkeys(PROMPTS, 8)
STRICTER = AnalysisOptions(edge_threshold=0.001)


class AtWork:
    """A campaign of which all units but the second one are made, and who judges it, without Ray."""

    def __init__(self, folder, ledger, workforce, monkeypatch):
        self.store, self.ledger, self._workforce = FolderStore(folder), ledger, workforce
        sampling = {"seeds": 8, "images_per_unit": 4}
        campaign = make_campaign(
            prompts=len(PROMPTS), analysis=Analysis(min_clique_size=3), **sampling
        )
        self.plan, self.id = Plan(campaign, PROMPTS, CUTS), campaign.campaign_id
        submit_campaign(self.store, self.plan)
        make_images(self.store, self.plan, [0, 2, 3, 4, 5])
        ledger.restore(self.id, restore_state(self.store, self.plan))
        monkeypatch.setattr("seedsweep.workers.analysts.actor.open_store", lambda url: self.store)
        for module in (analyst_service, reanalysis):
            monkeypatch.setattr(module, "analyse", analyse_here)

    def make_the_rest(self):
        make_images(self.store, self.plan, [1])
        self.ledger.complete(self.id, 1)

    def audit(self):
        looks = iter(range(6))
        analyst = AnalystService(
            self.store, self.ledger, self._workforce, lambda: next(looks, None) is None
        )
        analyst.run(Actors())

    def judge_again(self, options=STRICTER, progress=lambda done, total: None):
        analyse_again(self.store, self.id, options, Actors(), progress)

    @property
    def judged(self):
        """How many seeds the present analysis has of each prompt."""
        return {result.prompt: result.seeds for result in results_now(self.store, self.id)}


@pytest.fixture
def at_work(tmp_path, ledger, workforce, monkeypatch):
    return AtWork(tmp_path / "store", ledger, workforce, monkeypatch)


def test_a_prompt_of_which_more_images_came_since_is_judged_again(at_work):
    """As once `resume --failed` made what was given up, and another analysis was asked for then."""
    at_work.judge_again()
    assert at_work.judged == {**ALL, "a cat": 4}
    at_work.make_the_rest()
    at_work.judge_again()
    assert at_work.judged == ALL


def test_what_becomes_ready_while_others_are_judged_again_is_judged_by_that_too(at_work):
    """The analysts go by the earlier settings until all are judged."""
    left = [at_work.make_the_rest, at_work.audit]

    def progress(done, total):
        while done == total and left:
            left.pop(0)()

    at_work.judge_again(progress=progress)
    assert at_work.ledger.counts(at_work.id).settled
    assert at_work.judged == ALL


def test_what_becomes_ready_just_after_other_settings_came_is_judged_by_them(at_work, monkeypatch):
    """The analyst has read the earlier ones a moment ago."""
    left = [at_work.judge_again, at_work.make_the_rest]

    def analyse(*arguments):
        for analysed in analyse_here(*arguments):
            while analysed and left:
                left.pop(0)()
            yield analysed

    monkeypatch.setattr(analyst_service, "analyse", analyse)
    at_work.audit()
    assert not at_work.ledger.counts(at_work.id).settled
    at_work.audit()
    assert at_work.ledger.counts(at_work.id).settled
    assert at_work.judged == ALL
