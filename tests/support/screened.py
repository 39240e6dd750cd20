"""A campaign whose first stages are screens, worked off in the test's process."""

import math
from hashlib import sha256

from seedsweep.scheduler.analysing.cohorts import Cohorts
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import store_parked
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.prompts import digest_prompts
from seedsweep.storage.records import Parked, prompt_id_of
from seedsweep.storage.results import results_by, store_results
from seedsweep.storage.scores import Scored, encode_scores
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import PromptList, Stage
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from tests.support.campaigns import make_campaign, make_images

SEEDS = 12
PROMPTS = [f"prompt {number}" for number in range(9)]
NO_NUMBER, GIVEN_UP = PROMPTS[2], PROMPTS[4]
BOUND = 0.5
BOUNDED = Stage(screen="noise-magnitude", above=BOUND, seeds=2)


def score_of(text):
    return math.nan if text == NO_NUMBER else sha256(text.encode()).digest()[0] / 256


class Screened:
    """Its units of `GIVEN_UP` are given up, and the score of `NO_NUMBER` is none."""

    def __init__(
        self, folder, ledger, missed_sample=0.0, screens=(BOUNDED,), score=score_of, texts=PROMPTS
    ):
        campaign = make_campaign(
            stages=(*screens, Stage(seeds=4)),
            missed_sample=missed_sample,
            seeds=SEEDS,
            width=8,
            height=8,
            images_per_unit=4,
            analysis=Analysis(tiles=2, min_clique_size=4),
        )
        digest = digest_prompts(map(prompt_id_of, texts))
        prompts = PromptList(file="prompts.txt", digest=digest, count=len(texts))
        self.store, self.ledger = FolderStore(folder), ledger
        campaign = campaign.model_copy(update={"prompts": prompts})
        submission = submit_campaign(self.store, plan_campaign(self.store, campaign, [*texts]))
        self.plan, self.campaign = load_plan(self.store, submission), submission.campaign
        self.id = self.campaign.campaign_id
        self.made = []
        self.score, self.beats = score, 0
        self._actor = AnalysisActor(self.store.url)
        self._cohorts = Cohorts(self.store, ledger, self._beat)

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
            unit = self.plan.unit(index)
            if unit.kind == "screen" and unit.prompt == GIVEN_UP:
                park = Parked(
                    index=index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason="no luck"
                )
                store_parked(self.store, self.id, park)
                self.ledger.park(self.id, index)
                continue
            if not self.store.exists(unit_shard(unit)):
                self.store_unit(index)
                self.made.append(index)
            self.ledger.complete(self.id, index)
        return len(indexes)

    def store_unit(self, index):
        unit = self.plan.unit(index)
        if unit.kind == "generate":
            make_images(self.store, self.plan, [index])
            return
        scores = (self.score(unit.prompt) - 0.125, self.score(unit.prompt) + 0.125)
        shard = encode_scores(unit, Scored(scores, "cpu", 1, "v"))
        self.store.create(unit_shard(unit), shard)

    def judge(self, count):
        prompts = self.ledger.take_ready(self.id, count)
        stages = self.ledger.stages_of(self.id, prompts)
        waiting = self._cohorts.have_wait(self.campaign, self.plan.prompts, prompts, stages)
        for prompt, stage in zip(prompts, stages, strict=True):
            if prompt in waiting:
                continue
            request = AnalysisRequest(
                self.id,
                self.plan.prompts[prompt],
                self.campaign.settings,
                stage=stage,
                index=prompt,
            )
            told = self._actor.analyse(request)
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
