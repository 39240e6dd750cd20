"""The model that a worker holds: one at a time, with the recipe of the campaign that came last."""

import logging

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.workers.monitoring import metrics
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Pipeline

log = logging.getLogger(__name__)


class LoadedModel:
    """What one device has loaded. That a model cannot be loaded is remembered too, until another
    recipe is wanted, so that each of its units fails at once."""

    def __init__(self, store: Store, device: str, threads: int) -> None:
        self._store, self._device, self._threads = store, device, threads
        self._loaded: tuple[Campaign, Pipeline | ModelLoadError] | None = None

    @property
    def name(self) -> str:
        """What the campaign file calls it; empty before the first one."""
        if self._loaded is None:
            return ""
        model = self._loaded[0].model
        return model.path or model.pipeline

    def pipeline(self, campaign: Campaign) -> Pipeline:
        """The pipeline with the campaign's recipe, loaded unless its model is there already.

        Raises `ModelLoadError` if it cannot be loaded, and what else may befall who loads it.
        """
        if self._loaded is None or self._loaded[0].generation_id != campaign.generation_id:
            self._loaded = self._with_recipe(campaign) or self._load(campaign)
        pipeline = self._loaded[1]
        if isinstance(pipeline, ModelLoadError):
            raise pipeline.with_traceback(None)
        return pipeline

    def refuse(self, error: ModelLoadError) -> None:
        """Remember that only its first work showed what is wrong with it, as if at loading."""
        if self._loaded is not None:
            self._loaded = self._loaded[0], error

    def _with_recipe(self, campaign: Campaign) -> tuple[Campaign, Pipeline] | None:
        """The loaded model with the campaign's recipe, if it is the campaign's model."""
        if self._loaded is None:
            return None
        previous, pipeline = self._loaded
        if isinstance(pipeline, ModelLoadError):
            return None
        if previous.model.model_id != campaign.model.model_id:
            return None
        return campaign, pipeline.with_sampling(campaign.sampling)

    def _load(self, campaign: Campaign) -> tuple[Campaign, Pipeline | ModelLoadError]:
        # The old model goes first: a device seldom holds two.
        self._loaded = None
        model = campaign.model
        log.info("The model %s (%s) is loaded.", model.path or model.pipeline, model.model_id)
        with metrics.STAGE_SECONDS.labels("load").time():
            try:
                return campaign, load_pipeline(self._store, campaign, self._device, self._threads)
            except ModelLoadError as error:
                return campaign, error
