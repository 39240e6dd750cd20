"""Class-conditional models: prompts are the numbers or names of classes."""

import diffusers
import numpy as np
import pytest
import torch

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.errors import ConfigError, GenerationError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.class_labels import Classes
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from tests.support.tiny_pipelines import save_dit

SAMPLING = Sampling(steps=2, width=32, height=32, batch_size=2, guidance_scale=4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_dit(tmp_path_factory.mktemp("dit"))


@pytest.fixture(scope="module")
def pipeline(folder):
    model = Model(path=str(folder), dtype="float32")
    return DiffusersPipeline(Places(folder), model, SAMPLING, "cpu", 1)


def campaign(tmp_path, folder, prompts, rows=None, **sampling):
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    given = {"seeds": 2, "steps": 2, "width": 32, "height": 32, **sampling}
    lines = [f"{name} = {value}" for name, value in given.items()]
    path = tmp_path / "campaign.toml"
    path.write_text(
        f'name = "c"\n[model]\npath = "{folder}"\ndtype = "float32"\n'
        '[prompts]\nfile = "prompts.txt"\n[sampling]\n'
        + "\n".join(lines)
        + "\n[analysis]\nmin_clique_size = 2\n"
    )
    return read_campaign(path, rows)


@pytest.mark.parametrize(("prompt", "number"), [("7", 7), ("tench", 0), ("wading bird", 2)])
def test_pictures_are_those_of_diffusers_own_call(folder, pipeline, prompt, number):
    own = diffusers.DiTPipeline.from_pretrained(folder)
    own.set_progress_bar_config(disable=True)
    expected = own(
        class_labels=[number] * 2,
        guidance_scale=4.0,
        num_inference_steps=2,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (3, 4)],
        output_type="np",
    ).images
    made = pipeline.generate(prompt, [3, 4])
    assert [one.seed for one in made] == [3, 4]
    for one, picture in zip(made, expected, strict=True):
        assert np.array_equal(one.pixels, np.rint(picture.clip(0, 1) * 255).astype(np.uint8))


def test_a_class_that_is_not_there_is_refused_and_others_go_on(pipeline):
    with pytest.raises(GenerationError, match="'dog' is no class of the model"):
        pipeline.generate("dog", [0])
    assert len(pipeline.generate("1", [0])) == 1


def test_a_campaign_of_classes_is_read(tmp_path, folder):
    _, prompts, _ = campaign(tmp_path, folder, ["1", "tench", "crane, wading bird", "999"])
    assert prompts == ["1", "tench", "crane, wading bird", "999"]


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (["1000"], "'1000' is no class of the model; write a number from 0 to 999"),
        (["-1"], "'-1' is no class"),
        (["a photo of a tench"], "or one of the names in its model_index.json"),
        (["crane"], "is the name of the classes 2 and 3; write the number"),
        (["tench", "0"], "'tench' and '0' are the same class, 0; leave one out"),
        (["007", "7"], "'007' and '7' are the same class, 7"),
        (["٣"], "'٣' is no class"),
    ],
)
def test_a_prompt_that_names_no_one_class_is_refused_on_submission(tmp_path, folder, prompts, said):
    with pytest.raises(ConfigError) as caught:
        campaign(tmp_path, folder, prompts)
    assert said in str(caught.value)


def test_guidance_without_diffusers_class_for_none_is_refused(tmp_path):
    few = save_dit(tmp_path / "few", classes=10)
    with pytest.raises(ConfigError, match=r"has 10 classes.*guidance_scale to 1"):
        campaign(tmp_path, few, ["1"])
    _, prompts, _ = campaign(tmp_path, few, ["1"], guidance_scale=1.0)
    assert prompts == ["1"]


@pytest.mark.parametrize("size", [{"width": 64}, {"height": 16}, {"width": 64, "height": 64}])
def test_another_size_than_the_models_is_refused_on_submission(tmp_path, folder, size):
    with pytest.raises(ConfigError, match=r"have one size; set .*width and .*height to 32\.$"):
        campaign(tmp_path, folder, ["1"], **size)


def test_numbers_of_classes_are_not_taken_for_ids(tmp_path, folder):
    rows = RowCounts()
    campaign(tmp_path, folder, ["1", "2"], rows)
    assert rows.remarks == []


def test_names_that_are_no_text_or_of_no_number_are_left_out():
    classes = Classes.of({"id2label": {"0": 5, "x": "y", "1": "fish"}}, 2)
    assert classes.number_of("fish") == 1
    with pytest.raises(ConfigError, match="'y' is no class"):
        classes.number_of("y")
    with pytest.raises(ConfigError, match="write a number from 0 to 1\\."):
        Classes.of({}, 2).number_of("fish")
