"""Campaigns without prompts, from their files to their plans."""

import pytest

from seedsweep.scheduler.campaign.draft import Ingredients, draft
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import load_prompts
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from tests.support.seed_pipelines import SIDE, lay_flat, save_ddpm
from tests.support.tiny_model import save_tiny_model
from tests.support.tiny_pipelines import save_dit

USUAL = {"seeds": 20, "steps": 2, "width": SIDE, "height": SIDE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_ddpm(tmp_path_factory.mktemp("ddpm"))


def write(place, model, tables="", **sampling):
    lines = [f"{name} = {value}" for name, value in {**USUAL, **sampling}.items()]
    file = place / "campaign.toml"
    file.write_text(
        f'name = "c"\n[model]\n{model}\n[sampling]\n' + "\n".join(lines) + f"\n{tables}\n"
    )
    return file


def of(folder):
    return f'path = "{folder}"\ndtype = "float32"'


def test_its_one_prompt_is_the_empty_text_and_its_units_are_runs_of_seeds(tmp_path, folder):
    resolved = read_campaign(write(tmp_path, of(folder), images_per_unit=8))
    assert resolved.prompts == [""]
    assert resolved.campaign.is_unconditional
    assert resolved.campaign.sampling.guidance_scale == 1.0
    store = FolderStore(tmp_path / "store")
    plan = load_plan(store, submit_campaign(store, plan_campaign(store, *resolved)))
    assert [len(plan.unit(i).seeds) for i in range(len(plan))] == [8, 8, 4]
    assert list(load_prompts(store, plan.campaign.campaign_id)) == [""]


def test_a_pipeline_that_may_need_prompts_gets_none_and_that_is_said(tmp_path, folder):
    resolved = read_campaign(write(tmp_path, 'pipeline = "noise"'))
    assert resolved.prompts == [""]
    assert resolved.campaign.prompts is None
    store = FolderStore(tmp_path / "store")
    (note,) = plan_campaign(store, *resolved).notes
    assert note.startswith("There is no [prompts], so the pipeline is given the empty prompt")
    assert plan_campaign(store, *read_campaign(write(tmp_path, of(folder)))).notes == ()


@pytest.mark.parametrize(
    ("tables", "sampling", "said"),
    [
        ('[prompts]\nfile = "p.txt"', {}, r"a DDPMPipeline, which makes .* leave \[prompts\] out"),
        ("", {"guidance_scale": 3.0}, "nothing guides; leave sampling.guidance_scale"),
        ("", {"negative_prompt": '"grey"'}, "nothing guides"),
        (
            "",
            {"width": 32},
            f"one size; set sampling.width to {SIDE} and sampling.height to {SIDE}",
        ),
        ("", {"height": 8}, "one size"),
        ("[[stages]]\nseeds = 4", {}, "there are none; leave"),
        ("[analysis]\npartial = true", {}, "parts are looked for"),
    ],
)
def test_what_is_for_prompts_is_refused_on_submission(tmp_path, folder, tables, sampling, said):
    (tmp_path / "p.txt").write_text("a cat")
    with pytest.raises(ConfigError, match=said):
        read_campaign(write(tmp_path, of(folder), tables, **sampling))


def test_pictures_that_are_not_kept_are_refused(tmp_path, folder):
    file = write(tmp_path, of(folder))
    file.write_text('keep = "flagged"\n' + file.read_text())
    with pytest.raises(ConfigError, match="is for prompts; leave it out"):
        read_campaign(file)


def test_a_model_of_prompts_or_classes_is_refused_without_them(tmp_path):
    tiny_model = tmp_path / "sd"
    save_tiny_model(tiny_model)
    with pytest.raises(ConfigError, match=r"makes pictures of prompts; name a file of them"):
        read_campaign(write(tmp_path, of(tiny_model)))
    with pytest.raises(ConfigError, match=r"makes pictures of classes; name a file of them"):
        read_campaign(write(tmp_path, of(save_dit(tmp_path / "dit")), width=32, height=32))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"num_class_embeds": 3}, "is given a class"), ({"channels": 4}, "pictures of 4 channels")],
)
def test_a_network_that_no_campaign_can_use_is_refused(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        read_campaign(write(tmp_path, of(save_ddpm(tmp_path / "m", **settings))))


def test_a_model_whose_files_lie_beside_the_index_is_another_one_once_they_change(tmp_path):
    flat = lay_flat(save_ddpm(tmp_path / "m"))
    before = read_campaign(write(tmp_path, of(flat))).campaign.model.fingerprint
    (flat / "notes.md").write_text("nothing")
    assert read_campaign(write(tmp_path, of(flat))).campaign.model.fingerprint == before
    weights = flat / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert read_campaign(write(tmp_path, of(flat))).campaign.model.fingerprint != before


def test_a_draft_for_such_a_model_has_its_size_and_no_prompts(tmp_path, folder):
    file = tmp_path / "campaign.toml"
    file.write_text(draft(Ingredients(str(folder)), file))
    assert "prompts" not in file.read_text()
    campaign = read_campaign(file).campaign
    assert (campaign.sampling.width, campaign.sampling.height) == (SIDE, SIDE)
    assert campaign.sampling.seeds == 10_000
    with pytest.raises(ConfigError, match="leave --prompts out"):
        draft(Ingredients(str(folder), prompts=tmp_path / "p.txt"), file)
