"""What classes of diffusers say of themselves is what they are given."""

import json
from pathlib import Path

import numpy as np
import pytest

from seedsweep.storage.errors import ModelLoadError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from tests.support.classes.registry import TINY, save_class

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a tiny model of a class, saved once."""
    saved = {}

    def folder_of(name):
        if name not in saved:
            saved[name] = tmp_path_factory.mktemp("class")
            save_class(name, saved[name])
        return saved[name]

    return folder_of


@pytest.fixture
def load(folder_of):
    def load(name, **sampling):
        side = TINY[name].side
        usual = {"steps": 2, "guidance_scale": 3.0, "width": side, "height": side, "batch_size": 1}
        folder = folder_of(name)
        model = Model(path=str(folder), fingerprint="f")
        return DiffusersPipeline(
            Places(Path(folder)), model, Sampling(**usual | sampling), "cpu", threads=1
        )

    return load


def pictured(pipeline):
    """The pixels of a picture, and the guidance that its recipe records."""
    (made,) = pipeline.generate("a cat", [1])
    return made.pixels, json.loads(made.provenance.recipe)["guidance_scale"]


def test_true_guidance_follows_the_campaigns_scale_once_there_is_a_negative_prompt(load):
    _, without = pictured(load("QwenImagePipeline"))
    weak, scale = pictured(load("QwenImagePipeline", negative_prompt=" "))
    strong, _ = pictured(load("QwenImagePipeline", negative_prompt=" ", guidance_scale=9.0))
    assert (without, scale) == (None, 3.0)
    assert not np.array_equal(weak, strong)


def test_the_scale_of_a_cascade_guides_its_prior(load):
    weak, scale = pictured(load("StableCascadeCombinedPipeline"))
    strong, _ = pictured(load("StableCascadeCombinedPipeline", guidance_scale=20.0))
    assert scale == 3.0
    assert not np.array_equal(weak, strong)


def test_a_pipeline_that_snaps_to_an_area_makes_pictures_of_the_size_asked_for(load):
    pixels, _ = pictured(load("FluxKontextPipeline", width=48))
    assert pixels.shape == (32, 48, 3)


def test_a_pipeline_of_one_generator_for_a_batch_is_refused_as_it_is_loaded(load):
    with pytest.raises(ModelLoadError, match="AmusedPipeline takes one generator for a whole"):
        load("AmusedPipeline")


def test_a_network_that_diffusers_has_moved_among_the_deprecated_is_found(load):
    assert pictured(load("AltDiffusionPipeline"))[0].shape == (32, 32, 3)


def test_a_pipeline_whose_batches_do_not_follow_the_prompt_is_refused_but_for_single_pictures(load):
    with pytest.raises(ModelLoadError, match=r"set sampling\.batch_size = 1"):
        load("StableDiffusionPanoramaPipeline", batch_size=2)
    assert pictured(load("StableDiffusionPanoramaPipeline"))[1] == 3.0
