import json
import re

import pytest
from typer.testing import CliRunner

from seedsweep.cli import main as command_line
from seedsweep.storage import keys
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    ModelLoadError,
    TrainingSetError,
)
from tests.support.command_line import refused

NAMING = [
    ("status", []),
    ("prioritise", ["--priority", "1"]),
    ("pause", []),
    ("resume", []),
    ("resume", ["--failed"]),
    ("resume", ["--training-set", "x"]),
    ("cancel", []),
    ("results", []),
    ("report", ["-o", "x"]),
    ("analyse", []),
    ("compare", ["other"]),
    ("duplication", ["--copies", "x.csv"]),
    ("calibrate", ["--controls", "x.txt"]),
    ("score", ["--labels", "x.csv"]),
    ("verify", []),
    ("check", []),
    ("replay", ["--sample", "1"]),
    ("evidence", []),
]
"""Each command that takes a campaign, and what else it needs."""


class TestNaming:
    def test_every_command_that_takes_a_campaign_is_tried(self):
        takers = {
            command.callback.__name__
            for command in command_line.app.registered_commands
            if {"campaign_id", "a"} & command.callback.__annotations__.keys()
        }
        assert takers == {command for command, _ in NAMING}

    @pytest.mark.parametrize(("command", "options"), NAMING)
    @pytest.mark.parametrize("meant", ["small", "small-", ""])
    def test_what_may_be_several_or_none_is_refused_with_what_is_known(
        self, seedsweep, store, campaign_id, command, options, meant
    ):
        store.create(keys.campaign("small-cccccccccccc"), b"")
        before = list(store.list(""))
        ended = seedsweep(command, meant, *options)
        assert refused(ended, repr(meant), campaign_id, "small-cccccccccccc")
        assert list(store.list("")) == before

    @pytest.mark.parametrize("meant", ["small", "small-", "s"])
    def test_a_name_or_a_beginning_does_and_it_is_said_whose(self, seedsweep, campaign_id, meant):
        said = f"{meant} is the campaign {campaign_id}.\n"
        shown = seedsweep("status", meant, "--json")
        assert (json.loads(shown.stdout)[0]["id"], shown.stderr) == (campaign_id, said)
        assert campaign_id in seedsweep("pause", meant).stderr.removeprefix(said)
        assert json.loads(seedsweep("results", meant, "--json").stdout)
        assert seedsweep("results", campaign_id).stderr == ""

    def test_a_shell_offers_the_ids_of_the_store(self, seedsweep, store, campaign_id):
        for place, url in [("status s", None), ("results --store file:other s", "file:other")]:
            words = {"COMP_WORDS": f"seedsweep {place}", "COMP_CWORD": str(place.count(" ") + 1)}
            offered = seedsweep(_SEEDSWEEP_COMPLETE="complete_bash", **words).stdout.split()
            assert offered == ([] if url else [campaign_id])

    def test_a_store_that_cannot_be_opened_offers_nothing(self, seedsweep):
        words = {"COMP_WORDS": "seedsweep status s", "COMP_CWORD": "2"}
        asked = {"_SEEDSWEEP_COMPLETE": "complete_bash", "SEEDSWEEP_STORE_URL": "ftp://x"}
        ended = seedsweep(**asked, **words)
        assert (ended.stdout.strip(), ended.stderr) == ("", "")


def numbers_of(command):
    """The command's options that take a number with a point, as its help calls these."""
    shown = CliRunner().invoke(command_line.app, [command, "--help"]).output
    return re.findall(r"^ +(--[a-z-]+) X ", shown, re.MULTILINE)


def test_options_that_take_numbers_are_known_by_their_help():
    assert numbers_of("plan") == ["--images-per-second", "--price"]


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    ("command", "options"),
    [("plan", ["--images-per-second", "8"]), ("submit", []), *NAMING],
)
def test_no_option_takes_a_number_that_is_not_finite(
    seedsweep, folder, campaign_id, command, options, number
):
    (folder / "x.txt").write_text("a cat\n")
    meant = "campaign.toml" if command in ("plan", "submit") else campaign_id
    for option in numbers_of(command):
        ended = seedsweep(command, meant, *options, option, number)
        assert (ended.returncode, ended.stdout) == (2, ""), option
        assert "Traceback" not in ended.stderr


class TestAnEmptyStore:
    def test_status_says_what_to_do_next(self, seedsweep):
        shown = seedsweep("status")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "holds no campaign; `seedsweep run FILE.toml`" in shown.stdout.replace("\n", " ")
        assert "campaign  " not in shown.stdout
        assert json.loads(seedsweep("status", "--json").stdout) == []

    @pytest.mark.parametrize(("command", "options"), NAMING)
    def test_other_commands_do_too(self, seedsweep, command, options):
        assert refused(seedsweep(command, "small", *options), "`seedsweep run FILE.toml`")


def test_evidence_has_a_folder_of_its_own_which_it_never_overwrites(seedsweep, campaign_id, folder):
    written = f"seedsweep-evidence/{campaign_id}/manifest.json"
    assert seedsweep("evidence", campaign_id).stdout.split()[-1] == written
    first = (folder / written).read_bytes()
    again = seedsweep("evidence", campaign_id)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"seedsweep-evidence/{campaign_id}" in again.stderr
    assert (folder / written).read_bytes() == first


def test_an_unknown_campaign_is_refused_naming_those_that_are_known(seedsweep, campaign_id):
    for arguments in (["status", "other"], ["results", "other"], ["report", "other", "-o", "x"]):
        assert refused(seedsweep(*arguments), "other", campaign_id)
    assert refused(seedsweep("results", "../../etc"), "../../etc")


def test_a_store_that_cannot_be_written_is_said_with_its_own_exit_code(seedsweep, folder):
    (folder / "taken").write_text("a file")
    finished = seedsweep("run", "campaign.toml", "--store", "file:taken/data")
    assert finished.returncode == 3
    assert len(finished.stderr.strip().splitlines()) == 1
    assert "taken/data" in finished.stderr


def test_a_kind_of_store_that_does_not_exist_is_refused(seedsweep):
    assert refused(seedsweep("status", "--store", "ftp://somewhere"), "'ftp'", "file:FOLDER")


@pytest.mark.parametrize(
    ("kind", "code"),
    [(ConfigError, 2), (TrainingSetError, 2), (BrokerUnavailableError, 3), (ModelLoadError, 1)],
)
def test_an_error_is_one_sentence_and_the_exit_code_of_its_kind(monkeypatch, capsys, kind, code):
    def failing(prog_name, terminal_width):
        raise kind("What, which and the remedy.")

    monkeypatch.setattr(command_line, "app", failing)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == "What, which and the remedy.\n"
