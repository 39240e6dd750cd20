"""Which images of a campaign stay once they are analysed."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.errors import ConfigError, PermanentError
from seedsweep.storage.record import SeedRange
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How soon a campaign that was just submitted keeps images that it shares."""

DELETERS = 8


class Retention:
    """Deletes images that are not to stay; those that campaigns share always do."""

    def __init__(self, store: Store) -> None:
        self._store, self._recipes = store, Recipes(store, LOOK_SECONDS)
        self._told: set[str] = set()

    def keeps(self, campaign: Campaign) -> bool:
        """Whether all images of the campaign stay; says why if that is not its own wish."""
        if campaign.keep == "all":
            return True
        other = self._recipes.shared_with(campaign)
        if other and campaign.campaign_id not in self._told:
            log.info(
                "All images of %s are kept, since they are those of %s too.",
                *(campaign.campaign_id, other),
            )
            self._told.add(campaign.campaign_id)
        return other is not None

    def drop(
        self, campaign: Campaign, cuts: Sequence[SeedRange], prompt_ids: Sequence[str]
    ) -> None:
        """Delete the prompts' shards, unless the campaign's images stay."""
        if not prompt_ids or self.keeps(campaign):
            return
        recipe = campaign.generation_id
        shards = [keys.shard(recipe, prompt_id, cut) for prompt_id in prompt_ids for cut in cuts]
        with ThreadPoolExecutor(DELETERS, thread_name_prefix="delete") as pool:
            list(pool.map(self._store.delete, shards))


class Recipes:
    """The recipes of a store's campaigns; each campaign is read once, since it is fixed. One whose
    prompts have settings of their own has several.

    The store is asked for new campaigns when `seconds` have passed since it was last asked.
    """

    def __init__(self, store: Store, seconds: float = 0.0) -> None:
        self._store, self._seconds = store, seconds
        self._recipes: dict[str, frozenset[str]] = {}
        self._present: list[str] = []
        self._looked = -float("inf")

    def shared_with(self, campaign: Campaign) -> str | None:
        """The first other campaign with this one's recipe, by its id; None if there is none.

        A campaign that cannot be read may have any recipe.
        """
        if time.monotonic() - self._looked >= self._seconds:
            self._present = list(self._store.folders(keys.CAMPAIGNS))
            self._looked = time.monotonic()
        own, recipe = campaign.campaign_id, campaign.generation_id
        others = (other for other in self._present if other != own)
        return next((other for other in others if self._may_have(other, recipe)), None)

    def _may_have(self, campaign_id: str, recipe: str) -> bool:
        if campaign_id not in self._recipes:
            try:
                recipes = self._read(campaign_id)
            except ConfigError:
                return False  # it is being submitted, or was deleted
            except PermanentError:
                return True
            self._recipes[campaign_id] = recipes
        return recipe in self._recipes[campaign_id]

    def _read(self, campaign_id: str) -> frozenset[str]:
        campaign = load_campaign(self._store, campaign_id).campaign
        if not campaign.own_columns.named:
            return frozenset([campaign.generation_id])
        prompts = load_prompts(self._store, campaign_id)
        return frozenset(Plan(campaign, prompts, (), settings=prompts.settings).recipes())
