"""README and docs/ are true to the letter: their commands are run, on a part of the example.

A block of `sh` is run, line by line; one of `bash` wants servers or people, and is only parsed.
"""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command

from deploy.local.__main__ import make_parser
from seedsweep.audit.findings.memories import Memory
from seedsweep.audit.report.csv_export import write_csv
from seedsweep.cli.main import app
from seedsweep.cli.results import print_found
from seedsweep.scheduler.campaign.file import parse_campaign
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import Clique, Drop, Match, Part
from seedsweep.storage.verification_results import PartMatch
from seedsweep.workers.training.embedding_model import EmbeddingSettings
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.results import make_flagged, make_found

EMOJI = ROOT / "examples" / "emoji"
README = (ROOT / "README.md").read_text()
PAGES = {page.stem: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
ALL = "\n".join([README, (ROOT / "deploy" / "README.md").read_text(), *PAGES.values()])
AUDIT = (
    *("getting-started", "results", "verify", "calibrate", "compare", "evidence"),
    *("parts", "known-lists"),
)
"""The pages whose commands go on where those of the page before ended."""
SEEDS = 8
QUICK_START = (
    "python3 -m venv .venv && .venv/bin/pip install -e . "
    "&& .venv/bin/seedsweep run examples/emoji/campaign.toml"
)


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands_of(*names):
    """The lines that the pages have people run, each once, in order."""
    lines = [
        line for name in names for block in blocks("sh", PAGES[name]) for line in block.split("\n")
    ]
    return list(dict.fromkeys(filter(None, lines)))


def chosen_prompts():
    """Three prompts that nearly always repeat their picture, and two that were never trained on."""
    with (EMOJI / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    copied = [row for row in rows if int(row["copies"]) >= 30 and row["group"] == "copies"]
    always = [row["prompt"] for row in copied if row["repeats"] == row["seeds"]]
    # Others repeat pictures of captions that share words with theirs.
    with (EMOJI / "prompts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    never = [row["prompt"] for row in rows if row["group"] == "untrained"]
    return always[:3], never[:2]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder that looks like the repository, with a smaller campaign of the same model, and fewer
    of its training pictures."""
    folder = tmp_path_factory.mktemp("readme")
    emoji = folder / "examples" / "emoji"
    emoji.mkdir(parents=True)
    for name in ("model", "control-pictures.parquet", "untrained.txt", "truth.csv"):
        (emoji / name).symlink_to(EMOJI / name)
    campaign = (EMOJI / "campaign.toml").read_text()
    for before in ("seeds = 32", "images_per_unit = 32", "batch_size = 16"):
        assert before in campaign
        campaign = campaign.replace(before, f"{before.partition('=')[0]}= {SEEDS}")
    (emoji / "campaign.toml").write_text(campaign)
    always, never = chosen_prompts()
    training = pq.read_table(EMOJI / "train.parquet")
    shown = [caption in always for caption in training["caption"].to_pylist()]
    some = pa.concat_tables([training.filter(pa.array(shown)), training.slice(0, 1000)])
    pq.write_table(some, emoji / "train.parquet")
    file = tomllib.loads(campaign)["prompts"]["file"]
    with (emoji / file).open("w", newline="") as written:
        groups = [*((each, "copies") for each in always), *((each, "untrained") for each in never)]
        csv.writer(written).writerows([("prompt", "group"), *groups])
    return folder


def run_command(line, folder, campaign_id, joining_ray):
    """Run a line of the README; a campaign that is run has a Ray of its own, as there."""
    words = [word.replace("ID", campaign_id) for word in shlex.split(line)]
    assert words.pop(0) == "seedsweep"
    ray = {} if words[0] == "run" else joining_ray
    return seedsweep_here(*words, folder=folder, environment={**os.environ, **ray})


def test_the_quick_start_is_two_commands():
    first, second = blocks("sh")[:2]
    assert (first.strip(), second.strip()) == (
        QUICK_START,
        ".venv/bin/seedsweep doctor examples/emoji/campaign.toml",
    )


def test_readme_is_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 800


def is_of_embedding(shown):
    """Whether it is what lies beside a model that embeds pictures."""
    return "mean" in shown


def test_the_campaign_files_shown_are_ones_and_their_parts_are_parts():
    needed = {"name": "a", "model": {}, "prompts": {"file": "prompts.txt"}}
    *campaigns, embedding = sorted(map(tomllib.loads, blocks("toml", ALL)), key=is_of_embedding)
    for shown in campaigns:
        assert parse_campaign(needed | shown, Path("campaign.toml"))
    assert EmbeddingSettings.model_validate(embedding, strict=False)


def test_every_command_that_is_shown_exists_with_its_options():
    commands, local = get_command(app).commands, make_parser()
    found = set()
    for line in "".join([*blocks("bash", ALL), *blocks("sh", ALL)]).splitlines():
        match shlex.split(line, comments=True):
            case ["seedsweep", name, *arguments]:
                commands[name].make_context(name, arguments)
                found.add(name)
            case ["python", "-m", "deploy.local", *arguments]:
                local.parse_args(arguments)
                found.add(f"local {arguments[0]}")
    assert found >= {*commands, "local up", "local down"}


def test_every_field_of_the_results_is_explained(tmp_path, capsys):
    fields = [set(re.findall(r"`(\w+)`", line.split("|")[1]))
              for line in PAGES["results"].splitlines() if line.startswith("| `")]  # fmt: skip
    explained = set().union(*fields)
    part = Part(seeds=(1, 3), whole_seeds=(1,), tiles=(0,), share=0.5, representative_seed=1)
    result = make_flagged(parts=[part])
    print_found(make_found([result], added={result.prompt: (3,)}), as_json=True)
    [element] = json.loads(capsys.readouterr().out)
    records = (Match, PartMatch, Clique, Part, Drop, Memory, Extractions)
    names = {name for record in records for name in record.model_fields}
    file = tmp_path / "results.csv"
    write_csv(make_found([result]), file)
    columns = file.read_text().splitlines()[0].split(",")
    assert explained == {*element, *columns, *names}


def test_every_page_is_in_the_site():
    listed = (ROOT / "mkdocs.yml").read_text()
    assert [name for name in PAGES if f"{name}.md" not in listed] == []


def test_what_stands_below_an_item_of_a_list_is_indented_as_the_site_wants_it():
    """By four, with an empty line before the next item: otherwise the list ends there."""
    for name, page in PAGES.items():
        prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
        assert not re.search(r"\n\n {1,3}\S", prose), name
        assert not re.search(r"\n {4}\w[^\n]*\n(?:- |\d+\. )", prose), name


def test_every_file_that_a_page_links_to_is_there():
    for page in (*ROOT.glob("*.md"), *ROOT.glob("[de]*/**/*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_commands_shown_work_and_find_what_the_model_memorised(desk, joining_ray):
    campaign_id, outputs = "ID", {}
    for line in commands_of(*AUDIT, "campaign-file"):
        finished = run_command(line, desk, campaign_id, joining_ray)
        assert finished.returncode == 0, f"{line}: {finished.stderr}"
        outputs[line] = finished.stdout
        if line.startswith("seedsweep run"):
            campaign_id = finished.stdout.splitlines()[-1]
            assert re.search(r"[\d.]+ images/(s|min) in all", finished.stderr)

    always, never = chosen_prompts()
    results = json.loads(outputs["seedsweep results ID --json"])
    flagged = {r["prompt"]: r for r in results if r["flagged"]}
    assert set(always) <= set(flagged)
    assert set(never).isdisjoint(flagged)
    matches = {prompt: flagged[prompt]["match"] for prompt in always}
    captions = pq.read_table(desk / "examples/emoji/train.parquet", columns=["caption"])[
        "caption"
    ].to_pylist()
    for prompt, match in matches.items():
        assert captions[int(match["training_id"].partition("#")[2])] == prompt
    assert any(match["extracted"] for match in matches.values())
    assert all(prompt in outputs["seedsweep results ID"] for prompt in always)
    assert (desk / "report" / "index.html").is_file()
    assert (desk / "results.csv").is_file()

    (snippet,) = blocks("python", PAGES["getting-started"])
    opened = subprocess.run(
        [sys.executable, "-c", snippet + "\nprint(images['train'].num_rows)"],
        cwd=desk,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(desk / "cache"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert opened.stdout.strip().endswith(str(5 * SEEDS)), opened.stderr
