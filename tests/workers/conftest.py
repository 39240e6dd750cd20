import pytest

from storage.records import Campaign, Model, PromptList, Sampling, SeedRange, WorkUnit
from tests.tiny_model import save_tiny_model
from workers.models import fingerprint_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A real diffusers pipeline with random weights, 16 px, as a campaign's model."""
    folder = tmp_path_factory.mktemp("tiny-model")
    save_tiny_model(folder)
    model = Model(path=str(folder))
    return model.model_copy(update={"fingerprint": fingerprint_model(model)})


@pytest.fixture
def make_campaign():
    """Make a small noise campaign, or one of another model."""

    def make(model=None, **sampling):
        defaults = {"seeds": 6, "width": 16, "height": 16, "batch_size": 4, "images_per_unit": 3}
        return Campaign(
            name="small",
            model=model or Model(pipeline="noise", fingerprint="noise:"),
            prompts=PromptList(file="prompts.txt", digest="0", count=2),
            sampling=Sampling(**{**defaults, **sampling}),
        )

    return make


@pytest.fixture
def make_unit():
    """Make the work unit of a prompt and a run of seeds."""

    def make(campaign, prompt="a cat", first=0, last=2, index=0, token=""):
        return WorkUnit(
            campaign_id=campaign.campaign_id,
            generation_id=campaign.generation_id,
            index=index,
            token=token,
            prompt=prompt,
            seeds=SeedRange(first=first, last=last),
        )

    return make
