"""How the pipeline of a campaign is chosen and loaded."""

from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.workers.models.fetching import model_places
from seedsweep.workers.pipelines.noise import NoisePipeline
from seedsweep.workers.pipelines.protocol import Pipeline
from seedsweep.workers.pipelines.unconditional import is_of_seeds


def load_pipeline(store: Store, campaign: Campaign, device: str, threads: int) -> Pipeline:
    """Load the campaign's model on a device (`cpu`, `cuda:0`, …) with so many CPU threads.

    Raises `ModelLoadError` where it cannot be loaded as `[model]` says, or is not the one that was
    submitted, and `TransientError` where what holds it does not answer or the device is full.
    """
    if campaign.model.pipeline == "noise":
        return NoisePipeline(campaign.sampling)
    if campaign.model.pipeline != "diffusers":
        from seedsweep.workers.pipelines.function_pipeline import load_function
        from seedsweep.workers.pipelines.plugin_pipelines import load_plugin

        load = load_function if campaign.model.pipeline == "python" else load_plugin
        return load(campaign.model, campaign.sampling, device, threads)
    from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
    from seedsweep.workers.pipelines.unconditional_pipeline import UnconditionalPipeline

    places = model_places(store, campaign.model)
    of_seeds = is_of_seeds(places.config or places.model)
    made_by = UnconditionalPipeline if of_seeds else DiffusersPipeline
    return made_by(places, campaign.model, campaign.sampling, device, threads)
