"""Stores that an earlier version wrote open, go on and report as they did then.

Each folder below `STORES` holds a campaign's files, its `store` and `expected.json`, what the
version that wrote them said. Their campaign files name `/proc/self/cwd`, the folder that a process
works in, so that campaigns have the same ids wherever the folder lies.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from seedsweep.audit.findings.match_words import agreement_words, earlier_words
from seedsweep.scheduler.analysing import reanalysis
from seedsweep.storage.prompt_results import Match
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.results import make_flagged
from tests.support.searchers import analyse_here

STORES = ROOT / "tests" / "fixtures" / "stores" / "0.1.0"
NAMES = ["finished", "half-done", "parked", "not-kept"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="there is no /proc")


class Old:
    """A copy of a store of before with its campaign's files, and the command line to work on it."""

    def __init__(self, folder, variables):
        self.variables = variables
        self.folder, self.store = folder, folder / "store"
        self.expected = json.loads((folder / "expected.json").read_text())
        self.campaigns = self.expected["campaigns"]

    def seedsweep(self, *arguments, cwd=None):
        """Run a command in the campaign's folder, or another one; returns what it printed."""
        ended = seedsweep_here(
            *map(str, arguments),
            *("--store", f"file:{self.store}"),
            folder=cwd or self.folder,
            environment=os.environ,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def json(self, *arguments, **where):
        return json.loads(self.seedsweep(*arguments, "--json", **where))

    def run(self, file="campaign.toml"):
        """Run a campaign to its end, with processes of its own; returns its id."""
        python = {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}",
            "SEEDSWEEP_ALLOW_PYTHON": "spots:draw",
        }
        finished = seedsweep_here(
            *("run", file, "--workers", "1", "--store", "file:store"),
            folder=self.folder,
            environment={**os.environ, **self.variables, **python},
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.splitlines()[-1]

    def files(self, below=""):
        """What every file of the store holds, but logs."""
        paths = (path for path in (self.store / below).rglob("*") if path.is_file())
        found = {path.relative_to(self.store).as_posix(): path.read_bytes() for path in paths}
        return {key: data for key, data in found.items() if not key.startswith(".")}

    def images(self, pattern="shards/*/*/*/*.parquet"):
        """Prompt id, seed and hash of every image that such files hold."""
        columns = ["prompt_id", "seed", "sha256"]
        tables = [pq.read_table(path, columns=columns) for path in self.store.glob(pattern)]
        return sorted([*row.values()] for table in tables for row in table.to_pylist())


def as_then(results):
    """Results without what is said since: nothing, as nobody asked then."""
    for result in results:
        whole = [result] * result["flagged"] + result["further_cliques"]
        memories = [memory["seeds"] for memory in result.pop("memories")]
        assert memories == [clique["clique_seeds"] for clique in whole]
        names = ("parts", "parts_proven", "flagged_partial", "extracted_partial", "cut", "same_as")
        assert [result.pop(name) for name in names] == [[], True, False, None, None, None]
        assert [result.pop(name) for name in ("drop", "settings", "extractions")] == [None] * 3
        for clique in (result, *result["further_cliques"]):
            for name in ("adaptive_training", "adaptive_generation", "agreement"):
                assert not clique["match"] or clique["match"].pop(name) is None
            assert not clique["match"] or clique["match"].pop("distinct") is False
    return results


@pytest.fixture
def old(tmp_path, joining_ray):
    """Copy a store of before to another place."""

    def copy(name):
        folder = shutil.copytree(STORES / name, tmp_path / name)
        return Old(folder, joining_ray)

    return copy


@pytest.mark.parametrize("name", NAMES)
class TestEveryStore:
    def test_results_and_status_are_what_they_were(self, old, name):
        old = old(name)
        now = old.json("status")
        # What is parked is told with its reason by now.
        assert all(status.pop("stuck") or not status["units_parked"] for status in now)
        for status, campaign in zip(now, old.campaigns, strict=True):
            # What was begun, and nobody serves, was "running" then.
            state = status["state"].replace("stopped", "running")
            assert status.pop("units_dropped") == status.pop("images_shared") == 0
            assert status.pop("images_full") == status["images"]
            assert status | {"state": state, "stuck": []} == campaign["status"]
        for campaign in old.campaigns:
            assert as_then(old.json("results", campaign["id"])) == campaign["results"]

    def test_it_opens_without_the_campaigns_files(self, old, name, tmp_path):
        old = old(name)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        for campaign in old.campaigns:
            found = old.json("results", campaign["id"], cwd=elsewhere)
            assert as_then(found) == campaign["results"]
            old.seedsweep("report", campaign["id"], "-o", "report", cwd=elsewhere)

    def test_the_report_names_every_flagged_prompt(self, old, name):
        old = old(name)
        for campaign in old.campaigns:
            page = Path(old.seedsweep("report", campaign["id"], "-o", campaign["id"]).strip())
            text = (old.folder / page).read_text()
            flagged = [result["prompt"] for result in campaign["results"] if result["flagged"]]
            assert flagged
            assert all(prompt in text for prompt in flagged)

    def test_a_bundle_of_evidence_has_the_ids_of_before_and_no_fault(self, old, name):
        old = old(name)
        for campaign in old.campaigns:
            old.seedsweep("evidence", campaign["id"], "-o", campaign["id"])
            bundle = old.folder / campaign["id"]
            manifest = json.loads((bundle / "manifest.json").read_text())
            ids = {"campaign_id": campaign["id"]}
            ids |= {"generation_id": campaign["generation_id"]}
            if manifest["settings"]["verification"] is None:  # its matches are judged otherwise now
                ids |= {"analysis_id": campaign["analysis_id"]}
            assert ids.items() <= manifest.items()
            assert manifest["missing"] == []
            verifier = [sys.executable, "-I", "-S", bundle / "verify_bundle.py"]
            checked = subprocess.run(verifier, capture_output=True, text=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, "")
            assert "No fault" in checked.stdout

    def test_a_check_finds_every_image_as_its_hash_says(self, old, name):
        old = old(name)
        for campaign in old.campaigns:
            checkup = old.json("check", campaign["id"])
            assert (checkup["corrupt"], checkup["holes"]) == ([], [])

    def test_looking_changes_nothing(self, old, name):
        old = old(name)
        before = old.files()
        for campaign in old.campaigns:
            old.json("results", campaign["id"])
            old.json("check", campaign["id"])
            old.seedsweep("report", campaign["id"], "-o", "report")
        assert old.files() == before


@pytest.mark.parametrize("name", ["finished", "not-kept"])
def test_a_campaign_that_was_done_is_the_same_campaign_and_nothing_is_made_anew(old, name):
    old = old(name)
    before = old.files()
    assert old.run() in [campaign["id"] for campaign in old.campaigns]
    assert old.files() == before


def test_what_commands_found_is_shown_by_the_report(old):
    old = old("finished")
    first = next(each for each in old.campaigns if each["status"]["name"] == "first")
    kinds = {"verifications", "calibrations", "comparisons", "duplications"}
    assert first["kept"].keys() == kinds
    page = old.folder / old.seedsweep("report", first["id"], "-o", "report").strip()
    text = page.read_text()
    for command in ("verify", "calibrate", "compare", "duplication"):
        assert f"seedsweep {command}" not in text
    assert "dog.png" in text


def test_prompts_of_which_no_image_was_kept_count_as_done_by_their_receipts(old):
    old = old("not-kept")
    (campaign,) = old.campaigns
    receipts = old.images("campaigns/*/receipts/*/*/*.parquet")
    assert receipts == old.expected["receipted"]
    unflagged = {each["prompt_id"] for each in campaign["results"] if not each["flagged"]}
    assert {prompt_id for prompt_id, _, _ in receipts} == unflagged
    assert len(receipts) + len(old.images()) == campaign["status"]["images_done"]
    assert campaign["status"]["state"] == "done"


def test_what_wants_images_that_were_not_kept_judges_the_others_and_says_so(old, monkeypatch):
    old = old("not-kept")
    (campaign,) = old.campaigns
    monkeypatch.setattr(reanalysis, "analyse", analyse_here)
    ended = seedsweep_here(
        *("analyse", campaign["id"], "--matrix", "full", "--json", "--store", "file:store"),
        folder=old.folder,
        environment=os.environ,
    )
    assert ended.returncode == 1
    flagged = {result["prompt_id"] for result in campaign["results"] if result["flagged"]}
    assert {result["prompt_id"] for result in json.loads(ended.stdout)} == flagged
    prompts = campaign["status"]["prompts"]
    assert f"{prompts - len(flagged)} of {prompts} prompts could not be judged" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert as_then(old.json("results", campaign["id"])) == campaign["results"]


def ends_as_undisturbed(old, before):
    """All that was there is as it was, and the rest is what a run in one go makes."""
    wanted, after = old.expected["undisturbed"], old.files("shards")
    assert before.items() <= after.items()
    assert len(before) < len(after) == wanted["shards"]
    assert old.images() == wanted["images"]
    (campaign,) = old.campaigns
    assert as_then(old.json("results", campaign["id"])) == wanted["results"]
    (status,) = old.json("status")
    assert wanted["status"].items() <= status.items()
    return True


def test_a_campaign_that_was_half_done_makes_only_what_is_missing(old):
    old = old("half-done")
    (campaign,) = old.campaigns
    assert 0 < campaign["status"]["units_done"] < campaign["status"]["units"]
    before = old.files("shards")
    assert old.run() == campaign["id"]
    assert ends_as_undisturbed(old, before)


def test_a_parked_unit_is_tried_again_and_what_was_wanted_of_the_campaign_stays(old):
    old = old("parked")
    (campaign,) = old.campaigns
    assert (campaign["status"]["state"], campaign["status"]["units_parked"]) == ("paused", 1)
    assert campaign["kept"]["parked"]
    before = old.files("shards")
    old.seedsweep("resume", campaign["id"], "--failed")
    assert old.run() == campaign["id"]
    assert ends_as_undisturbed(old, before)
    control = json.loads((old.store / "campaigns" / campaign["id"] / "control.json").read_text())
    assert (control["state"], control["priority"], control["weight"]) == ("active", 2, 3)


def test_matches_of_before_are_told_whatever_their_score(old):
    """With many copies the score of before was null: that hid extractions most of all."""
    old = old("finished")
    first = next(each for each in old.campaigns if each["status"]["name"] == "first")
    told = " ".join(old.seedsweep("results", first["id"]).split())
    matches = sum(1 for each in first["results"] if each["match"])
    assert matches
    assert f"`seedsweep analyse {first['id']}` judges the stored images anew" in told
    assert told.count("Matches of an earlier version") == 1
    null = Match(training_id="t", l2=0.1, tiled_l2=0.1, adaptive=None, extracted=False)
    assert ": 1. `seedsweep analyse" in earlier_words([make_flagged(match=null)], "c")[0]
    assert agreement_words(null) == "not known"
    assert (
        earlier_words([make_flagged(match=null.model_copy(update={"distinct": True}))], "c") == ()
    )
