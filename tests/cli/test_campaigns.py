import json
import os
import subprocess
import sys

import pytest

from seedsweep.cli import progress_bars
from seedsweep.storage.campaigns import list_campaigns, load_campaign, load_control
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation import throughput
from seedsweep.workers.pipelines import prompt_tokens
from tests.support.checkout import ROOT
from tests.support.command_line import CAMPAIGN, refused
from tests.support.model_folders import safetensors
from tests.support.tiny_model import save_tiny_model


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

    def test_it_says_which_texts_have_control_characters(self, seedsweep, folder):
        (folder / "prompts.txt").write_text("a \x1b[1mcat\n")
        plan = ["plan", "campaign.toml", "--images-per-second", "2"]
        assert "Control characters, which no one sees, stand in 1 prompt" in (
            " ".join(seedsweep(*plan).stdout.split())
        )
        rows = json.loads(seedsweep(*plan, "--json").stdout)["rows"]
        assert rows["controls"] == {"prompt": 1}

    @pytest.fixture
    def lacking(self, tiny, monkeypatch):
        """The model's tokenizer needs a package that this machine lacks."""
        opened = prompt_tokens.part_class

        class Lacking:
            def from_pretrained(*arguments, **options):
                raise ImportError("A requires the Torchvision library but it was not found.")

        monkeypatch.setattr(
            prompt_tokens,
            "part_class",
            lambda library, name: Lacking if "Tokenizer" in name else opened(library, name),
        )

    def test_a_package_that_only_workers_have_keeps_no_campaign_from_them(
        self, seedsweep, lacking, store
    ):
        submitted = seedsweep("submit", "campaign.toml")
        assert submitted.returncode == 0
        said = (
            "needs the package torchvision, which the machine that submits lacks. Every worker's "
            "host needs it: pip install torchvision."
        )
        assert said in " ".join(submitted.stderr.split())
        submission = load_campaign(store, submitted.stdout.strip())
        assert submission.unseen is None
        assert [said in note for note in submission.notes] == [True]
        rate_is_given = seedsweep("plan", "campaign.toml", "--images-per-second", "2")
        assert said in " ".join(rate_is_given.stdout.split())
        for command in ("run", "plan"):
            ended = seedsweep(command, "campaign.toml")
            assert refused(ended, "package torchvision, which is not here", "pip install")
        assert len(list_campaigns(store)) == 1

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
