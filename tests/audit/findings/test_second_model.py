"""A second model, which never saw the training pictures, is asked for what is extracted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.findings.comparison import compare_campaigns
from seedsweep.audit.findings.present import gather_found
from seedsweep.audit.findings.saved import keep, load_comparisons
from seedsweep.audit.report.comparison_page import render_comparison
from seedsweep.audit.report.report import write_report
from seedsweep.cli import main as command_line
from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.keys import unit_shard
from tests.support.campaigns import small_sampling
from tests.support.part_campaign import (
    CAMERA,
    SEEDS,
    SIDE,
    TABLES,
    PartCampaign,
    on_other_backgrounds,
    part_search,
    submit_pictures,
)
from tests.support.templates import noise

OTHER = TABLES | {
    "sampling": small_sampling(SEEDS, SIDE, images_per_unit=SEEDS) | {"negative_prompt": "none"}
}


def second(made, name, showing):
    """A campaign of the same prompts, whose pictures show nothing; `showing` of them the camera."""
    rng = np.random.default_rng(7)
    pictures = {prompt: noise(rng, SEEDS, SIDE) for prompt in made.pictures}
    camera = made.pictures[CAMERA][0]
    pictures[CAMERA][1 : 1 + showing] = on_other_backgrounds(rng, camera, showing)
    plan, _, _ = submit_pictures(made.folder, made.store, name, pictures, OTHER)
    return plan


@pytest.fixture
def made(tmp_path):
    campaign = PartCampaign(tmp_path)
    part_search(campaign)
    return campaign


def test_what_it_shows_is_common_and_not_extracted(made):
    plan, steps = second(made, "naive", 1), []
    found = compare_campaigns(
        made.store, made.id, plan.campaign.campaign_id, True, lambda *step: steps.append(step)
    ).second_model
    assert steps == [(0, 1), (1, 1)]
    [common] = found.common
    assert (common.prompt, common.shown, common.pictures) == (CAMERA, 1, SEEDS)
    assert (found.parts, found.extracted.count, found.extracted.n, found.unread) == (1, 0, 4, ())


def test_what_it_does_not_show_stays_extracted(made):
    plan = second(made, "naive", 0)
    found = compare_campaigns(made.store, made.id, plan.campaign.campaign_id, True).second_model
    assert (found.common, found.parts, found.extracted.count) == ((), 1, 1)
    assert "common: 0 of 1 part extracted of A" in render_comparison(
        compare_campaigns(made.store, made.id, plan.campaign.campaign_id, True)
    )


def test_pictures_that_are_gone_extract_nothing(made):
    plan = second(made, "naive", 0)
    unit = next(u for u in map(plan.unit, range(len(plan))) if u.prompt == CAMERA)
    made.store.delete(unit_shard(unit))
    found = compare_campaigns(made.store, made.id, plan.campaign.campaign_id, True).second_model
    assert (found.parts, found.common, found.extracted.count) == (1, (), 0)
    assert found.unread[0].startswith(CAMERA)


def test_nobody_is_asked_unless_it_is_said_that_the_model_never_saw_them(made):
    plan = second(made, "naive", 1)
    assert compare_campaigns(made.store, made.id, plan.campaign.campaign_id).second_model is None


def test_parts_have_to_be_compared_with_training_pictures_first(tmp_path):
    made = PartCampaign(tmp_path)
    plan = second(made, "naive", 1)
    with pytest.raises(ConfigError, match=f"run `seedsweep verify {made.id}`"):
        compare_campaigns(made.store, made.id, plan.campaign.campaign_id, True)


def kinds(made):
    words = ["results", made.id, "--json", "--store", made.store.url]
    told = json.loads(CliRunner().invoke(command_line.app, words).stdout)
    [result] = [each for each in told if each["prompt"] == CAMERA]
    [memory] = result["memories"]
    return memory["kind"], result["extracted_partial"], memory["match"].get("second_model")


def test_results_report_and_evidence_know_of_it_until_the_model_is_asked_again(made):
    plan = second(made, "naive", 2)
    other = plan.campaign.campaign_id
    assert kinds(made) == ("partial", True, None)
    keep(made.store, compare_campaigns(made.store, made.id, other, True))
    assert kinds(made) == ("common", False, 2)
    settings = made.plan.campaign.settings
    found = gather_found(made.store, made.submission, settings)
    assert "A second model, which never saw the training pictures, shows 1" in " ".join(found.notes)
    analysis = made.plan.campaign.analysis_id
    page = write_report(made.store, made.id, analysis, made.folder / "report").read_text()
    assert "shows 1 of these, which makes them common" in page
    write_evidence(
        made.store, made.id, made.folder / "evidence", BundleOptions(), lambda done, total: None
    )
    assert list(check_bundle(made.folder / "evidence")) == []
    [search] = json.loads((made.folder / "evidence" / "verifications.json").read_bytes())
    assert {part["match"].get("second_model") for part in search["parts"]} == {None, 2}
    # The model is asked for what the search calls extracted, whatever it showed before.
    again = compare_campaigns(made.store, made.id, other, True)
    assert [part.shown for part in again.second_model.common] == [2]
    # What compares either way without asking takes nothing back.
    keep(made.store, compare_campaigns(made.store, made.id, other))
    keep(made.store, compare_campaigns(made.store, other, made.id))
    assert kinds(made) == ("common", False, 2)
    nothing = replace(again, second_model=replace(again.second_model, common=()))
    keep(made.store, nothing)
    assert kinds(made) == ("partial", True, None)


def test_what_is_stored_of_it_and_broken_is_named(made):
    plan = second(made, "naive", 2)
    keep(made.store, compare_campaigns(made.store, made.id, plan.campaign.campaign_id, True))
    [key] = made.store.list(keys.findings_prefix(made.id, "second-models"))
    data = made.store.read(key)
    settings = made.plan.campaign.settings
    strange = json.loads(data) | {"other_id": "strange-0123456789ab"}
    for broken in (data[:-2], b"[]", json.dumps(strange).encode()):
        made.store.replace(key, broken)
        assert key in gather_found(made.store, made.submission, settings).trouble
    page = write_report(made.store, made.id, settings.analysis_id, made.folder / "report")
    assert key in page.read_text()


def test_the_command_prints_and_keeps_it(made):
    plan = second(made, "naive", 2)
    ids = [made.id, plan.campaign.campaign_id]
    words = ["compare", *ids, "--unseen", "--store", made.store.url]
    told = " ".join(CliRunner().invoke(command_line.app, words).stdout.split())
    assert "so what it shows is common: 1 of 1 part extracted of A." in told
    assert f"Common: {CAMERA} (shown in 2 of 6 pictures of B)" in told
    [saved] = load_comparisons(made.store, made.id)
    assert saved.second_model.common[0].shown == 2
    told = json.loads(CliRunner().invoke(command_line.app, [*words, "--json"]).stdout)
    assert told["second_model"]["common"][0]["prompt"] == CAMERA
