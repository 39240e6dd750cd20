"""The example of a plug-in: a GAN, which is loaded and held to its promises as workers do it."""

import sys
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.storage.errors import ConfigError, ModelLoadError
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.checkout import ROOT

GAN = ROOT / "examples" / "gan"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The package as pip would install it: its module and its metadata."""
    project = tomllib.loads((GAN / "pyproject.toml").read_text())["project"]
    info = tmp_path / "emoji_gan.dist-info"
    info.mkdir()
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(about)
    lines = [f"{k} = {v}" for k, v in project["entry-points"]["seedsweep.pipelines"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[seedsweep.pipelines]", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(GAN)
    yield
    sys.modules.pop("emoji_gan", None)


@pytest.fixture
def campaign(plugin):
    return read_campaign(GAN / "campaign.toml").campaign


def test_its_campaign_has_no_prompts_and_names_the_package_and_the_weights(campaign):
    assert campaign.is_unconditional
    assert campaign.model.path == str(GAN / "generator.safetensors")
    assert campaign.model.fingerprint.startswith("plugin:emoji-gan emoji-gan 1.0")


def test_a_picture_depends_on_its_seed_alone(campaign):
    pipeline = load_pipeline(None, campaign, "cpu", 1)
    together = pipeline.generate("", range(campaign.sampling.batch_size + 2))
    assert all(made.pixels.shape == (32, 32, 3) and made.flaw is None for made in together)
    for place in (0, 1, len(together) - 1):
        assert np.array_equal(pipeline.generate("", [place])[0].pixels, together[place].pixels)
    assert len({made.pixels.tobytes() for made in together}) == len(together)


def test_other_recipes_than_its_own_size_are_refused(campaign):
    pipeline = load_pipeline(None, campaign, "cpu", 1)
    smaller = campaign.sampling.model_copy(update={"width": 16})
    with pytest.raises(ModelLoadError, match="32 x 32 pixels"):
        pipeline.with_sampling(smaller)
    again = pipeline.with_sampling(campaign.sampling)
    assert np.array_equal(again.generate("", [3])[0].pixels, pipeline.generate("", [3])[0].pixels)


@pytest.mark.parametrize(
    ("weights", "said"), [(b"no weights", "cannot be read"), (None, "are not this generator's")]
)
def test_what_are_no_weights_of_it_is_refused(campaign, tmp_path, weights, said):
    file = tmp_path / "other.safetensors"
    if weights:
        file.write_bytes(weights)
    else:
        save_file({"weight": torch.zeros(2)}, file)
    model = campaign.model.model_copy(update={"path": str(file), "fingerprint": ""})
    submitted = model.model_copy(update={"fingerprint": fingerprint_model(model)})
    other = campaign.model_copy(update={"model": submitted})
    with pytest.raises(ModelLoadError, match=said):
        load_pipeline(None, other, "cpu", 1)


def test_without_the_package_the_campaign_says_what_to_install():
    with pytest.raises(ConfigError, match="install the package that provides it"):
        read_campaign(GAN / "campaign.toml")


def test_the_weights_are_in_half_precision_and_below_a_megabyte():
    file = GAN / "generator.safetensors"
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    assert file.stat().st_size < 1e6
