import csv
import json
import os
import re
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from seedsweep import __version__
from seedsweep.cli import main as command_line
from seedsweep.cli import progress_bars
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.doctor import checks
from seedsweep.scheduler.doctor.diagnosis import Diagnosis
from seedsweep.storage import keys
from seedsweep.storage.campaigns import (
    list_campaigns,
    load_campaign,
    load_control,
    load_parked,
    store_control,
)
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    ModelLoadError,
    TrainingSetError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Control, Worker
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation import throughput
from tests.support.campaigns import (
    campaign_text,
    make_images,
    park_unit,
    small_sampling,
    submit_file,
)
from tests.support.checkout import ROOT
from tests.support.deployment import Process
from tests.support.model_folders import safetensors
from tests.support.results import make_flagged, make_result
from tests.support.terminal import lines_printed
from tests.support.tiny_model import save_tiny_model

COMMANDS = [
    command.name or command.callback.__name__ for command in command_line.app.registered_commands
]
HEAVY = ["torch", "diffusers", "transformers", "ray", "celery", "cv2", "pyarrow", "pandas", "scipy"]

CAMPAIGN = campaign_text(
    sampling=small_sampling(4, 8, images_per_unit=2), analysis={"min_clique_size": 2}
)


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


def refused(finished, *words):
    """Exit code 2, nothing on stdout, and one sentence without a traceback on stderr."""
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in finished.stderr
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_words_of_code(command):
    shown = CliRunner().invoke(command_line.app, [command, "--help"]).output
    assert not re.findall(r"<[a-z]|x>=|<=x|x<=|[{}]|default: \(|\[\[", shown)


def test_help_says_ranges_and_defaults_in_words():
    shown = " ".join(CliRunner().invoke(command_line.app, ["plan", "--help"]).output.split())
    assert shown.startswith("Usage: seedsweep plan [OPTIONS] FILE.toml ")
    assert "--images-per-second X One device's rate" in shown
    assert "[default: as many as `run` would start here; 1 with" in shown
    assert "at least 1]" in shown
    listed = " ".join(CliRunner().invoke(command_line.app, ["status", "--help"]).output.split())
    assert "Usage: seedsweep status [OPTIONS] [ID] " in listed
    assert "all campaigns of the store" in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(command):
    shown = CliRunner().invoke(command_line.app, [command, "--help"]).output
    assert f"Example: seedsweep {command}" in shown


def test_help_lists_every_command_once_in_its_group_with_all_it_says_first(seedsweep):
    shown = seedsweep("--help").stdout
    groups = [line[:-1] for line in shown.splitlines() if re.fullmatch("[A-Z].*:", line)]
    assert groups == ["Options", *command_line.GROUPS]
    listed = re.findall(r"^  ([a-z]+) ", shown.partition("Run and submit:")[2], re.MULTILINE)
    assert (sorted(listed), len(listed)) == (sorted(COMMANDS), len(COMMANDS))
    assert "..." not in shown.partition("Options:")[2]
    assert "before and after deduplication, say." in " ".join(shown.split())


@pytest.mark.parametrize("columns", [8, 30, 40, 80, 200])
def test_help_fits_the_terminal(monkeypatch, columns):
    def ask():
        with pytest.raises(SystemExit):
            command_line.main()

    monkeypatch.delenv("COLUMNS", raising=False)
    for arguments in (["--help"], ["label", "--help"]):
        monkeypatch.setattr(sys, "argv", ["seedsweep", *arguments])
        lines = lines_printed(columns, ask)
        assert max(map(len, lines)) <= max(columns, 36)
        words = [word for line in lines for word in line.split()]
        assert not {"Exampl", "campaig", "pictur"} & set(words)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from seedsweep.cli.main import app; from typer.testing import CliRunner; "
        "CliRunner().invoke(app, ['--help']); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert set(HEAVY).isdisjoint(loaded)


def test_the_version_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedsweep", "--version"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"seedsweep {__version__}\n")


def test_a_shell_is_told_how_commands_go_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedsweep"])
    for name, value in [
        ("_SEEDSWEEP_COMPLETE", "complete_bash"),
        ("COMP_WORDS", "seedsweep re"),
        ("COMP_CWORD", "1"),
    ]:
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        command_line.main()
    assert set(capsys.readouterr().out.split()) == {"replay", "report", "results", "resume"}


NAMING = [
    ("status", []),
    ("prioritise", ["--priority", "1"]),
    ("pause", []),
    ("resume", []),
    ("resume", ["--failed"]),
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


class TestPlan:
    @pytest.fixture(autouse=True)
    def _in_a_moment(self, monkeypatch):
        monkeypatch.setattr(throughput, "MIN_SECONDS", 0.0)

    @pytest.fixture
    def tiny(self, folder):
        """The campaign is of a real model with random weights."""
        save_tiny_model(folder / "model")
        campaign = CAMPAIGN.replace('pipeline = "noise"', 'path = "model"')
        campaign = campaign.replace("width = 8\nheight = 8", "width = 16\nheight = 16\nsteps = 2")
        (folder / "campaign.toml").write_text(campaign)

    def test_it_says_what_is_to_be_made_and_writes_nothing(self, seedsweep, folder):
        finished = seedsweep("plan", "campaign.toml", "--json", "--images-per-second", "2")
        plan = json.loads(finished.stdout)
        assert (plan["prompts"], plan["units"], plan["images"]) == (3, 6, 12)
        assert (plan["units_done"], plan["images_done"]) == (0, 0)
        assert plan["hours"] == pytest.approx(12 / 2 / 3600)
        assert (plan["bytes_measured"], plan["rate"]["rounds"]) == (False, 0)
        assert not (folder / "seedsweep-data").exists()
        assert "12" in seedsweep("plan", "campaign.toml").stdout

    @pytest.fixture
    def caption_table(self, folder):
        """The prompts are a table with a null, a blank, a repeat and columns like settings."""
        rows = ["text,seed,cfg", "a cat,1,7", ",2,7", "an owl,3,7", '" ",4,7', "a cat,5,7"]
        (folder / "prompts.csv").write_text("\n".join(rows))
        table = 'file = "prompts.csv"\ncolumn = "text"'
        (folder / "campaign.toml").write_text(CAMPAIGN.replace('file = "prompts.txt"', table))

    def test_it_says_what_became_of_the_rows(self, seedsweep, caption_table):
        plan = ["plan", "campaign.toml", "--images-per-second", "2"]
        shown = seedsweep(*plan).stdout
        assert "Rows       5 read; skipped 1 without a text, 1 blank, 1 repeated\n" in shown
        assert "not used: seed, cfg;" in shown
        rows = json.loads(seedsweep(*plan, "--json").stdout)["rows"]
        assert (rows["read"], rows["null"], rows["blank"], rows["repeated"]) == (5, 1, 1, 1)
        assert rows["unused"] == ["seed", "cfg"]

    def test_submit_says_so_too(self, seedsweep, caption_table):
        finished = seedsweep("submit", "campaign.toml")
        assert "5 read; skipped 1 without a text, 1 blank, 1 repeated." in finished.stderr
        assert "not used: seed, cfg;" in finished.stderr
        assert len(finished.stdout.splitlines()) == 1

    def test_devices_share_the_hours_and_a_price_makes_money_of_them(self, seedsweep):
        given = ["--images-per-second", "0.001", "--devices", "4", "--price", "2.5"]
        plan = json.loads(seedsweep("plan", "campaign.toml", "--json", *given).stdout)
        assert plan["wall_hours"] == pytest.approx(plan["hours"] / 4)
        assert plan["cost"] == pytest.approx(plan["hours"] * 2.5)
        shown = seedsweep("plan", "campaign.toml", *given, "--device", "cpu").stdout
        for words in ("3.33 device-hours", "on 4 devices", "8.33 at 2.5", "as given"):
            assert words in shown
        assert shown.count("(not measured)") == 2

    def test_a_given_rate_needs_neither_torch_nor_the_model(self, folder, tiny):
        code = (
            "import sys; sys.modules.update(dict.fromkeys(('torch', 'diffusers', 'transformers')));"
            "import seedsweep.cli.main as cli; sys.argv = ['seedsweep', 'plan', "
            "'campaign.toml', '--images-per-second', '2']\n"
            "try: cli.main()\nfinally: print(*sys.modules)"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        said = subprocess.check_output(
            [sys.executable, "-c", code], cwd=folder, env=environment, text=True
        )
        assert "as given" in said
        assert "ray" not in said.split()

    @pytest.mark.parametrize("command", [("plan", "--images-per-second", "2"), ("submit",)])
    def test_a_folder_that_is_not_whole_is_refused_whatever_is_asked(
        self, seedsweep, folder, tiny, command
    ):
        (folder / "model" / "tokenizer" / "tokenizer.json").unlink()
        name, *options = command
        finished = seedsweep(name, "campaign.toml", *options)
        assert refused(finished, "tokenizer", "vocabulary")

    def test_prompts_that_the_model_does_not_see_whole_are_counted_and_kept_in_mind(
        self, seedsweep, folder, tiny
    ):
        rate = ("--images-per-second", "2")
        (note,) = json.loads(seedsweep("plan", "campaign.toml", *rate, "--json").stdout)["notes"]
        assert note.startswith("1 prompt is longer than the 12 tokens")
        assert note in seedsweep("plan", "campaign.toml", *rate).stdout
        submitted = seedsweep("submit", "campaign.toml")
        assert note in submitted.stderr
        campaign_id = submitted.stdout.strip()
        assert note in seedsweep("results", campaign_id).stdout
        page = seedsweep("report", campaign_id, "-o", "report").stdout.strip()
        assert "longer than the 12 tokens" in (folder / page).read_text()

    def test_a_real_model_is_measured_and_the_store_is_untouched(self, seedsweep, store, tiny):
        store.create("campaigns/other", b"")
        finished = seedsweep("plan", "campaign.toml", "--json", "--device", "cpu")
        assert finished.returncode == 0, finished.stderr
        plan = json.loads(finished.stdout)
        rate = plan["rate"]
        assert (rate["device"], rate["rounds"], rate["images"]) == ("cpu", 2, 4)
        assert 0 < rate["lowest"] <= rate["images_per_second"] <= rate["highest"]
        assert plan["hours"] == pytest.approx(12 / rate["images_per_second"] / 3600)
        assert plan["bytes_measured"]
        assert list(store.list("")) == ["campaigns/other"]
        assert "images/s on cpu" in seedsweep("plan", "campaign.toml").stdout

    def test_measured_bytes_are_those_of_the_shards(self, seedsweep, store, campaign_id, shards):
        stored = sum(len(store.read(key)) for key in shards)
        for key in shards:
            store.delete(key)
        plan = json.loads(seedsweep("plan", "campaign.toml", "--json").stdout)
        assert plan["bytes"] == pytest.approx(stored, rel=0.01)

    def test_in_a_log_only_what_takes_long_is_said(self, seedsweep, monkeypatch):
        assert seedsweep("plan", "campaign.toml").stderr == ""
        monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 0.0)
        monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
        said = seedsweep("plan", "campaign.toml", "--device", "cpu").stderr
        assert "The model is loaded and measured on cpu: 4 images in" in said

    def test_where_all_is_stored_nothing_is_measured(self, seedsweep, shards, monkeypatch):
        monkeypatch.setattr(throughput, "measure", None)
        plan = json.loads(seedsweep("plan", "campaign.toml", "--json", "--price", "2").stdout)
        assert (plan["units_done"], plan["images_done"]) == (6, 12)
        assert (plan["hours"], plan["wall_hours"], plan["cost"], plan["rate"]) == (0, 0, 0, None)

    def test_a_function_that_may_not_run_here_is_refused_with_the_way_round(
        self, seedsweep, folder, monkeypatch
    ):
        monkeypatch.syspath_prepend(str(folder))
        (folder / "dots.py").write_text("def draw(prompt, seed, width, height): 1 / 0")
        python = 'pipeline = "python"\npath = "dots:draw"'
        campaign = CAMPAIGN.replace('pipeline = "noise"', python)
        (folder / "campaign.toml").write_text(campaign)
        words = ["dots:draw", "SEEDSWEEP_ALLOW_PYTHON", "--images-per-second"]
        assert refused(seedsweep("plan", "campaign.toml"), *words)
        broken = seedsweep("plan", "campaign.toml", SEEDSWEEP_ALLOW_PYTHON="dots:draw")
        assert refused(broken, "ZeroDivisionError", "--images-per-second")
        assert seedsweep("plan", "campaign.toml", "--images-per-second", "2").returncode == 0

    def test_a_model_that_cannot_be_loaded_is_refused_with_the_way_round(
        self, seedsweep, folder, tiny
    ):
        weights = folder / "model" / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(safetensors(other=[3]))
        finished = seedsweep("plan", "campaign.toml", "--device", "cpu")
        assert (finished.returncode, finished.stdout) == (2, "")
        assert "Traceback" not in finished.stderr
        assert "--images-per-second" in finished.stderr.splitlines()[-1]

    def test_a_device_that_is_not_here_is_refused(self, seedsweep):
        assert refused(seedsweep("plan", "campaign.toml", "--device", "cuda:99"), "cuda:99", "cpu")


def test_status_needs_only_the_store(seedsweep, campaign_id, away):
    (campaign,) = json.loads(seedsweep("status", "--json", SEEDSWEEP_BROKER_URL=away).stdout)
    assert campaign["id"] == campaign_id
    assert campaign["name"] == "small"
    assert campaign["state"] == "queued"
    counts = ("units", "units_done", "units_parked", "images", "prompts", "prompts_analysed")
    assert [campaign[name] for name in counts] == [6, 0, 0, 12, 3, 0]
    assert campaign_id in seedsweep("status").stdout


def test_results_are_a_table_for_people_and_every_prompt_for_scripts(
    seedsweep, campaign_id, folder
):
    (result,) = json.loads(seedsweep("results", campaign_id, "--json").stdout)
    assert result["clique_seeds"] == [1, 3]
    assert result["match"] is None
    assert "a <b>dog</b>" in seedsweep("results", campaign_id).stdout
    seedsweep("results", campaign_id, "--csv", "out.csv")
    with (folder / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["prompt"], row["clique_seeds"], row["l2"]) == ("a <b>dog</b>", "1 3", "")


def test_report_prints_the_path_of_the_page(seedsweep, campaign_id, folder):
    finished = seedsweep("report", campaign_id, "-o", "page")
    assert (folder / finished.stdout.strip()).is_file()
    usual = seedsweep("report", campaign_id).stdout.strip()
    assert usual == f"seedsweep-reports/{campaign_id}/index.html"
    assert (folder / usual).is_file()


def test_evidence_has_a_folder_of_its_own_which_it_never_overwrites(seedsweep, campaign_id, folder):
    written = f"seedsweep-evidence/{campaign_id}/manifest.json"
    assert seedsweep("evidence", campaign_id).stdout.split()[-1] == written
    first = (folder / written).read_bytes()
    again = seedsweep("evidence", campaign_id)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"seedsweep-evidence/{campaign_id}" in again.stderr
    assert (folder / written).read_bytes() == first


def test_report_overwrites_its_own_page_and_no_other(seedsweep, campaign_id, folder):
    assert seedsweep("report", campaign_id, "-o", "page").returncode == 0
    assert seedsweep("report", campaign_id, "-o", "page").returncode == 0
    (folder / "page" / "index.html").write_text("<title>my home</title>")
    refused = seedsweep("report", campaign_id, "-o", "page")
    assert refused.returncode == 2
    assert "page/index.html is no page of seedsweep" in refused.stderr
    assert (folder / "page" / "index.html").read_text() == "<title>my home</title>"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("seeds = 4", "seedz = 4", ["sampling.seedz", "seeds"]),
        ("seeds = 4", 'seeds = "4"', ["sampling.seeds", "'4'"]),
        ("seeds = 4", "seeds = 0", ["sampling.seeds", "greater than or equal to 1"]),
        ('name = "small"', "", ["name is missing"]),
        ('name = "small"', 'name = "../up"', ["name", "../up"]),
        ("prompts.txt", "nowhere.txt", ["nowhere.txt"]),
        ('pipeline = "noise"', 'path = "./nowhere"', ["./nowhere"]),
        ('pipeline = "noise"', "", ["model.path is missing"]),
        ("[analysis]", "[analysis", ["not TOML"]),
        ("min_clique_size = 2", "min_clique_size = 1", ["analysis.min_clique_size"]),
        ("[analysis]", '[verification]\ntraining_set = "no.parquet"\n[analysis]', ["no.parquet"]),
    ],
)
def test_a_wrong_campaign_file_is_refused_in_one_sentence(seedsweep, folder, before, after, words):
    (folder / "campaign.toml").write_text(CAMPAIGN.replace(before, after))
    for command in ("run", "plan"):
        assert refused(seedsweep(command, "campaign.toml", HF_HUB_OFFLINE="1"), *words)
    assert not (folder / "seedsweep-data").exists()


def test_no_prompts_are_refused(seedsweep, folder):
    (folder / "prompts.txt").write_text("\n  \n")
    assert refused(seedsweep("run", "campaign.toml"), "prompts.txt", "no prompt")


def test_a_missing_campaign_file_is_refused(seedsweep):
    assert refused(seedsweep("run", "nowhere.toml"), "nowhere.toml")


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


@pytest.mark.parametrize("command", ["scheduler", "worker", "analyst", "workers"])
def test_a_service_without_a_broker_says_which_variable_is_missing(seedsweep, command):
    assert refused(seedsweep(command), "SEEDSWEEP_BROKER_URL")


def test_settings_that_make_no_sense_are_refused_by_analyse(seedsweep, campaign_id):
    wrong = seedsweep("analyse", campaign_id, "--edge-threshold", "-1")
    assert refused(wrong, "edge_threshold")
    wrong = seedsweep("analyse", campaign_id, "--min-clique-size", "5")
    assert refused(wrong, "min_clique_size = 5", "more than the 4 seeds")
    wrong = seedsweep("analyse", campaign_id, "--verification-threshold", "0.1")
    assert refused(wrong, "verification")


class TestSubmit:
    def test_the_id_is_all_of_stdout_and_the_same_file_gives_the_same(self, seedsweep, store):
        first, second = (seedsweep("submit", "campaign.toml") for _ in range(2))
        (campaign_id,) = list_campaigns(store)
        assert (first.returncode, second.returncode) == (0, 0)
        assert first.stdout == second.stdout == f"{campaign_id}\n"
        assert "3 prompts, 12 images, 6 units" in first.stderr
        assert "resume" not in second.stderr

    def test_if_reading_takes_long_it_says_what_it_does(self, seedsweep, monkeypatch):
        monkeypatch.setattr(progress_bars, "NOTICE_SECONDS", 0.0)
        done = seedsweep("submit", "campaign.toml")
        assert done.stderr.startswith("The model and the prompts are read …\n")

    def test_without_a_broker_nobody_is_promised_to_take_it_up(self, seedsweep, store):
        done = seedsweep("submit", "campaign.toml")
        for told in (f"saved in {store.url}", "No scheduler is known", "SEEDSWEEP_BROKER_URL"):
            assert told in done.stderr
        assert "within seconds" not in done.stderr

    def test_a_broker_that_is_away_is_said_to_be(self, seedsweep, store, away):
        done = seedsweep("submit", "campaign.toml", SEEDSWEEP_BROKER_URL=away)
        assert done.returncode == 0
        assert "once the broker answers. The broker" in done.stderr
        assert list_campaigns(store) == [done.stdout.strip()]

    def test_a_scheduler_takes_it_up_if_one_leads(self, seedsweep, broker_url):
        alone = seedsweep("submit", "campaign.toml", SEEDSWEEP_BROKER_URL=broker_url)
        assert "no scheduler leads now" in alone.stderr
        Workforce(broker_url).lead()
        led = seedsweep("submit", "campaign.toml", SEEDSWEEP_BROKER_URL=broker_url)
        assert "a scheduler takes it up within seconds." in led.stderr

    @pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("cancel", "cancelled")])
    def test_a_campaign_that_rests_is_said_to_and_stays_so(self, seedsweep, store, command, state):
        campaign_id = seedsweep("submit", "campaign.toml").stdout.strip()
        seedsweep(command, campaign_id)
        again = seedsweep("submit", "campaign.toml")
        assert state in again.stderr
        assert f"seedsweep resume {campaign_id}" in again.stderr
        assert again.stdout == f"{campaign_id}\n"
        assert load_control(store, campaign_id).state == state

    def test_a_model_without_files_cannot_be_staged_and_nothing_is_stored(self, seedsweep, store):
        assert refused(seedsweep("submit", "campaign.toml", "--stage-model"), "--stage-model")
        assert list(store.list("")) == []


STEERING = [
    ("pause", "active", "paused"),
    ("cancel", "active", "cancelled"),
    ("cancel", "paused", "cancelled"),
    ("resume", "paused", "active"),
    ("resume", "cancelled", "active"),
]


@pytest.mark.parametrize(("command", "before", "after"), STEERING)
class TestSteering:
    @pytest.fixture(autouse=True)
    def _before(self, store, campaign_id, before):
        store_control(store, campaign_id, Control(state=before))

    def test_a_broker_is_told_at_once(
        self, seedsweep, campaign_id, store, ledger, restore, broker_url, command, before, after
    ):
        restore()
        assert ledger.counts(campaign_id).state == before
        done = seedsweep(command, campaign_id, SEEDSWEEP_BROKER_URL=broker_url)
        assert (done.returncode, done.stdout) == (0, "")
        assert {"active": "goes on now"}.get(after, f"is {after} now") in done.stderr
        assert ledger.counts(campaign_id).state == after
        assert load_control(store, campaign_id).state == after
        (campaign,) = json.loads(seedsweep("status", "--json").stdout)
        assert campaign["state"] == {"active": "queued"}.get(after, after)

    @pytest.mark.parametrize("is_named", [False, True])
    def test_without_an_answering_broker_it_is_stored_for_the_scheduler(
        self, seedsweep, campaign_id, store, away, command, before, after, is_named
    ):
        environment = {"SEEDSWEEP_BROKER_URL": away} if is_named else {}
        done = seedsweep(command, campaign_id, **environment)
        assert (done.returncode, done.stdout) == (0, "")
        wanted = {"active": "is to go on"}.get(after, f"is to be {after}")
        assert f"{wanted}. Saved. It takes effect when a scheduler next" in done.stderr
        assert load_control(store, campaign_id).state == after
        (campaign,) = json.loads(seedsweep("status", "--json").stdout)
        assert campaign["state"] == {"active": "queued"}.get(after, after)


class TestSteeringInVain:
    @pytest.fixture
    def finish(self, store, campaign_id, shards, restore):
        """Analyse all that is made; the broker is told of it if somebody serves."""

        def finish(is_served):
            campaign = load_campaign(store, campaign_id).campaign
            results = [make_result(prompt=prompt, seeds=4) for prompt in ("a cat", "an owl")]
            results.append(make_flagged(prompt="a <b>dog</b>", seeds=4))
            store_results(store, campaign.analysis_id, campaign_id, results)
            if is_served:
                restore()

        return finish

    def test_what_is_so_already_is_said_to_have_been(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="paused"))
        assert "was paused already" in seedsweep("pause", campaign_id).stderr
        assert "was" not in seedsweep("resume", campaign_id).stderr
        assert "was neither paused nor cancelled" in seedsweep("resume", campaign_id).stderr

    def test_what_is_cancelled_is_not_paused(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="cancelled"))
        ended = seedsweep("pause", campaign_id)
        assert refused(ended, "cancelled", f"seedsweep resume {campaign_id}")
        assert load_control(store, campaign_id).state == "cancelled"

    @pytest.mark.parametrize("state", ["paused", "cancelled"])
    def test_results_of_what_rests_say_so_unless_nothing_is_left(
        self, seedsweep, campaign_id, store, finish, state
    ):
        said = f"The campaign is {state}; `seedsweep resume {campaign_id}` lets it go on."
        assert said not in seedsweep("results", campaign_id).stdout
        store_control(store, campaign_id, Control(state=state))
        assert said in " ".join(seedsweep("results", campaign_id).stdout.split())
        finish(False)
        assert said not in " ".join(seedsweep("results", campaign_id).stdout.split())

    @pytest.mark.parametrize("command", ["pause", "resume", "cancel"])
    @pytest.mark.parametrize("is_served", [False, True])
    def test_a_campaign_that_is_done_stays_so(
        self, seedsweep, campaign_id, store, ledger, finish, broker_url, command, is_served
    ):
        finish(is_served)
        environment = {"SEEDSWEEP_BROKER_URL": broker_url} if is_served else {}
        done = seedsweep(command, campaign_id, **environment)
        assert done.returncode == 0
        assert "is done already; nothing was changed." in done.stderr
        assert load_control(store, campaign_id) == Control()
        (campaign,) = json.loads(seedsweep("status", "--json").stdout)
        assert campaign["state"] == "done"


class TestPrioritising:
    def test_what_is_given_is_stored_and_the_rest_stays(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="paused", weight=3))
        done = seedsweep("prioritise", campaign_id, "--priority", "2")
        assert "priority 2 and weight 3" in done.stderr
        assert load_control(store, campaign_id) == Control(state="paused", priority=2, weight=3)

    def test_without_a_change_it_is_refused(self, seedsweep, campaign_id):
        assert refused(seedsweep("prioritise", campaign_id), "--priority", "--weight")

    @pytest.mark.parametrize("wrong", [("--weight", "0"), ("--priority", "9999")])
    def test_what_is_out_of_range_is_refused(self, seedsweep, campaign_id, store, wrong):
        assert seedsweep("prioritise", campaign_id, *wrong).returncode == 2
        assert load_control(store, campaign_id) == Control()

    def test_an_unknown_campaign_is_refused(self, seedsweep, campaign_id):
        assert refused(seedsweep("prioritise", "other", "--priority", "1"), "other", campaign_id)

    def test_a_campaign_can_be_submitted_with_both(self, seedsweep, store):
        done = seedsweep("submit", "campaign.toml", "--priority", "-1", "--weight", "0.5")
        control = load_control(store, done.stdout.strip())
        assert control == Control(priority=-1, weight=0.5)


class TestRetrying:
    """`resume --failed` on a campaign of six units, two a prompt; units 1 and 4 are parked."""

    @pytest.fixture(autouse=True)
    def _parked(self, store, campaign_id):
        plan = load_plan(store, load_campaign(store, campaign_id))
        for index in (1, 4):
            park_unit(store, plan, index, "It broke.")

    @pytest.fixture
    def settle(self, ledger, campaign_id, restore):
        """Make all other units and analyse every prompt, on the broker alone."""

        def settle():
            restore()
            for index in (0, 2, 3, 5):
                ledger.complete(campaign_id, index)
            for prompt in ledger.take_ready(campaign_id, 3):
                ledger.analysed(campaign_id, prompt, flagged=False)
            assert ledger.counts(campaign_id).settled

        return settle

    def test_parked_units_of_a_campaign_that_is_done_are_open_and_their_prompts_judged_again(
        self, seedsweep, campaign_id, store, ledger, settle, broker_url
    ):
        settle()
        done = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert (done.returncode, done.stdout) == (0, "")
        assert f"2 parked units of {campaign_id} are tried again now" in done.stderr
        assert load_parked(store, campaign_id) == []
        counts = ledger.counts(campaign_id)
        assert (counts.parked, counts.done, counts.analysed) == (0, 4, 1)
        assert sorted(ledger.issue(campaign_id, 6)[1]) == [1, 4]
        ledger.complete(campaign_id, 1)
        ledger.complete(campaign_id, 4)
        assert sorted(ledger.take_ready(campaign_id, 3)) == [0, 2]

    def test_a_paused_campaign_goes_on(
        self, seedsweep, campaign_id, store, ledger, restore, broker_url
    ):
        store_control(store, campaign_id, Control(state="paused"))
        restore()
        seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert load_control(store, campaign_id).state == "active"
        assert ledger.counts(campaign_id).state == "active"
        assert sorted(ledger.issue(campaign_id, 6)[1]) == [0, 1, 2, 3, 4, 5]

    def test_a_cancelled_campaign_is_left_alone(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="cancelled"))
        ended = seedsweep("resume", campaign_id, "--failed")
        assert refused(ended, "cancelled", f"seedsweep resume {campaign_id}")
        assert load_control(store, campaign_id).state == "cancelled"
        assert len(load_parked(store, campaign_id)) == 2

    @pytest.mark.parametrize("is_named", [False, True])
    def test_without_an_answering_broker_the_next_run_finds_them_open(
        self, seedsweep, campaign_id, store, away, is_named
    ):
        environment = {"SEEDSWEEP_BROKER_URL": away} if is_named else {}
        done = seedsweep("resume", campaign_id, "--failed", **environment)
        assert (done.returncode, done.stdout) == (0, "")
        assert "2 parked units" in done.stderr
        assert "when it is run again" in done.stderr
        plan = load_plan(store, load_campaign(store, campaign_id))
        assert restore_state(store, plan).parked == frozenset()

    def test_said_again_it_tells_a_broker_that_was_away(
        self, seedsweep, campaign_id, ledger, settle, broker_url, away
    ):
        settle()
        seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=away)
        assert ledger.counts(campaign_id).parked == 2
        again = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert "2 parked units" in again.stderr
        assert ledger.counts(campaign_id).parked == 0

    def test_where_none_is_parked_it_says_so(
        self, seedsweep, campaign_id, ledger, settle, broker_url
    ):
        settle()
        seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        again = seedsweep("resume", campaign_id, "--failed")
        assert again.returncode == 0
        assert f"No unit of {campaign_id} is parked" in again.stderr

    def test_a_parked_unit_that_was_stored_after_all_is_not_tried_again(
        self, seedsweep, campaign_id, store, shards, ledger, restore, broker_url
    ):
        restore()
        done = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert "No unit" in done.stderr
        assert ledger.counts(campaign_id).done == 6
        assert load_parked(store, campaign_id) == []


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "check"])
def test_an_unknown_campaign_cannot_be_steered_or_checked(seedsweep, campaign_id, store, command):
    before = list(store.list(""))
    assert refused(seedsweep(command, "other"), "other", campaign_id)
    assert list(store.list("")) == before


class TestStatus:
    def test_scripts_get_every_field_that_was_promised(self, seedsweep, campaign_id):
        (campaign,) = json.loads(seedsweep("status", campaign_id, "--json").stdout)
        promised = {"id", "name", "state", "units", "units_done", "units_parked", "images"}
        promised |= {"prompts", "prompts_analysed", "flagged", "images_done", "stuck"}
        assert promised <= campaign.keys()
        assert campaign["stuck"] == []

    def test_a_broker_that_refuses_the_password_is_not_said_to_be_absent(
        self, seedsweep, campaign_id, broker_url
    ):
        where = urlsplit(broker_url)
        wrong = f"redis://:wr0ng@{where.hostname}:{where.port}/0"
        shown = seedsweep("status", SEEDSWEEP_BROKER_URL=wrong)
        assert (shown.returncode, campaign_id in shown.stdout) == (0, True)
        refused = seedsweep("workers", SEEDSWEEP_BROKER_URL=wrong)
        assert refused.returncode == 2
        for said in (shown.stdout, refused.stderr):
            assert "invalid username-password pair" in " ".join(said.split())
            assert "wr0ng" not in said

    def test_counts_are_the_brokers_until_it_forgets(
        self, seedsweep, campaign_id, ledger, restore, broker, broker_url
    ):
        """The broker counts two units whose shards are not in the store."""
        restore()
        ledger.complete(campaign_id, 0)
        ledger.complete(campaign_id, 4)

        def counts():
            finished = seedsweep("status", "--json", SEEDSWEEP_BROKER_URL=broker_url)
            (campaign,) = json.loads(finished.stdout)
            return campaign["units_done"], campaign["images_done"], campaign["state"]

        assert counts() == (2, 4, "stopped")
        assert "2/6" in seedsweep("status").stdout
        assert "No scheduler leads" in seedsweep("status").stdout
        broker.flushall()
        assert counts() == (0, 0, "queued")

    def test_watching_is_for_people(self, seedsweep, campaign_id):
        assert refused(seedsweep("status", "--watch", "--json"), "--watch")

    def test_in_a_log_watching_prints_what_changed_until_ctrl_c(
        self, folder, store, campaign_id, wait_until, monkeypatch
    ):
        code = (
            "import signal; from seedsweep.cli import main as command_line, status_table;"
            "status_table.LOG_SECONDS = 0.01;"
            # Whoever runs the tests in a shell's background has SIGINT ignored for all of them.
            "signal.signal(signal.SIGINT, signal.default_int_handler); command_line.main()"
        )
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        command = [sys.executable, "-c", code, "status", "--watch"]
        watching = Process(command, folder, None, folder / "log")  # in our environment
        for state, then in [("queued", "paused"), ("paused", "cancelled"), ("cancelled", None)]:
            wait_until(lambda word=f" {state} ": word in watching.log.read_text(), timeout=30)
            if then:
                store_control(store, campaign_id, Control(state=then))
        assert watching.log.read_text().count(campaign_id) == 3
        os.kill(watching.pid, signal.SIGINT)
        wait_until(lambda: not watching.is_running)
        assert watching.stop() == 0
        assert "Traceback" not in watching.log.read_text()


class TestCheck:
    def test_a_sound_campaign_passes(self, seedsweep, campaign_id, shards):
        passed = seedsweep("check", campaign_id)
        assert passed.returncode == 0
        assert "6 of 6 units stored, 12 images" in passed.stdout
        checkup = json.loads(seedsweep("check", campaign_id, "--json").stdout)
        assert (checkup["stored"], checkup["corrupt"], checkup["holes"]) == (6, [], [])

    def test_a_corrupt_shard_is_named_and_made_again_only_on_demand(
        self, seedsweep, campaign_id, store, shards
    ):
        store.replace(shards[3], b"")
        found = seedsweep("check", campaign_id)
        assert found.returncode == 1
        assert shards[3] in found.stdout
        assert "--repair" in found.stderr
        found = seedsweep("check", campaign_id, "--json")
        assert found.returncode == 1
        assert [fault["index"] for fault in json.loads(found.stdout)["corrupt"]] == [3]
        assert store.exists(shards[3])
        repaired = seedsweep("check", campaign_id, "--repair")
        assert repaired.returncode == 0
        assert "1 unit is made again when the campaign is run again" in repaired.stderr
        assert [key for key in shards if not store.exists(key)] == [shards[3]]
        assert seedsweep("check", campaign_id).returncode == 0

    def test_with_a_broker_holes_are_found_and_workers_make_all_again(
        self, seedsweep, campaign_id, store, shards, ledger, restore, broker_url
    ):
        restore()
        store.replace(shards[3], b"")
        store.delete(shards[5])
        found = seedsweep("check", campaign_id, SEEDSWEEP_BROKER_URL=broker_url)
        assert found.returncode == 1
        assert "Unit 5: counted as done" in found.stdout
        assert ledger.counts(campaign_id).done == 6
        repaired = seedsweep("check", campaign_id, "--repair")
        assert repaired.returncode == 0
        assert "2 units are made again by the running workers" in repaired.stderr
        assert ledger.counts(campaign_id).done == 4
        assert sorted(ledger.issue(campaign_id, 6)[1]) == [3, 5]

    def test_a_broker_that_is_away_is_said_and_nothing_is_deleted(
        self, seedsweep, campaign_id, store, shards, away
    ):
        store.replace(shards[3], b"")
        ended = seedsweep("check", campaign_id, "--repair", SEEDSWEEP_BROKER_URL=away)
        assert ended.returncode == 3
        assert store.exists(shards[3])


class TestWorkers:
    def test_live_and_lost_ones_are_shown(self, seedsweep, workforce, broker, broker_url):
        said = {"host": "gpu1", "device": "cpu", "model": "m", "images": 7}
        beating = [Worker(name=name, images_per_second=1.5, **said) for name in ("here", "gone")]
        for worker in beating:
            workforce.beat(worker)
        broker.zadd("seedsweep:beats", {"gone": broker.time()[0] * 1000 - 60_000})
        shown = seedsweep("workers", SEEDSWEEP_BROKER_URL=broker_url)
        assert shown.returncode == 0
        assert "no scheduler leads; 0 analysts and 1 worker live." in shown.stdout
        lost = [line for line in shown.stdout.splitlines() if "lost" in line]
        assert ["gone" in line for line in lost] == [True]
        gone, here = json.loads(seedsweep("workers", "--json").stdout)
        assert here["worker"] == beating[0].model_dump()
        assert gone["worker"]["name"] == "gone"
        assert gone["seconds_ago"] == pytest.approx(60, abs=5)
        assert here["seconds_ago"] < 5
        assert (here["alive"], gone["alive"]) == (True, False)

    def test_a_broker_that_is_away_is_said_with_its_own_exit_code(self, seedsweep, away):
        ended = seedsweep("workers", SEEDSWEEP_BROKER_URL=away)
        assert (ended.returncode, ended.stdout) == (3, "")
        assert len(ended.stderr.splitlines()) == 1


class TestDoctor:
    @pytest.fixture
    def without_ray(self, monkeypatch):
        """Ray takes seconds to look at."""
        monkeypatch.setattr(checks, "_ray", lambda address: iter(()))

    def test_where_all_is_well_it_ends_with_0(self, seedsweep, broker_url, monkeypatch):
        fine = Diagnosis("Ray", "fine", "It is looked at in test_checks.")
        monkeypatch.setattr(checks, "_ray", lambda address: iter([fine]))
        ended = seedsweep("doctor", "campaign.toml", "--json", SEEDSWEEP_BROKER_URL=broker_url)
        diagnoses = json.loads(ended.stdout)
        assert ended.returncode == 0, diagnoses
        assert {"broker", "store", "Ray", "devices", "model"} <= {f["about"] for f in diagnoses}
        assert not [f for f in diagnoses if f["verdict"] == "failure"]

    @pytest.mark.usefixtures("without_ray")
    def test_a_broker_that_is_away_ends_it_with_3(self, seedsweep, away):
        ended = seedsweep("doctor", "--json", SEEDSWEEP_BROKER_URL=away)
        (failed,) = [f for f in json.loads(ended.stdout) if f["verdict"] == "failure"]
        assert (failed["about"], failed["unreachable"]) == ("broker", True)
        assert ended.returncode == 3
        assert "FAILURE  broker:" in seedsweep("doctor").stdout

    @pytest.mark.usefixtures("without_ray")
    def test_a_kind_of_store_that_does_not_exist_ends_it_with_2(self, seedsweep, broker_url):
        where = {"SEEDSWEEP_BROKER_URL": broker_url, "SEEDSWEEP_STORE_URL": "ftp://somewhere"}
        ended = seedsweep("doctor", "--json", **where)
        failed = [f for f in json.loads(ended.stdout) if f["verdict"] == "failure"]
        assert "store" in {f["about"] for f in failed}
        assert ended.returncode == 2


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
