"""A campaign that is worked off step by step, in the test's process."""

from seedsweep.scheduler.analysing.cohorts import Cohorts
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import results_by
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from tests.support.campaigns import make_images


class Played:
    """What feeder, workers and analysts do with the plan, as often as they are asked to.

    `made` are the units that had no shard, `beats` how often the analyst showed that it lives.
    """

    def __init__(self, store, ledger, plan):
        self.store, self.ledger, self.plan = store, ledger, plan
        self.campaign = plan.campaign
        self.id = self.campaign.campaign_id
        self.made, self.beats = [], 0
        self._actor = AnalysisActor(store.url)
        self._cohorts = Cohorts(store, ledger, self._beat)

    def _beat(self):
        self.beats += 1

    def restore(self, checkpointed=False):
        self.ledger.restore(
            self.id, restore_state(self.store, self.plan, checkpointed=checkpointed)
        )

    def make(self, count):
        token, indexes = self.ledger.issue(self.id, count)
        for index in indexes:
            assert self.ledger.claim(self.id, index, token).outcome == "granted"
            if self.gives_up(index):
                continue
            if not self.store.exists(unit_shard(self.plan.unit(index))):
                self.store_unit(index)
                self.made.append(index)
            self.ledger.complete(self.id, index)
        return len(indexes)

    def gives_up(self, index):
        """Whether the unit was parked, and is not made."""
        return False

    def store_unit(self, index):
        make_images(self.store, self.plan, [index])

    def judge(self, count):
        prompts = self.ledger.take_ready(self.id, count)
        stages = self.ledger.stages_of(self.id, prompts)
        waiting = self._cohorts.have_wait(self.campaign, self.plan.prompts, prompts, stages)
        for prompt, stage in zip(prompts, stages, strict=True):
            if prompt in waiting:
                continue
            text = self.plan.prompts[prompt]
            told = self._actor.analyse(
                AnalysisRequest(self.id, text, self.campaign.settings, stage=stage, index=prompt)
            )
            if told.goes_on_to:
                self.ledger.open_stage(self.id, prompt, told.goes_on_to)
                continue
            store_results(self.store, self.campaign.analysis_id, self.id, [told.value])
            after = told.value.dropped_after
            self.ledger.analysed(self.id, prompt, told.value.flagged, after)
        return len(prompts)

    def finish(self, forget=lambda: None):
        while not self.ledger.counts(self.id).settled:
            assert self.make(5) + self.judge(3) > 0
            forget()

    @property
    def results(self):
        found = results_by(self.store, self.campaign.settings, self.id)
        return sorted(found, key=lambda result: result.prompt)
