"""A training set that moved: the campaign reads it where it lies now, and takes no other one."""

import json
import os
import shutil

import numpy as np
import pytest

from seedsweep.audit.findings.verification import is_verified
from seedsweep.audit.report.contents import _settings
from seedsweep.scheduler.analysing.reanalysis import AnalysisOptions
from seedsweep.scheduler.campaign.current import own_settings, settings_now
from seedsweep.scheduler.campaign.relocation import relocate
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.storage.campaigns import (
    load_campaign,
    load_control,
    store_control,
    store_verification,
)
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Control
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.verification_results import Coverage, UnverifiedClique, VerificationResult
from seedsweep.workers.training.pictures import Reading, read_pictures
from tests.support.campaigns import campaign_file, make_images, small_sampling, submit_file
from tests.support.commands import seedsweep_here
from tests.support.pictures import data_of, write_parquet, write_tar
from tests.support.results import make_flagged
from tests.support.templates import noise

TABLES = {"sampling": small_sampling(4, 16), "verification": {"training_set": "train"}}


class Moving:
    """A campaign whose training set, a folder of three files, is moved to another folder."""

    def __init__(self, folder, rng, tables=TABLES):
        self.folder, self.store = folder, FolderStore(folder / "store")
        pictures = [data_of(each) for each in noise(rng, 6, 16)]
        write_parquet(folder / "train" / "a.parquet", pictures[:3])
        write_tar(folder / "train" / "b.tar", [("c.png", pictures[3]), ("d.png", pictures[4])])
        (folder / "train" / "e.png").write_bytes(pictures[5])
        plan = submit_file(self.store, campaign_file(folder / "c.toml", ["a cat"], **tables))
        self.id = plan.campaign.campaign_id
        self.submission = load_campaign(self.store, self.id)
        self.new = folder / "elsewhere" / "set"
        self.new.parent.mkdir()
        shutil.move(folder / "train", self.new)

    def resume(self, path, *options):
        words = ["resume", self.id, "--training-set", str(path), *options]
        return seedsweep_here(
            *words, "--store", self.store.url, folder=self.folder, environment=os.environ
        )

    @property
    def settings(self):
        return settings_now(self.store, self.submission)

    def pictures(self):
        return [*read_pictures(self.settings.verification, 16, 16, Reading())]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def moving(tmp_path, rng):
    return Moving(tmp_path, rng)


def test_a_set_that_moved_is_read_where_it_lies_now_under_the_same_ids(moving):
    before = moving.settings
    assert moving.resume("elsewhere/set").stderr == (
        f"The training set of {moving.id} is read at {moving.new} from now on.\n"
    )
    assert moving.settings.analysis_id == before.analysis_id
    assert moving.settings.verification.training_set == str(moving.new)
    assert len(moving.pictures()) == 6
    settings = _settings(moving.store, moving.submission, before.analysis_id)
    assert settings.verification.training_set == str(moving.new)


def test_a_search_that_does_not_find_the_set_names_the_remedy(moving):
    make_images(moving.store, load_plan(moving.store, moving.submission))
    flagged = make_flagged(prompt="a cat", match=None)
    store_results(moving.store, moving.settings.analysis_id, moving.id, [flagged])
    words = ["verify", moving.id, "--store", moving.store.url]
    ended = seedsweep_here(*words, folder=moving.folder, environment=os.environ)
    assert ended.returncode == 2
    assert f"`seedsweep resume {moving.id} --training-set PATH`" in ended.stderr


def test_an_analysis_with_other_options_reads_it_there_too_and_it_may_move_back(moving):
    moving.resume(moving.new)
    asked = AnalysisOptions(edge_threshold=0.3).apply(own_settings(moving.store, moving.submission))
    assert asked.verification.training_set == str(moving.new)
    control = load_control(moving.store, moving.id)
    store_control(moving.store, moving.id, control.model_copy(update={"settings": asked}))
    shutil.move(moving.new, moving.folder / "train")
    assert moving.resume("train").returncode == 0
    assert moving.settings.verification.training_set == str(moving.folder / "train")
    assert moving.settings.analysis.edge_threshold == 0.3
    assert "training_set" not in load_control(moving.store, moving.id).model_dump()


@pytest.mark.parametrize("change", ["changed", "renamed", "less", "more", "gone"])
def test_another_set_is_refused_and_changes_nothing(moving, rng, change):
    (picture,) = noise(rng, 1, 16)
    file = moving.new / "e.png"
    if change in ("changed", "more"):
        (file if change == "changed" else moving.new / "f.png").write_bytes(data_of(picture))
    elif change == "renamed":
        file.rename(moving.new / "x.png")
    elif change == "less":
        file.unlink()
    else:
        shutil.rmtree(moving.new)
    ended = moving.resume(moving.new)
    assert ended.returncode == 2
    assert ("is not the training set of" in ended.stderr) == (change != "gone")
    assert load_control(moving.store, moving.id) == Control()


def test_a_campaign_without_a_training_set_has_none_that_moved(tmp_path, rng):
    moving = Moving(tmp_path, rng, {"sampling": TABLES["sampling"]})
    ended = moving.resume(moving.new)
    assert ended.returncode == 2
    assert "has no [verification]" in ended.stderr


def test_a_place_that_is_no_text_is_refused(moving):
    odd = moving.new.with_name("caf\udce9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        relocate(moving.store, moving.id, odd)


def test_a_paused_campaign_goes_on_with_it(moving):
    store_control(moving.store, moving.id, Control(state="paused"))
    assert "is to go on" in moving.resume(moving.new).stderr
    assert load_control(moving.store, moving.id).state == "active"


def test_what_was_searched_before_it_moved_is_not_searched_again(moving):
    own = moving.settings
    flagged = make_flagged(prompt="a cat", match=None)
    store_results(moving.store, own.analysis_id, moving.id, [flagged])
    search = VerificationResult(
        campaign_id=moving.id,
        analysis_id=own.analysis_id,
        settings=own.verification,
        verified_at="",
        versions="",
        coverage=Coverage(path="", listing="", pictures=6, unreadable=0),
        cliques=(),
        groups=(),
        not_verified=(
            UnverifiedClique(
                prompt_id=flagged.prompt_id, prompt="a cat", seed=1, reason="It is gone."
            ),
        ),
    )
    store_verification(moving.store, search)
    assert is_verified(moving.store, moving.id)
    moving.resume(moving.new)
    assert is_verified(moving.store, moving.id)


def test_a_control_of_before_is_read_and_one_without_a_move_is_written_as_before():
    assert "training_set" not in json.loads(Control().model_dump_json())
    assert Control.model_validate_json('{"state": "paused"}').training_set == ""
