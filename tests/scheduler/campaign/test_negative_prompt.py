"""A negative prompt that a model cannot be given is found on submission."""

import json

import pytest

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.storage.errors import ConfigError
from tests.support.campaigns import campaign_text
from tests.support.model_folders import put, reindex, save_folder

LIST = "prompt,without\na cat,\na dog,blurry\n"


@pytest.fixture
def read(tmp_path):
    def read(name, *, negative="", column="", text=LIST):
        save_folder(tmp_path / "model")
        reindex(tmp_path / "model", _class_name=name)
        put(tmp_path, "p.csv", text)
        prompts = {"file": "p.csv", "column": "prompt"}
        sampling = {"width": 64, "height": 64, "negative_prompt": negative, "guidance_scale": 4.0}
        lines = [campaign_text("c", model={"path": "model"}, prompts=prompts, sampling=sampling)]
        if column:
            lines += ["[prompts.settings]", f"negative_prompt = {json.dumps(column)}"]
        return read_campaign(put(tmp_path, "c.toml", "\n".join(lines)))

    return read


TAKES_NONE = [
    ("FluxPipeline", "FluxPipeline does not use one, as its guidance is distilled"),
    ("FluxKontextPipeline", "FluxKontextPipeline does not use one"),
    ("Flux2Pipeline", "Flux2Pipeline takes none"),
    ("LatentConsistencyModelPipeline", "LatentConsistencyModelPipeline takes none"),
    ("SanaSprintPipeline", "SanaSprintPipeline takes none"),
    ("KandinskyV22CombinedPipeline", "fails on one if each picture has a seed of its own"),
]


@pytest.mark.parametrize(("name", "why"), TAKES_NONE)
def test_a_class_that_takes_none_is_named(read, name, why):
    with pytest.raises(ConfigError, match=why) as caught:
        read(name, negative="blurry")
    assert str(caught.value).endswith("; leave out sampling.negative_prompt.")
    assert read(name)


@pytest.mark.parametrize(
    "name", ["StableDiffusionPipeline", "QwenImagePipeline", "StableDiffusion3Pipeline"]
)
def test_a_class_that_takes_one_is_given_it(read, name):
    assert read(name, negative="blurry").campaign.sampling.negative_prompt == "blurry"


def test_one_in_a_column_is_refused_with_its_place(read):
    with pytest.raises(
        ConfigError, match=r"Line 3 of .*p\.csv: the model .*leave out the column 'without'"
    ):
        read("FluxPipeline", column="without")
    assert read("FluxPipeline", column="without", text="prompt,without\na cat,\n")


def test_a_prompt_that_clears_the_campaigns_own_is_fine_and_one_that_keeps_it_is_not(read):
    with pytest.raises(ConfigError, match="'without'"):
        read("FluxPipeline", negative="grey", column="without")
    cleared = "prompt,without\na cat,\na dog,\n"
    assert read("FluxPipeline", negative="grey", column="without", text=cleared)


def test_distilled_guidance_of_a_unet_uses_none(read, tmp_path):
    assert read("StableDiffusionXLPipeline", negative="blurry")
    config = {"time_cond_proj_dim": 256}

    def write():
        put(tmp_path / "model", "unet/config.json", json.dumps(config))
        return read_campaign(tmp_path / "c.toml")

    with pytest.raises(
        ConfigError, match=r"its unet has distilled guidance \(time_cond_proj_dim\)"
    ):
        write()
    config["time_cond_proj_dim"] = None
    assert write()
