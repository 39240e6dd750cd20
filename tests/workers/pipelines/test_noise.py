import json

import numpy as np
import pytest

from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.noise import NoisePipeline, noise_share
from tests.support.campaigns import make_campaign


@pytest.fixture
def noise(tmp_path):
    return load_pipeline(FolderStore(tmp_path), make_campaign(), device="cpu", threads=1)


def prompt_with_share(share):
    return next(text for text in map(str, range(100)) if noise_share(text) == share)


def test_noise_is_deterministic_whatever_the_company(noise):
    together = noise.generate("a cat", [1, 2, 3])
    assert np.array_equal(noise.generate("a cat", [3])[0].pixels, together[2].pixels)


def test_noise_takes_another_recipe(noise):
    wider = noise.with_sampling(Sampling(width=24, height=16))
    assert wider.generate("a cat", [1])[0].pixels.shape == (16, 24, 3)


def test_noise_records_what_it_uses_of_a_recipe(noise):
    wider = noise.with_sampling(Sampling(width=24, height=16))
    recorded = json.loads(wider.generate("a cat", [1])[0].provenance.recipe)
    assert recorded == {"pipeline": "noise", "width": 24, "height": 16}


@pytest.mark.parametrize("share", NoisePipeline.SHARES)
def test_noise_repeats_a_prompts_picture_at_its_share_of_the_seeds(noise, share):
    made = np.stack([g.pixels for g in noise.generate(prompt_with_share(share), range(400))])
    close = (np.abs(made[:, None, :1].astype(int) - made[None, :, :1]) <= 1).all(axis=(2, 3, 4))
    largest = close.sum(axis=1).max()
    expected = max(1, 400 * share)
    assert abs(largest - expected) <= 3 * np.sqrt(400 * share * (1 - share))
