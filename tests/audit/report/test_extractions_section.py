"""The report and the commands show what a campaign without prompts extracts."""

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.findings.comparison import compare_campaigns
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.findings.present import gather_found
from seedsweep.audit.report.report import gather_report, render_report
from seedsweep.cli.results import print_found
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import store_verification
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.results import store_results
from seedsweep.storage.settings.analysis import Analysis, Verification
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.pipelines.noise import NoisePipeline
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.slices import USUAL
from tests.support.campaigns import make_campaign, make_images
from tests.support.findings import make_search
from tests.support.searchers import Here


@contextlib.contextmanager
def here():
    yield Here()


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A store, and a campaign whose seed 1 is a training picture: seeds 0 to 5 differ."""
    folder = tmp_path_factory.mktemp("train")
    campaign = make_campaign(seeds=6, guidance_scale=1.0, analysis=Analysis(min_clique_size=5))
    [one] = NoisePipeline(campaign.sampling).generate("", [1])
    Image.fromarray(one.pixels).save(folder / "known.png")
    random = np.random.default_rng(0)
    for number in range(9):
        noise = random.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"n{number}.png")
    verification = Verification(
        training_set=str(folder),
        neighbours=3,
        fingerprint=fingerprint_training_set(folder, USUAL),
    )
    campaign = campaign.model_copy(update={"prompts": None, "verification": verification})
    store = FolderStore(tmp_path_factory.mktemp("store"))
    submission = submit_campaign(store, plan := plan_campaign(store, campaign, [""], []))
    make_images(store, plan)
    request = AnalysisRequest(campaign.campaign_id, "", campaign.settings)
    result = AnalysisActor(store.url, crew=here).analyse(request).value
    store_results(store, campaign.analysis_id, campaign.campaign_id, [result])
    return store, submission


def test_the_report_shows_each_extracted_picture_beside_its_best_generation(audited):
    store, submission = audited
    report = gather_report(store, submission.campaign.campaign_id, None)
    [shown] = report.extractions.pictures
    assert (shown.found.training_id, shown.found.best_seed) == ("known.png", 1)
    assert shown.generation.uri == shown.training.uri
    page = render_report(report)
    assert "1 of 6 generations extracts 1 distinct training picture" in page
    assert "nothing was compared" not in page


def test_a_training_set_that_is_gone_is_said(audited, monkeypatch):
    store, submission = audited
    gone = submission.campaign.verification.model_copy(update={"training_set": "/gone"})
    monkeypatch.setattr(
        "seedsweep.audit.report.extractions_section.read_named",
        lambda _, sampling, ids: read_named(gone, sampling, ids),
    )
    report = gather_report(store, submission.campaign.campaign_id, None)
    assert "/gone" in report.extractions.problem
    assert "cannot be shown" in render_report(report)


def test_results_show_them_to_people_and_scripts(audited, capsys):
    store, submission = audited
    found = gather_found(store, submission, submission.campaign.settings)
    print_found(found, as_json=True)
    [told] = json.loads(capsys.readouterr().out)
    assert told["extractions"]["extracted"] == 1
    assert told["extractions"]["pictures"][0]["training_id"] == "known.png"
    print_found(found, as_json=False)
    said = capsys.readouterr()
    assert "known.png" in said.out
    assert "none to look for" not in said.err


def test_nothing_is_said_by_prompts_where_there_are_none(audited):
    store, submission = audited
    campaign = submission.campaign
    with pytest.raises(ConfigError, match="has no prompts to compare by"):
        compare_campaigns(store, campaign.campaign_id, campaign.campaign_id)
    report = gather_report(store, campaign.campaign_id, None)
    assert "prompts analysed</span>" not in render_report(report)
    store_verification(store, make_search(store, campaign.campaign_id))
    notes = gather_found(store, submission, campaign.settings).notes
    assert not [note for note in notes if "Prompts that extract them" in note]
