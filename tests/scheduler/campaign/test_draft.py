"""`seedsweep init`: what it writes is a campaign, and says what the ingredients tell."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import Sampling
from tests.support.commands import seedsweep_here
from tests.support.model_folders import put, save_folder
from tests.support.pictures import data_of, drawings, write_parquet

TABLES = {
    "one.txt": ("a fox\nan owl\n", None),
    "one.csv": ("anything\na fox\nan owl\n", None),
    "several.csv": ("id,Caption,seed\n1,a fox,5\n2,an owl,6\n", "Caption"),
    "upper.tsv": ("URL\tTEXT\nx\ta fox\ny\tan owl\n", "TEXT"),
    "both.jsonl": ('{"prompt": "a fox", "text": "x"}\n{"prompt": "an owl", "text": "x"}', "prompt"),
}


@pytest.fixture
def desk(tmp_path):
    """A folder with a model whose denoiser says the size of its pictures, and some prompts."""
    save_folder(tmp_path / "my model")
    put(tmp_path / "my model", "unet/config.json", json.dumps({"sample_size": 8}))
    (tmp_path / "prompts.txt").write_text("a fox\nan owl\n")
    return tmp_path


@pytest.fixture
def init(desk):
    """Run the command there."""

    def run(*arguments, model="my model"):
        return seedsweep_here("init", model, *arguments, folder=desk, environment={})

    return run


@pytest.mark.parametrize(("name", "text", "column"), [(n, *t) for n, t in TABLES.items()])
def test_it_names_the_column_that_is_called_as_prompts_are(init, desk, name, text, column):
    (desk / name).write_text(text)
    ended = init("--prompts", name)
    assert (ended.returncode, ended.stdout) == (0, "campaign.toml\n"), ended.stderr
    assert f"Prompts: 2 from {name}" in ended.stderr.replace(f"{desk}/", "")
    assert "Pictures: 64 × 64 pixels" in ended.stderr  # noqa: RUF001
    campaign, prompts, _ = read_campaign(desk / "campaign.toml")
    assert prompts == ["a fox", "an owl"]
    assert campaign.prompts.column == column
    assert campaign.name == "my-model"
    assert campaign.sampling == Sampling(width=64, height=64)
    assert (campaign.analysis, campaign.verification) == (Analysis(), None)


@pytest.mark.parametrize("between", [";", "\t", "|"])
@pytest.mark.parametrize(("column", "option"), [("Prompt", ()), ("Bildtext", ("--column",))])
def test_it_sees_what_stands_between_the_cells(init, desk, between, column, option):
    rows = [("id", column, "note"), ("1", "a fox, red", ""), ("2", "an owl", "x")]
    text = "".join(f"{between.join(row)}\r\n" for row in rows)
    (desk / "list.csv").write_text(text, encoding="utf-8-sig")
    ended = init("--prompts", "list.csv", *option, *([column] if option else []))
    assert ended.returncode == 0, ended.stderr
    campaign, prompts, _ = read_campaign(desk / "campaign.toml")
    assert prompts == ["a fox, red", "an owl"]
    assert (campaign.prompts.column, campaign.prompts.delimiter) == (column, between)


def test_without_prompts_they_are_the_captions_of_the_training_set(init, desk):
    write_parquet(
        desk / "train.parquet", [*map(data_of, drawings(2, 64))], caption=["a fox", "an owl"]
    )
    assert init("--training-set", "train.parquet", "-o", "c.toml").returncode == 0
    campaign, prompts, _ = read_campaign(desk / "c.toml")
    assert prompts == ["a fox", "an owl"]
    assert campaign.verification.training_set == str(desk / "train.parquet")


def test_paths_lead_from_the_file_and_not_from_where_the_command_was_run(init, desk):
    (desk / "campaigns").mkdir()
    assert init("--prompts", "prompts.txt", "-o", "campaigns/a.toml").returncode == 0
    campaign, _, _ = read_campaign(desk / "campaigns" / "a.toml")
    assert campaign.model.path == str(desk / "my model")


@pytest.mark.parametrize(
    "name", ["Zoë's", 'said "hi"', "back\\slash", "a\x7fb", "tab\tnl\n", "…", "-"]
)
def test_a_model_of_any_name_is_written_as_it_is_called(init, desk, name):
    (desk / "my model").rename(desk / name)
    ended = init("--prompts", "prompts.txt", model=f"./{name}")
    assert ended.returncode == 0, ended.stderr
    campaign, _, _ = read_campaign(desk / "campaign.toml")
    assert campaign.model.path == str(desk / name)


@pytest.mark.parametrize(
    "config", ["{}", '{"sample_size": [8, 8, 8]}', '{"sample_size": true}', "[1"]
)
def test_a_model_that_does_not_say_its_size_gets_the_default(init, desk, config):
    put(desk / "my model", "unet/config.json", config)
    ended = init("--prompts", "prompts.txt")
    if ended.returncode == 0:
        assert read_campaign(desk / "campaign.toml")[0].sampling == Sampling()
    else:
        assert "has no config.json that can be read" in ended.stderr


def test_the_captions_of_an_image_folder_are_prompts_and_skipped_rows_are_told(init, desk):
    put(desk, "train/1.png", data_of(drawings(1, 9)[0]))
    put(desk, "train/metadata.csv", "file_name,text\n1.png,a fox\n2.png,\n3.png,a fox\n")
    ended = init("--training-set", "train")
    assert ended.returncode == 0, ended.stderr
    assert "Prompts: 1 from" in ended.stderr
    assert "3 read; skipped 1 without a text, 0 blank, 1 repeated." in ended.stderr
    campaign = read_campaign(desk / "campaign.toml")[0]
    assert campaign.prompts.file.endswith("train/metadata.csv")
    assert campaign.verification.training_set.endswith("train")


def test_numbers_for_a_first_try_stand_beside_the_defaults(init, desk):
    assert init("--prompts", "prompts.txt").returncode == 0
    text = (desk / "campaign.toml").read_text()
    assert "For a first try: 32.\nseeds = 500\n" in text
    assert "For a first try, with 32 seeds: 4.\nmin_clique_size = 10\n" in text


def test_it_overwrites_nothing(init, desk):
    (desk / "campaign.toml").write_text("mine")
    ended = init("--prompts", "prompts.txt")
    assert ended.returncode == 2
    assert ended.stderr == "campaign.toml is there already; name another file with -o.\n"
    assert (desk / "campaign.toml").read_text() == "mine"


def refusals(desk):
    (desk / "empty.txt").write_text("")
    (desk / "two.csv").write_text("a,b\nx,y\n")
    (desk / "german.csv").write_text("id;Bildtext\n1;ein Fuchs\n")
    pq.write_table(pa.table({"image": [b"\xff\xd8\xff"]}), desk / "bare.parquet")
    (desk / "weights").mkdir()
    return {
        (): "There are no prompts; name a file of them with --prompts.",
        ("--training-set", "weights"): "are neither in one Parquet file nor in a metadata.csv",
        ("--training-set", "bare.parquet"): "cannot be read (Invalid UTF8 payload)",
        ("--prompts", "none.txt"): "there is no such file",
        ("--prompts", "empty.txt"): "holds no prompt; add some.",
        ("--prompts", "two.csv"): "name one of ['a', 'b'] with --column.",
        ("--prompts", "two.csv", "--column", "c"): "name one of ['a', 'b'] with --column.",
        ("--prompts", "german.csv"): "name one of ['id', 'Bildtext'] with --column.",
        ("--prompts", "prompts.txt", "--training-set", "none"): "No such file or directory",
        ("--prompts", "prompts.txt", "-o", "no/such/folder.toml"): "cannot be written",
    }


def test_what_cannot_become_a_campaign_is_refused_and_no_file_is_left(init, desk):
    for arguments, said in refusals(desk).items():
        ended = init(*arguments)
        assert ended.returncode == 2, arguments
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert said in ended.stderr
        assert not list(desk.glob("**/*.toml"))


def test_a_model_that_is_no_pipeline_is_refused(init, desk):
    (desk / "my model" / "model_index.json").unlink()
    ended = init("--prompts", "prompts.txt")
    assert ended.returncode == 2
    assert "holds no diffusers pipeline" in ended.stderr
