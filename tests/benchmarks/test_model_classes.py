"""The page of model classes names all of them, and a fast part of its tables is made again."""

import os
import re
import subprocess
import sys

import pytest
import torch

from benchmarks.model_classes import (
    PAGE,
    classes_of_seeds,
    page,
    text_to_image_classes,
    try_class,
    try_seeds,
)
from seedsweep.workers.pipelines.diffusers_class import class_of
from seedsweep.workers.pipelines.negative_prompt import why_class_takes_none
from tests.support.classes.registry import NOT_MADE, TINY

FAST = [
    "ChromaPipeline",
    "CogView3PlusPipeline",
    "HunyuanImagePipeline",
    "KandinskyV22CombinedPipeline",
    "KolorsPipeline",
    "LatentConsistencyModelPipeline",
    "Lumina2Pipeline",
    "QwenImagePipeline",
    "StableDiffusionPipeline",
]

# Two of them are given what is deprecated, by their own pipelines.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def rows():
    """By class, its row of the page."""
    lines = PAGE.read_text().splitlines()
    return {
        match[1]: line for line in lines if (match := re.match(r"\| (\w*Pipeline\w*) \|", line))
    }


def test_the_page_names_every_class_that_diffusers_has_for_pictures_of_prompts_or_seeds():
    assert sorted(rows()) == sorted([*text_to_image_classes(), *classes_of_seeds()])


def test_each_class_that_is_made_and_each_that_is_not_is_one_of_diffusers():
    assert {*TINY, *NOT_MADE} <= set(text_to_image_classes())
    assert not set(TINY) & set(NOT_MADE)


@pytest.mark.parametrize("name", FAST)
def test_the_page_says_of_a_class_what_is_found_again(name, tmp_path):
    assert rows()[name] in page([try_class(name, tmp_path)], []).splitlines()


@pytest.mark.parametrize("name", ["DDPMPipeline", "ScoreSdeVePipeline", "DanceDiffusionPipeline"])
def test_the_page_says_of_a_class_without_prompts_what_is_found_again(name, tmp_path):
    assert rows()[name] in page([], [try_seeds(name, tmp_path)]).splitlines()


def test_a_negative_prompt_is_refused_on_submission_for_all_classes_whose_workers_refuse_it():
    works = {name: row.split(" | ")[2] for name, row in rows().items() if row.count("|") == 5}
    assert {*works.values()} == {"yes", "no", "fails"}
    refused = {name for name in works if why_class_takes_none(class_of(name))}
    assert refused == {name for name in works if works[name] != "yes"}


def test_a_class_that_takes_one_generator_for_a_batch_is_refused_with_its_reason(tmp_path):
    trial = try_class("AmusedPipeline", tmp_path)
    assert "takes one generator for a whole batch" in trial.refused


def test_a_class_whose_processor_needs_torchvision_is_marked_so():
    assert {name for name, row in rows().items() if "needs torchvision" in row} == {
        name for name, tiny in TINY.items() if tiny.needs == "torchvision"
    }


@pytest.fixture
def torchvision(tmp_path):
    """A folder with the torchvision of this torch.

    That of PyPI is built for CUDA. Beside a torch without it, operators are missing that no
    processor calls, and all others work once these are declared.
    """
    minor = int(torch.__version__.split(".")[1]) + 15
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    subprocess.run([*pip, f"torchvision==0.{minor}.0"], check=True)
    if torch.version.cuda is None:
        (tmp_path / "sitecustomize.py").write_text(
            "import torch\n"
            "library = torch.library.Library('torchvision', 'DEF')\n"
            "for name in ('nms', 'qnms'):\n"
            "    library.define(name + '(Tensor a, Tensor b, float c) -> Tensor')\n"
        )
    return tmp_path


@pytest.mark.nightly
def test_the_page_is_what_the_command_writes_today(torchvision, tmp_path):
    command = [sys.executable, "-m", "benchmarks.model_classes", "--write", tmp_path / "page.md"]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(torchvision)})
    assert (tmp_path / "page.md").read_text() == PAGE.read_text()
