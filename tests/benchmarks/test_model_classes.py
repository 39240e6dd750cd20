"""The page of model classes names all of them, and a fast part of its tables is made again."""

import re

import pytest

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
    said = {name: row.split(" | ")[-1] for name, row in rows().items() if row.count("|") == 4}
    works = {name: cell.rstrip(" |") for name, cell in said.items()}
    assert {*works.values()} == {"yes", "no", "fails"}
    refused = {name for name in works if why_class_takes_none(class_of(name))}
    assert refused == {name for name in works if works[name] != "yes"}


def test_a_class_that_takes_one_generator_for_a_batch_is_refused_with_its_reason(tmp_path):
    trial = try_class("AmusedPipeline", tmp_path)
    assert "takes one generator for a whole batch" in trial.refused


@pytest.mark.nightly
def test_the_page_is_what_the_command_writes_today(tmp_path_factory):
    trials = [try_class(name, tmp_path_factory.mktemp("m")) for name in text_to_image_classes()]
    of_seeds = [try_seeds(name, tmp_path_factory.mktemp("m")) for name in classes_of_seeds()]
    assert page(trials, of_seeds) == PAGE.read_text()
