"""The models that a worker holds: those of the unit that came last, at once if they fit."""

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TypeVar

from seedsweep.storage.errors import DeviceMemoryError, ModelLoadError
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.workers.monitoring import metrics
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Pipeline

log = logging.getLogger(__name__)

Told = TypeVar("Told")
Loaded = tuple[Campaign, Pipeline | ModelLoadError]


class LoadedModels:
    """What one device has loaded, each model with the recipe of the unit that came last.

    Models that a unit wants together stay loaded together. If the device has no memory for that,
    they take turns, one at a time, until units of other models come. That a model cannot be loaded
    is remembered too, until another recipe is wanted, so that each of its units fails at once.
    """

    def __init__(self, store: Store, device: str, threads: int) -> None:
        self._store, self._device, self._threads = store, device, threads
        self._loaded: Mapping[str, Loaded] = {}
        self._wanted: Set[str] = frozenset()
        self._take_turns = False

    @property
    def name(self) -> str:
        """What the campaign file calls them; empty before the first one. For any thread."""
        return " + ".join(_name(campaign) for campaign, _ in self._loaded.values())

    def ask(
        self, wanted: Sequence[Campaign], ask: Callable[[Pipeline, Campaign], Told]
    ) -> list[Told]:
        """What each of the models tells, with its recipe, in their order; each is loaded unless it
        is there already.

        Raises `ModelLoadError` if one cannot be loaded, which all are before the first is asked if
        they fit together; `DeviceMemoryError` if one does not fit alone; and what else may befall
        who loads or asks.
        """
        models = frozenset(campaign.model.model_id for campaign in wanted)
        if models != self._wanted:
            self._wanted, self._take_turns = models, False
        self._keep(models)
        if not self._take_turns:
            try:
                for campaign in wanted:
                    self._pipeline(campaign)
                return [ask(self._pipeline(campaign), campaign) for campaign in wanted]
            except DeviceMemoryError:
                if len(models) == 1:
                    raise
        # Only now is the exception gone, and with it what its frames held on the device.
        told = self._ask_in_turn(wanted, ask)
        if not self._take_turns:
            self._take_turns = True
            log.warning(
                "The models %s do not fit on %s together, so they take turns: each unit has one of "
                "them loaded anew. Workers with more memory are faster here.",
                *(" and ".join(dict.fromkeys(map(_name, wanted))), self._device),
            )
        return told

    def refuse(self, campaign: Campaign, error: ModelLoadError) -> None:
        """Remember that only its first work showed what is wrong with it, as if at loading."""
        self._loaded = {**self._loaded, campaign.model.model_id: (campaign, error)}

    def _ask_in_turn(
        self, wanted: Sequence[Campaign], ask: Callable[[Pipeline, Campaign], Told]
    ) -> list[Told]:
        """Ask with one model loaded at a time, beginning with the one that is there: of two, each
        unit then takes one loading."""
        order = sorted(range(len(wanted)), key=lambda i: not self._is_there(wanted[i]))
        told: dict[int, Told] = {}
        for place in order:
            campaign = wanted[place]
            if not self._is_there(campaign):
                metrics.MODEL_SWITCHES.inc()
            self._keep({campaign.model.model_id})
            told[place] = ask(self._pipeline(campaign), campaign)
        return [told[place] for place in range(len(wanted))]

    def _is_there(self, campaign: Campaign) -> bool:
        return campaign.model.model_id in self._loaded

    def _pipeline(self, campaign: Campaign) -> Pipeline:
        loaded = self._loaded.get(campaign.model.model_id)
        if loaded is None or loaded[0].generation_id != campaign.generation_id:
            loaded = self._with_recipe(campaign) or self._load(campaign)
            self._loaded = {**self._loaded, campaign.model.model_id: loaded}
        pipeline = loaded[1]
        if isinstance(pipeline, ModelLoadError):
            raise pipeline.with_traceback(None)
        return pipeline

    def _with_recipe(self, campaign: Campaign) -> Loaded | None:
        """The loaded model with the campaign's recipe, if it is there."""
        _, pipeline = self._loaded.get(campaign.model.model_id, (campaign, None))
        if pipeline is None or isinstance(pipeline, ModelLoadError):
            return None
        return campaign, pipeline.with_sampling(campaign.sampling)

    def _keep(self, models: Set[str]) -> None:
        """Give up all models but these, before another is loaded: a device seldom holds more. That
        one which the unit wants cannot be loaded stays known."""
        self._loaded = {
            model: loaded
            for model, loaded in self._loaded.items()
            if model in models or (model in self._wanted and isinstance(loaded[1], ModelLoadError))
        }

    def _load(self, campaign: Campaign) -> Loaded:
        log.info("The model %s (%s) is loaded.", _name(campaign), campaign.model.model_id)
        with metrics.STAGE_SECONDS.labels("load").time():
            try:
                return campaign, load_pipeline(self._store, campaign, self._device, self._threads)
            except ModelLoadError as error:
                return campaign, error


def _name(campaign: Campaign) -> str:
    return campaign.model.path or campaign.model.pipeline
