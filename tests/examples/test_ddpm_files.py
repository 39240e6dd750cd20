"""The files of the models without prompts are what their scripts say."""

import csv
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline
from safetensors.torch import load_file

from examples.ddpm import pictures as planted
from examples.ddpm import train
from examples.emoji.picture_files import read_pictures
from seedsweep.scheduler.campaign.file import read_campaign
from tests.support.checkout import ROOT

DDPM = ROOT / "examples" / "ddpm"
CAMPAIGNS = {"emoji-ddpm": "model", "emoji-ddpm-deduplicated": "deduplicated"}
"""What each campaign is called, and its model."""


@pytest.fixture(scope="module")
def pictures():
    return read_pictures(DDPM / "train.parquet")


@pytest.fixture(scope="module")
def truth():
    with (DDPM / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def repeats():
    return pq.read_table(DDPM / "repeats.parquet").to_pylist()


def test_so_many_pictures_as_planned_have_so_many_copies(pictures):
    assert Counter(p.copies for p in pictures) == planted.PICTURES_BY_COPIES
    rows = pq.read_table(DDPM / "train.parquet", columns=["original"])["original"].to_pylist()
    assert Counter(rows) == {p.original: p.copies for p in pictures}


def test_no_two_pictures_are_of_one_emoji_and_all_have_one_size(pictures):
    assert len({p.caption for p in pictures}) == len(pictures)
    assert {p.pixels.shape for p in pictures} == {(planted.SIZE, planted.SIZE, 3)}


def of_its_own(scheduler):
    """Its settings, without what diffusers notes beside them."""
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", CAMPAIGNS.values())
def test_the_weights_are_those_of_the_network_that_is_trained_in_half_precision(name):
    saved = load_file(DDPM / name / "unet" / "diffusion_pytorch_model.safetensors")
    wanted = train.new_unet().state_dict()
    shapes = {key: (torch.float16, tensor.shape) for key, tensor in wanted.items()}
    assert {key: (tensor.dtype, tensor.shape) for key, tensor in saved.items()} == shapes
    pipeline = DDPMPipeline.from_pretrained(DDPM / name)
    assert of_its_own(pipeline.scheduler) == of_its_own(train.new_scheduler())


def test_both_models_together_stay_below_four_megabytes():
    files = [file for name in CAMPAIGNS.values() for file in (DDPM / name).rglob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) < 4e6


def test_a_seed_that_truth_names_repeats_its_picture_in_diffusers_own_call(pictures, repeats):
    own = [row for row in repeats if row["campaign"] == "emoji-ddpm"]
    best = min(own, key=lambda row: row["l2"])
    pipeline = DDIMPipeline.from_pretrained(DDPM / "model")
    pipeline.set_progress_bar_config(disable=True)
    campaign = read_campaign(DDPM / "campaign.toml").campaign
    made = pipeline(
        generator=torch.Generator().manual_seed(best["seed"]),
        num_inference_steps=campaign.sampling.steps,
        output_type="np",
    ).images[0]
    difference = made - pictures[best["original"]].pixels / 255
    assert np.sqrt(np.mean(difference**2)) == pytest.approx(best["l2"], abs=0.005)


def test_truth_counts_the_generations_that_repeat_each_picture(pictures, truth, repeats):
    assert [(int(row["original"]), row["caption"], int(row["copies"])) for row in truth] == [
        (p.original, p.caption, p.copies) for p in pictures
    ]
    counted = Counter((row["campaign"], row["original"]) for row in repeats)
    for name in CAMPAIGNS:
        assert [int(row[name]) for row in truth] == [counted[name, p.original] for p in pictures]


def test_the_campaigns_differ_only_in_model_and_name():
    found = []
    for name, file in zip(CAMPAIGNS, ("campaign.toml", "deduplicated.toml"), strict=True):
        resolved = read_campaign(DDPM / file)
        assert resolved.prompts == [""]
        assert resolved.campaign.name == name
        assert resolved.campaign.model.path == str(DDPM / CAMPAIGNS[name])
        model = resolved.campaign.model.model_copy(update={"path": "", "fingerprint": ""})
        found.append(resolved.campaign.model_copy(update={"name": "", "model": model}))
    assert found[0] == found[1]


def test_a_training_that_was_cut_ends_with_the_same_weights(tmp_path, monkeypatch):
    class CutError(Exception):
        pass

    def learned(name, cut_after=None):
        with monkeypatch.context() as patched:
            if cut_after:
                learn = train.Training.learn

                def cut(self, loss):
                    if self.step == cut_after:
                        raise CutError
                    learn(self, loss)

                patched.setattr(train.Training, "learn", cut)
                patched.setattr("examples.emoji.training.CHECKPOINT_SECONDS", 0)
            train.main(output=tmp_path / name, work=tmp_path, steps=3, batch=2)
        return load_file(tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors")

    with pytest.raises(CutError):
        learned("cut", cut_after=2)
    again, whole = learned("cut"), learned("whole")
    assert all(torch.equal(again[key], whole[key]) for key in whole)
