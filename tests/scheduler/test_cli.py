import csv
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import scheduler.cli
from scheduler.submission import plan_campaign, submit_campaign
from storage.records import PromptResult
from storage.results import store_results
from storage.store import FolderStore

COMMANDS = [
    command.name or command.callback.__name__ for command in scheduler.cli.app.registered_commands
]
HEAVY = ["torch", "diffusers", "transformers", "ray", "celery", "cv2", "pyarrow", "pandas"]

CAMPAIGN = """
name = "small"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = 4
width = 8
height = 8
images_per_unit = 2
[analysis]
min_clique_size = 2
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a campaign of three prompts."""
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    (tmp_path / "prompts.txt").write_text("a cat\na <b>dog</b>\nan owl\n")
    return tmp_path


@pytest.fixture
def seedsweep(folder, monkeypatch, capsys):
    """Run the command line in the campaign's folder; returns code and output as a shell would."""

    def run(*arguments, **environment):
        monkeypatch.chdir(folder)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["seedsweep", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            scheduler.cli.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def campaign_id(folder):
    """A submitted campaign with one flagged prompt."""
    from scheduler.campaign import read_campaign

    store = FolderStore(folder / "seedsweep-data")
    campaign, prompts = read_campaign(folder / "campaign.toml")
    submit_campaign(store, plan_campaign(store, campaign, prompts))
    flagged = PromptResult(
        prompt_id="0" * 16,
        prompt="a <b>dog</b>",
        seeds=4,
        seeds_digest="",
        excluded=0,
        edges=1,
        clique_size=2,
        clique_seeds=(1, 3),
        clique_proven=True,
        clique_upper_bound=2,
        mean_distance=0.01,
        flagged=True,
        representative_seed=1,
        match=None,
    )
    store_results(store, campaign.analysis_id, campaign.campaign_id, [flagged])
    return campaign.campaign_id


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
def test_every_commands_help_has_an_example(command):
    shown = CliRunner().invoke(scheduler.cli.app, [command, "--help"]).output
    assert f"Example: seedsweep {command}" in shown


def test_help_imports_nothing_heavy():
    code = (
        "import sys, scheduler.cli; from typer.testing import CliRunner; "
        "CliRunner().invoke(scheduler.cli.app, ['--help']); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert set(HEAVY).isdisjoint(loaded)


def test_plan_says_what_is_to_be_made_and_writes_nothing(seedsweep, folder):
    finished = seedsweep("plan", "campaign.toml", "--json", "--images-per-second", "2")
    plan = json.loads(finished.stdout)
    assert (plan["prompts"], plan["units"], plan["images"]) == (3, 6, 12)
    assert (plan["units_done"], plan["images_done"]) == (0, 0)
    assert plan["hours"] == pytest.approx(12 / 2 / 3600)
    assert not (folder / "seedsweep-data").exists()
    assert "12" in seedsweep("plan", "campaign.toml").stdout


def test_status_needs_only_the_store(seedsweep, campaign_id, free_port):
    away = f"redis://127.0.0.1:{free_port()}/0"
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
    assert refused(seedsweep("status", "--store", "ftp://somewhere"), "ftp://somewhere")


def test_a_worker_without_a_broker_says_which_variable_is_missing(seedsweep):
    assert refused(seedsweep("worker"), "SEEDSWEEP_BROKER_URL")


def test_settings_that_make_no_sense_are_refused_by_analyse(seedsweep, campaign_id):
    wrong = seedsweep("analyse", campaign_id, "--edge-threshold", "-1")
    assert refused(wrong, "edge_threshold")
    wrong = seedsweep("analyse", campaign_id, "--verification-threshold", "0.1")
    assert refused(wrong, "verification")
