"""Campaigns as the analyst last saw them in the store."""

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign, load_control, load_prompts
from seedsweep.storage.errors import PermanentError
from seedsweep.storage.prompts import StoredPrompts
from seedsweep.storage.record import SeedRange
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store

SETTINGS_SECONDS = 5.0
"""A changed analysis reaches the prompts that become ready so many seconds later."""

FORGET_SECONDS = 600.0
"""Longer than a campaign at work has no prompt that becomes ready, mostly."""


@dataclass(slots=True)
class KnownCampaign:
    """A campaign as the analyst last saw it in the store."""

    campaign: Campaign
    cuts: tuple[SeedRange, ...]
    prompts: StoredPrompts
    settings: AnalysisSettings
    seen: float


class KnownCampaigns:
    """The campaigns that prompts were taken from, by id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, KnownCampaign] = {}

    def __getitem__(self, campaign_id: str) -> KnownCampaign:
        return self._known[campaign_id]

    def forget_others(self, at_work: Collection[str]) -> None:
        """Forget campaigns that nobody asked for within the last `FORGET_SECONDS`, but for these:
        a broker names settled ones too, and an analyst runs for months."""
        asked_since = time.monotonic() - FORGET_SECONDS
        for campaign_id, known in list(self._known.items()):
            if campaign_id not in at_work and known.seen < asked_since:
                del self._known[campaign_id]

    def is_judged_by(self, campaign_id: str, analysis_id: str) -> bool:
        """Whether a known campaign is still to be judged so, as the store says just now; also if
        that cannot be read any more."""
        known = self._known[campaign_id]
        try:
            wanted = load_control(self._store, campaign_id).settings or known.campaign.settings
        except PermanentError:
            return True
        if wanted.analysis_id == analysis_id:
            return True
        known.seen = -math.inf
        return False

    def fresh(self, campaign_id: str) -> KnownCampaign:
        """The campaign as it was seen within the last `SETTINGS_SECONDS`."""
        known, now = self._known.get(campaign_id), time.monotonic()
        if known is None or now - known.seen > SETTINGS_SECONDS:
            submission = load_campaign(self._store, campaign_id)
            settings = settings_now(self._store, submission)
            prompts = known.prompts if known else load_prompts(self._store, campaign_id)
            known = KnownCampaign(submission.campaign, submission.cuts, prompts, settings, now)
            self._known[campaign_id] = known
        return known
