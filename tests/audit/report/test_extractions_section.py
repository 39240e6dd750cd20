"""The report and the commands show what a campaign without prompts extracts."""

import json

import pytest

from seedsweep.audit.findings.comparison import compare_campaigns
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.findings.present import gather_found
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.report import render_report
from seedsweep.cli.results import print_found
from seedsweep.storage.campaigns import store_verification
from seedsweep.storage.errors import ConfigError
from tests.support.findings import make_search
from tests.support.seeds_alone import audit_seeds


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A store, and a campaign whose seed 1 is a training picture."""
    return audit_seeds(tmp_path_factory.mktemp("train"), tmp_path_factory.mktemp("store"))


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
