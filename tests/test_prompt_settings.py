"""Prompts with settings of their own, from a list with published seeds to evidence of it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.findings.comparison import compare_campaigns
from seedsweep.audit.findings.verification import SearchOptions, verify_campaign
from seedsweep.audit.replay.replay import ReplayOptions, replay_one, replay_some
from seedsweep.audit.report.report import write_report
from seedsweep.scheduler.campaign.current import parked_now
from seedsweep.scheduler.campaign.integrity import check_campaign
from seedsweep.scheduler.campaign.progress import failures
from seedsweep.scheduler.costs.reckoning import reckon, usual_sizes
from seedsweep.scheduler.costs.stock import take_stock
from seedsweep.storage.campaigns import drop_parked, load_campaign, store_parked
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.records import Parked, WorkUnit
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import read_results
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.generation import loaded_models
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.generation.throughput import measure
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import campaign_text, make_images, nothing_done, submit_file
from tests.support.commands import seedsweep_here
from tests.support.pictures import pixels_of
from tests.support.tiny_model import save_tiny_model

LIST = """prompt;sd_seed;sd_guidance_scale;sd_width;sd_height;n_prompt;steps
a cat;7;7.5;16;24;;2
a dog;900;2;16;16;ugly, blurry;3
an owl;0;7.5;16;16;;2
"""
COLUMNS = {
    "first_seed": "sd_seed",
    "guidance_scale": "sd_guidance_scale",
    "width": "sd_width",
    "height": "sd_height",
    "negative_prompt": "n_prompt",
    "steps": "steps",
}
SAMPLING = {"seeds": 4, "batch_size": 2, "images_per_unit": 2}
# So large a threshold that all pictures of a prompt are one.
ANALYSIS = {"min_clique_size": 2, "edge_threshold": 1.0}


def nothing(*_):
    """No progress is shown."""


class Desk:
    """A campaign of a tiny model over a list with published settings, made and analysed."""

    def __init__(self, folder):
        self.folder, self.store = folder, FolderStore(folder / "seedsweep-data")
        save_tiny_model(folder / "model")
        (folder / "list.csv").write_text(LIST)
        self.file = self.write("own", LIST, COLUMNS)
        self.plan = submit_file(self.store, self.file)
        self.id = self.plan.campaign.campaign_id
        make_images(self.store, self.plan)
        self.analyse(self.plan)

    def write(self, name, text, columns, **sampling):
        (self.folder / f"{name}.csv").write_text(text)
        prompts = {"file": f"{name}.csv", "column": "prompt", "delimiter": ";"}
        tables = {"model": {"path": "model"}, "prompts": prompts, "analysis": ANALYSIS}
        text = campaign_text(name, **tables, sampling=SAMPLING | sampling)
        named = [f'{key} = "{column}"' for key, column in columns.items()]
        file = self.folder / f"{name}.toml"
        file.write_text("\n".join([text, *(["[prompts.settings]", *named] if named else [])]))
        return file

    def analyse(self, plan):
        actor, campaign = AnalysisActor(self.store.url), plan.campaign
        results = [
            actor.analyse(
                AnalysisRequest(
                    campaign.campaign_id, text, campaign.settings, own=plan.settings_of(place)
                )
            ).value
            for place, text in enumerate(plan.prompts)
        ]
        store_results(self.store, campaign.analysis_id, campaign.campaign_id, results)

    def images(self, index, plan=None):
        key = unit_shard((plan or self.plan).unit(index))
        return decode_shard(self.store.read(key), key)

    def run(self, *arguments):
        ended = seedsweep_here(
            *arguments, "--store", self.store.url, folder=self.folder, environment=os.environ
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


def test_every_picture_is_the_one_that_diffusers_makes_with_the_published_settings(desk):
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(desk.folder / "model")
    pipeline.set_progress_bar_config(disable=True)
    for index, row in zip((0, 2, 4), csv.DictReader(LIST.splitlines(), delimiter=";"), strict=True):
        first = desk.images(index)[0]
        made = pipeline(
            [row["prompt"]] * 2,
            negative_prompt=[row["n_prompt"]] * 2,
            width=int(row["sd_width"]),
            height=int(row["sd_height"]),
            guidance_scale=float(row["sd_guidance_scale"]),
            num_inference_steps=int(row["steps"]),
            generator=[torch.Generator().manual_seed(int(row["sd_seed"]) + i) for i in range(2)],
            output_type="np",
        ).images[0]
        assert first.seed == int(row["sd_seed"])
        assert np.array_equal(pixels_of(first.png), np.rint(made * 255).astype(np.uint8))


def test_results_say_what_each_prompt_was_made_with(desk):
    results = {
        r.prompt: r for r in read_results(desk.store, desk.plan.campaign.analysis_id, desk.id)
    }
    assert [results[text].settings for text in desk.plan.prompts] == [*desk.plan.settings]
    assert results["a dog"].clique_seeds == (900, 901, 902, 903)
    told = {r["prompt"]: r["settings"] for r in json.loads(desk.run("results", desk.id, "--json"))}
    assert told["a dog"] == {
        **{"first_seed": 900, "steps": 3, "guidance_scale": 2.0, "negative_prompt": "ugly, blurry"},
        **{"width": 16, "height": 16},
    }
    desk.run("results", desk.id, "--csv", "results.csv")
    with (desk.folder / "results.csv").open(newline="") as file:
        rows = {row["prompt"]: row["settings"] for row in csv.DictReader(file)}
    assert rows["an owl"] == (
        "first seed 0, steps 2, guidance scale 7.5, negative prompt '', width 16, height 16"
    )


def test_results_of_other_settings_than_the_prompts_are_corrupt(desk):
    analysis_id, campaign_id = "f" * 16, desk.id
    results = read_results(desk.store, desk.plan.campaign.analysis_id, campaign_id)
    for wrong in (None, desk.plan.settings[0].model_copy(update={"steps": 99})):
        row = results[0].model_copy(update={"settings": wrong})
        key = store_results(desk.store, analysis_id, campaign_id, [row])
        with pytest.raises(ShardCorruptError):
            read_results(desk.store, analysis_id, campaign_id)
        desk.store.delete(key)


def test_a_check_reads_every_picture_by_its_prompts_size(desk):
    checkup = check_campaign(desk.store, desk.id, None, nothing)
    assert (checkup.stored, checkup.images, checkup.corrupt) == (6, 12, ())
    assert failures(desk.store, desk.plan) == []


def test_pictures_are_made_again_with_their_prompts_settings(desk):
    everything = replay_some(desk.store, desk.id, 100, 1, ReplayOptions(), nothing)
    assert (everything.equal, len(everything.replays)) == (12, 12)
    one = replay_one(desk.store, desk.id, "a dog", 903, ReplayOptions(), nothing)
    [replay] = one.replays
    recipe = json.loads(replay.here.recipe)
    assert (recipe["guidance_scale"], recipe["steps"], recipe["width"]) == (2.0, 3, 16)
    with pytest.raises(ConfigError, match="no seed 7 of that prompt; give one of 900 to 903"):
        replay_one(desk.store, desk.id, "a dog", 7, ReplayOptions(), nothing)


def test_the_report_says_what_was_made_with_what(desk):
    campaign = desk.plan.campaign
    page = write_report(
        desk.store, desk.id, campaign.analysis_id, desk.folder / "report", nothing
    ).read_text()
    assert "first seed 900, steps 3, guidance scale 2, negative prompt &#39;ugly, blu" in page
    assert "each prompt has its own" in page
    assert "column sd_guidance_scale" in page
    assert "cannot be" not in page
    assert page.count("data:image/png") > 12


def test_a_bundle_is_checked_by_what_each_prompt_was_made_with(desk, tmp_path):
    bundle = tmp_path / "bundle"
    write_evidence(desk.store, desk.id, bundle, BundleOptions(), nothing)
    verify = [sys.executable, str(bundle / "verify_bundle.py"), str(bundle), "--distances"]
    checked = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    told = json.loads((bundle / "settings.json").read_text())
    assert told == [own.given for own in desk.plan.settings]


def test_what_prompts_were_made_with_cannot_be_altered_in_a_bundle(desk, tmp_path):
    from seedsweep.audit.evidence import verify_bundle

    bundle = tmp_path / "bundle"
    write_evidence(desk.store, desk.id, bundle, BundleOptions(), nothing)

    def faults():
        manifest = json.loads((bundle / "manifest.json").read_text())
        return [*verify_bundle._check_contents(bundle, manifest, False)]

    assert faults() == []
    for name in ("settings.json", "results.json"):
        kept = (bundle / name).read_text()
        (bundle / name).write_text(kept.replace("2.0", "3.0"))
        assert any("settings" in fault for fault in faults())
        (bundle / name).write_text(kept)


def test_arms_whose_prompts_have_other_settings_say_so(desk):
    other = submit_file(desk.store, desk.write("other", LIST.replace("900;2;", "900;4;"), COLUMNS))
    make_images(desk.store, other)
    desk.analyse(other)
    found = compare_campaigns(desk.store, desk.id, other.campaign.campaign_id)
    assert found.prompts == 3
    assert (
        "Prompts have settings of their own: 2 of 3 have one recipe in both, so their images are "
        "the same."
    ) in found.notes
    assert "Prompt list" in {contrast.label for contrast in found.contrasts}


def test_training_pictures_are_not_compared_with_prompts_of_several_sizes(desk):
    with pytest.raises(ConfigError, match="have sizes of their own, and training pictures are"):
        verify_campaign(desk.store, desk.id, SearchOptions(Path("x")), Actors(1), nothing)


def test_an_estimate_measures_units_with_their_prompts_settings(desk, tmp_path):
    elsewhere = FolderStore(tmp_path / "store")
    plan = submit_file(elsewhere, desk.file)
    stock = take_stock(elsewhere, plan)
    missing = stock.missing(8)
    assert [unit.settings for unit in missing] == [*plan.settings]
    rate, sizes = measure(elsewhere, plan.campaign, missing, "cpu", nothing)
    estimate = reckon(stock, rate, sizes)
    assert estimate.images == 12
    assert usual_sizes(plan.campaign.sampling).shard_image > 0
    assert take_stock(desk.store, desk.plan).images_done == 12


def test_plan_and_submit_say_which_settings_are_each_prompts_own(desk):
    planned = desk.run("plan", "own.toml", "--images-per-second", "1")
    assert "Each prompt has its own guidance scale, from the column" in " ".join(planned.split())


def test_a_worker_makes_units_of_several_recipes_with_one_loaded_model(
    desk, tmp_path, ledger, workforce, monkeypatch
):
    elsewhere, loads = FolderStore(tmp_path / "store"), []
    plan = submit_file(elsewhere, desk.file)
    ledger.restore(desk.id, nothing_done(3, 2))

    def load(*arguments):
        loads.append(arguments)
        return load_pipeline(*arguments)

    monkeypatch.setattr(loaded_models, "load_pipeline", load)
    renderer = Renderer(elsewhere, ledger, workforce, "worker-under-test")
    token, indexes = ledger.issue(desk.id, 6)
    for index in indexes:
        renderer.render(WorkUnit.model_validate_json(plan.unit(index, token).model_dump_json()))
    renderer.close()
    assert (len(loads), ledger.counts(desk.id).done) == (1, 6)
    for index in range(6):
        key = unit_shard(plan.unit(index))
        made = [image.sha256 for image in decode_shard(elsewhere.read(key), key)]
        assert made == [image.sha256 for image in desk.images(index)]


def test_a_unit_that_was_given_up_and_is_made_after_all_is_found_under_its_prompts_recipe(desk):
    submission = load_campaign(desk.store, desk.id)
    unit = desk.plan.unit(2)
    parked = Parked(index=2, prompt_id=unit.prompt_id, seeds=unit.seeds, reason="too long")
    store_parked(desk.store, desk.id, parked)
    assert parked_now(desk.store, submission) == []
    drop_parked(desk.store, desk.id, 2)
