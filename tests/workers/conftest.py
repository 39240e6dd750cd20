from dataclasses import dataclass

import pytest

from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Provenance, Submission, WorkUnit
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS
from seedsweep.storage.shards import decode_shard, encode_shard
from seedsweep.storage.store import Store
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.pipelines.protocol import Generation
from seedsweep.workers.stored_images import corrupt_shards
from tests.support.campaigns import make_campaign, make_submission
from tests.support.tiny_model import save_tiny_model

MADE = Provenance(
    batch_size=4, threads=1, device="cpu", dtype="float32", versions="test", recipe="{}"
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A real diffusers pipeline with random weights, 16 px, as a campaign's model."""
    folder = tmp_path_factory.mktemp("tiny-model")
    save_tiny_model(folder)
    model = Model(path=str(folder))
    return model.model_copy(update={"fingerprint": fingerprint_model(model)})


@pytest.fixture(scope="session")
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


@dataclass
class PromptInStore:
    """One prompt whose pictures are stored, shard by shard."""

    store: Store
    submission: Submission
    text: str
    units: list[WorkUnit]

    @property
    def keys(self):
        return [unit_shard(unit) for unit in self.units]

    def read(self):
        return read_prompt(self.store, self.submission, self.text)

    def corrupt(self):
        campaign, prompt_id = self.submission.campaign, self.units[0].prompt_id
        return corrupt_shards(
            self.store,
            campaign.generation_id,
            prompt_id,
            self.submission.cuts,
            campaign.sampling,
        )

    def alter(self, place, change):
        """Replace the images of one shard by what `change` makes of them."""
        key = self.keys[place]
        images = change(decode_shard(self.store.read(key), key))
        self.store.replace(key, encode_shard(self.units[place], images))


@pytest.fixture
def store_prompt(tmp_path, make_unit):
    """Store pictures (n, height, width, 3) as shards of one prompt."""

    def put(pictures, flaws=None, per_shard=None, blocks=(DEFAULT_BLOCKS,), store=None, keep="all"):
        count, height, width, _ = pictures.shape
        per_shard = per_shard or count
        campaign = make_campaign(width=width, height=height, seeds=count, keep=keep)
        place = store or FolderStore(tmp_path / "prompt")
        units = [
            make_unit(campaign, first=first, last=min(first + per_shard, count) - 1)
            for first in range(0, count, per_shard)
        ]
        for i, unit in enumerate(units):
            seeds = range(unit.seeds.first, unit.seeds.last + 1)
            made = [Generation(s, pictures[s], (flaws or {}).get(s), MADE) for s in seeds]
            place.replace(unit_shard(unit), encode_unit(unit, made, blocks[i % len(blocks)]))
        submission = make_submission(campaign, tuple(unit.seeds for unit in units))
        return PromptInStore(place, submission, "a cat", units)

    return put
