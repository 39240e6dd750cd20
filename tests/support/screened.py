"""A campaign whose first stages are screens, worked off in the test's process."""

import math
from hashlib import sha256

from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import store_parked
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.prompts import digest_prompts
from seedsweep.storage.records import Parked, prompt_id_of
from seedsweep.storage.scores import Scored, encode_scores
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import PromptList, Stage
from tests.support.campaigns import make_campaign
from tests.support.played import Played

SEEDS = 12
PROMPTS = [f"prompt {number}" for number in range(9)]
NO_NUMBER, GIVEN_UP = PROMPTS[2], PROMPTS[4]
BOUND = 0.5
BOUNDED = Stage(screen="noise-magnitude", above=BOUND, seeds=2)


def score_of(text):
    return math.nan if text == NO_NUMBER else sha256(text.encode()).digest()[0] / 256


class Screened(Played):
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
        store = FolderStore(folder)
        campaign = campaign.model_copy(update={"prompts": prompts})
        submission = submit_campaign(store, plan_campaign(store, campaign, [*texts]))
        super().__init__(store, ledger, load_plan(store, submission))
        self.score = score

    def gives_up(self, index):
        unit = self.plan.unit(index)
        if unit.kind != "screen" or unit.prompt != GIVEN_UP:
            return False
        park = Parked(index=index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason="no luck")
        store_parked(self.store, self.id, park)
        self.ledger.park(self.id, index)
        return True

    def store_unit(self, index):
        unit = self.plan.unit(index)
        if unit.kind == "generate":
            super().store_unit(index)
            return
        scores = (self.score(unit.prompt) - 0.125, self.score(unit.prompt) + 0.125)
        shard = encode_scores(unit, Scored(scores, "cpu", 1, "v"))
        self.store.create(unit_shard(unit), shard)
