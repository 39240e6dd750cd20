"""What a campaign file names of a model's parts, and what plan and report say of them."""

import json

import pytest

from seedsweep.audit.evidence.verify_bundle import _without_places
from seedsweep.scheduler.campaign.descriptions import part_facts, part_words
from seedsweep.scheduler.campaign.file import parse_campaign, read_campaign
from seedsweep.scheduler.campaign.submission import plan_campaign
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.record import digest
from seedsweep.storage.settings.campaign import FORMAT, Campaign
from seedsweep.workers.pipelines.prompt_tokens import read_as
from tests.support.model_folders import put, safetensors, save_folder

FILE = """
name = "forms"
[model]
path = "model"
[[model.adapters]]
path = "lora"
weight = 0.8
trigger = "sks"
[[model.adapters]]
path = "lora/b.safetensors"
[[model.embeddings]]
path = "word.safetensors"
token = "<cat>"
[[model.components]]
name = "vae"
path = "vae"
[prompts]
file = "prompts.txt"
[sampling]
seeds = 10
width = 512
"""


@pytest.fixture
def folder(tmp_path):
    """A campaign file whose model has parts of every kind, each of a few bytes."""
    save_folder(tmp_path / "model")
    save_folder(tmp_path / "other")
    (tmp_path / "other" / "vae").rename(tmp_path / "vae")
    pair = {f"unet.to_q.lora_{end}.weight": [2, 2] for end in ("A", "B")}
    put(tmp_path, "lora/pytorch_lora_weights.safetensors", safetensors(**pair))
    put(tmp_path, "lora/b.safetensors", safetensors(**pair))
    put(tmp_path, "word.safetensors", safetensors(**{"emb": [2, 16]}))
    put(tmp_path, "prompts.txt", "a <cat>\nsks and a dog\n")
    put(tmp_path, "c.toml", FILE)
    return tmp_path


def read(folder):
    return read_campaign(folder / "c.toml")


def test_every_part_of_a_model_is_found_and_fingerprinted(folder):
    model = read(folder)[0].model
    parts = (*model.adapters, *model.embeddings, *model.components)
    assert [part.path for part in parts] == [
        str(folder / name)
        for name in (
            "lora/pytorch_lora_weights.safetensors",
            "lora/b.safetensors",
            "word.safetensors",
            "vae",
        )
    ]
    assert all(part.fingerprint.startswith("sha256:") for part in parts)
    before = model.model_id
    put(folder, "vae/config.json", json.dumps({"block_out_channels": [1, 2]}))
    assert read(folder)[0].model.model_id != before


def test_a_report_names_every_part(folder):
    facts = {fact.label: (fact.value, fact.note) for fact in part_facts(read(folder)[0].model)}
    assert facts.keys() == {"Adapter 1", "Adapter 2", "Embedding 1", "Its vae"}
    assert facts["Adapter 1"][0].endswith("lora/pytorch_lora_weights.safetensors")
    assert facts["Adapter 1"][1].startswith("weight 0.8; 'sks' before each prompt that lacks it;")
    assert facts["Embedding 1"][1].startswith("<cat>; sha256:")


def test_a_plan_names_every_part_and_how_an_adapter_acts(folder):
    words = part_words(read(folder)[0].model)
    acts = "pytorch_lora_weights.safetensors (weight 0.8; 'sks' before each prompt that lacks it)"
    assert words[0].startswith("adapter 1: ")
    assert words[0].endswith(acts)
    assert not [word for word in words if "sha256" in word]


def test_a_plan_says_how_many_prompts_are_given_with_a_trigger(folder, tmp_path):
    plan = plan_campaign(FolderStore(tmp_path / "store"), *read(folder))
    assert plan.notes == (
        "The model is given the trigger 'sks' before 1 prompt without it, with a space between.",
    )


def test_the_tokenizers_read_what_the_model_is_given(folder):
    campaign, prompts, _ = read(folder)
    assert read_as(campaign.model, prompts) == ["sks a <cat> <cat>_1", "sks and a dog"]


def test_the_checker_of_evidence_finds_the_id_of_the_images_by_itself(folder):
    campaign = read(folder)[0]
    stored = json.loads(campaign.model_dump_json())
    assert Campaign.model_validate(stored) == campaign
    sampling = {k: v for k, v in stored["sampling"].items() if k not in ("seeds", "first_seed")}
    model = _without_places(stored["model"])
    recipe = {"format": FORMAT, "model": model, "sampling": sampling}
    assert digest(recipe) == campaign.generation_id


def test_an_embedding_whose_token_stands_nowhere_is_refused(folder):
    put(folder, "prompts.txt", "a dog\n")
    with pytest.raises(ConfigError, match="No prompt has the token '<cat>'"):
        read(folder)
    put(folder, "c.toml", f'{FILE}negative_prompt = "<cat>"\n')
    assert read(folder)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("weigth = 1.0", "model.adapters.0.weigth is not a known key; did you mean weight?"),
        ('fingerprint = "x"', "model.adapters.fingerprint is filled in on submission"),
        ("weight = 1000.0", "model.adapters.0.weight = 1000.0"),
        ('file = "../x.safetensors"', "model.adapters.0.file = '../x.safetensors'"),
    ],
)
def test_a_wrong_key_of_a_part_is_named(tmp_path, key, said):
    raw = {"name": "a", "prompts": {"file": "p"}, "model": {"adapters": [{"path": "a"}]}}
    name, _, value = key.partition(" = ")
    raw["model"]["adapters"][0][name] = json.loads(value)
    with pytest.raises(ConfigError, match=f"(?s).*{said.split(' ')[0]}") as caught:
        parse_campaign(raw, tmp_path / "c.toml")
    assert said in str(caught.value)


def test_parts_are_for_diffusers_alone(folder):
    put(folder, "c.toml", FILE.replace('path = "model"', 'pipeline = "noise"'))
    with pytest.raises(ConfigError, match=r"model.adapters is for a diffusers model"):
        read(folder)
