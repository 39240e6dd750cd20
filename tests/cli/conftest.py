"""Commands in a folder with a campaign, and what that has in its store."""

import subprocess
import sys

import pytest

from seedsweep.cli import main as command_line
from seedsweep.cli import progress_bars
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.result_parts import store_results
from tests.support.campaigns import make_images, submit_file
from tests.support.command_line import CAMPAIGN
from tests.support.results import make_flagged


@pytest.fixture
def folder(tmp_path):
    """A folder with a campaign of three prompts."""
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    (tmp_path / "prompts.txt").write_text("a cat\na <b>dog</b>\nan owl\n")
    return tmp_path


@pytest.fixture
def seedsweep(folder, monkeypatch, capsys):
    """Run the command line in the campaign's folder; returns code and output as a shell would."""

    # However slow the machine is, what reads files says no more than it has to.
    monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 600.0)

    def run(*arguments, **environment):
        monkeypatch.chdir(folder)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["seedsweep", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def store(folder):
    """The store that commands use in the folder."""
    return FolderStore(folder / "seedsweep-data")


@pytest.fixture
def away(free_port):
    """The URL of a broker that does not answer."""
    return f"redis://127.0.0.1:{free_port()}/0"


@pytest.fixture
def campaign_id(folder, store):
    """A submitted campaign with one flagged prompt."""
    campaign = submit_file(store, folder / "campaign.toml").campaign
    flagged = make_flagged(prompt="a <b>dog</b>")
    store_results(store, campaign.analysis_id, campaign.campaign_id, [flagged])
    return campaign.campaign_id


@pytest.fixture
def restore(store, ledger, campaign_id):
    """Tell the broker of the campaign, as a scheduler does."""

    def restore():
        plan = load_plan(store, load_campaign(store, campaign_id))
        ledger.restore(campaign_id, restore_state(store, plan))

    return restore


@pytest.fixture
def shards(store, campaign_id):
    """The keys of the campaign's shards, all of which are made."""
    plan = load_plan(store, load_campaign(store, campaign_id))
    make_images(store, plan)
    return [keys.unit_shard(plan.unit(index)) for index in range(len(plan))]
