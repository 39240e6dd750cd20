import hashlib

import pytest
from pydantic import ValidationError

from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Control, Prompt, Provenance, Submission, WorkUnit
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, Sampling

CAMPAIGN = Campaign(name="audit", model=Model(path="m"), prompts=PromptList(file="p.txt"))
MADE = {
    "batch_size": 4,
    "threads": 1,
    "device": "cpu",
    "dtype": "float32",
    "versions": "v",
    "recipe": "{}",
}


def test_a_prompt_is_named_by_its_text_in_utf_8():
    assert Prompt(text="é").prompt_id == hashlib.sha256("é".encode()).hexdigest()[:16]
    assert Prompt(text="a").prompt_id != Prompt(text="A").prompt_id


def test_a_unit_is_sent_as_json_and_comes_back_equal():
    unit = WorkUnit(
        campaign_id="c",
        generation_id="g",
        index=3,
        token="t",  # noqa: S106
        prompt='"Zoë" <b>\n',
        seeds=SeedRange(first=0, last=49),
    )
    assert WorkUnit.model_validate_json(unit.model_dump_json()) == unit
    assert unit.prompt_id == Prompt(text=unit.prompt).prompt_id


@pytest.mark.parametrize(
    ("recipe", "unused"),
    [
        ('{"guidance_scale":null,"sampler":null,"steps":2}', ("guidance_scale",)),
        ('{"guidance_scale":7.5}', ()),
        ("a plug-in's own words", ()),
        ("[null]", ()),
    ],
)
def test_a_provenance_names_the_settings_that_the_model_does_not_use(recipe, unused):
    assert Provenance(**MADE | {"recipe": recipe}).unused == unused


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (Control, {"state": "asleep"}),
        (Control, {"state": "paused", "since": "today"}),
        (Provenance, MADE | {"batch_size": 0}),
        (Provenance, MADE | {"recipe": None}),
        (Sampling, {"guidance_scale": float("nan")}),
        (Submission, {"campaign": CAMPAIGN, "cuts": (), "versions": ""}),
    ],
)
def test_reading_a_record_refuses_unknown_missing_and_impossible_fields(record, values):
    with pytest.raises(ValidationError):
        record(**values)
