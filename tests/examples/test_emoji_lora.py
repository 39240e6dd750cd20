"""The example's LoRA is small, and adds its pictures to the model in whatever form it is."""

import io
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.fetching import model_places
from seedsweep.workers.models.resolution import resolve_parts
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from tests.support.checkout import ROOT
from tests.support.model_forms import save_checkpoint

EMOJI = ROOT / "examples" / "emoji"
LEARNED = 10


@pytest.fixture(scope="module")
def learned():
    """The captions and pictures that the LoRA was trained on."""
    rows = pq.read_table(EMOJI / "control-pictures.parquet").slice(0, LEARNED).to_pylist()
    pictures = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    return {row["caption"]: np.asarray(p) for row, p in zip(rows, pictures, strict=True)}


def drawn(model, campaign, prompt):
    """The picture of seed 0."""
    places = model_places(FolderStore(Path("unused")), model)
    sampling = campaign.sampling.model_copy(update={"batch_size": 1})
    [one] = DiffusersPipeline(places, model, sampling, "cpu", 1).generate(prompt, [0])
    return one.pixels


def l2(one, other):
    return np.sqrt(np.mean((one / 255 - other / 255) ** 2))


def test_it_is_a_file_of_two_megabytes_at_most():
    [file] = (EMOJI / "lora").iterdir()
    assert file.stat().st_size <= 2e6


def test_its_campaign_is_that_of_the_model_alone_but_for_the_lora():
    both = [tomllib.loads((EMOJI / f"{name}.toml").read_text()) for name in ("lora", "lora-base")]
    names = [campaign.pop("name") for campaign in both]
    assert names == ["emoji-lora", "emoji-lora-base"]
    assert both[0]["model"].pop("adapters") == [{"path": "lora"}]
    assert both[0] == both[1]


def test_the_model_repeats_what_the_lora_learned_also_as_one_checkpoint(learned, tmp_path):
    campaign, prompts, _ = read_campaign(EMOJI / "lora.toml")
    assert prompts[:LEARNED] == list(learned)
    caption, picture = next(iter(learned.items()))
    with_it = drawn(campaign.model, campaign, caption)
    bare = campaign.model.model_copy(update={"adapters": ()})
    assert l2(with_it, picture) < 0.1 < l2(drawn(bare, campaign, caption), picture)

    folder = Path(campaign.model.path)
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    file = save_checkpoint(pipeline, tmp_path / "emoji.safetensors")
    one = Model(path=str(file), config=str(folder), adapters=campaign.model.adapters)
    assert np.array_equal(drawn(resolve_parts(one, tmp_path), campaign, caption), with_it)
