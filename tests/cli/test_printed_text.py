"""Wherever text of others is looked at it is shown, not obeyed; where programs read it, exact."""

import csv
import dataclasses
import html
import io
import json
import logging
import sys

import pytest

from seedsweep.audit.evidence.findings_page import (
    BundleExtraction,
    BundleFinding,
    findings_page,
    findings_words,
)
from seedsweep.audit.evidence.readme import ReadmeContents, readme
from seedsweep.audit.findings.comparison import Contrast
from seedsweep.audit.findings.counts import count_results
from seedsweep.audit.replay.replay import Replays
from seedsweep.audit.report.comparison_page import render_comparison
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.csv_export import write_csv
from seedsweep.audit.report.duplication_page import render_duplication
from seedsweep.audit.report.report import render_report
from seedsweep.cli import main as command_line
from seedsweep.cli.comparison_tables import print_comparison, print_duplication
from seedsweep.cli.doctor import print_diagnosis
from seedsweep.cli.options import say, show, show_json
from seedsweep.cli.replay_table import print_replays
from seedsweep.cli.results import print_found
from seedsweep.cli.status_table import Overview, print_workers
from seedsweep.cli.store_notice import StoreNotice
from seedsweep.cli.tables import print_checkup, print_results
from seedsweep.cli.verification_table import print_verification
from seedsweep.scheduler.campaign.integrity import Checkup, Fault
from seedsweep.scheduler.campaign.progress import Progress, Services
from seedsweep.scheduler.doctor.diagnosis import Diagnosis
from seedsweep.storage.campaigns import load_campaign, store_parked
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.life_signs import Sign
from seedsweep.storage.prompt_results import Drop, Match
from seedsweep.storage.records import Parked, Prompt, Provenance, Worker
from seedsweep.storage.replay_results import FactDifference, Replay
from seedsweep.storage.verification_results import VerifiedClique
from tests.support.arms import submit
from tests.support.findings import make_comparison, make_duplication, make_search
from tests.support.hostile import HOSTILE, obeyed
from tests.support.results import make_flagged, make_found, make_result

SHOWN = r"\x1b[31mred\x1b]0;title\x07 \u202egnp.exe\u2066 [red]:cat:[/red] \x9b2J\x85"
MATCH = Match(training_id=HOSTILE, l2=0.1, tiled_l2=0.1, adaptive=0.5, extracted=True)
FLAGGED = make_flagged(prompt=HOSTILE, match=MATCH)
WORKER = Worker(
    name=HOSTILE,
    host=HOSTILE,
    device=HOSTILE,
    model=HOSTILE,
    images=1,
    images_per_second=1,
    why_out=HOSTILE,
)
PROGRESS = Progress(
    *("small-0123456789ab", "small", "running", "2026", 6, 3, 2, 0, 6, 6, 3, 3, 1, 0),
    stuck=(HOSTILE,),
)
HERE = Provenance(
    batch_size=1, threads=1, device=HOSTILE, dtype="float32", versions="v", recipe="{}"
)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def campaign_id(store):
    """A campaign whose prompts, training pictures and parked units are named by others."""
    campaign_id = submit(store, "before", {HOSTILE: 4, "b": 0}, {HOSTILE: HOSTILE})
    [cut, *_] = load_campaign(store, campaign_id).cuts
    parked = Parked(
        index=0, prompt_id=Prompt(text=HOSTILE).prompt_id, seeds=cut, reason=f"{HOSTILE} broke"
    )
    store_parked(store, campaign_id, parked)
    return campaign_id


@pytest.fixture
def comparison(store, campaign_id):
    other = submit(store, "after", {HOSTILE: 0, "b": 3})
    found = make_comparison(store, campaign_id, other)
    contrast = Contrast(HOSTILE, HOSTILE, HOSTILE)
    return dataclasses.replace(found, contrasts=(contrast,), notes=(HOSTILE,))


@pytest.fixture
def duplication(store, tmp_path):
    other = submit(store, "copied", {"a": 4, "b": 0, "d": 0, "e": 2})
    found = make_duplication(store, other, tmp_path)
    return dataclasses.replace(found, file=HOSTILE, notes=(HOSTILE,))


def verification(store, campaign_id):
    clique = VerifiedClique(
        prompt_id="0" * 16, prompt=HOSTILE, seed=1, match=MATCH, copies=1, caption=HOSTILE
    )
    return make_search(store, campaign_id, cliques=(clique,), groups=((HOSTILE,),))


def replays():
    difference = FactDifference(fact=HOSTILE, recorded=HOSTILE, here=HOSTILE)
    replay = Replay(
        prompt_id="0" * 16,
        prompt=HOSTILE,
        seed=1,
        sha256="a",
        sha256_here="b",
        distance=None,
        here=HERE,
        differences=(difference,),
    )
    return Replays("small", (replay,))


PRINTED = {
    "results": lambda: print_results(make_found([FLAGGED])),
    "replays": lambda: print_replays(replays()),
    "status": lambda: Overview([PROGRESS], Services(True, (Sign(WORKER, "m", 1),), 1)).print(),
    "no broker": lambda: Overview([], None, HOSTILE).print(),
    "workers": lambda: print_workers(Services(True, (Sign(WORKER, "m", 1),), 1)),
    "trouble of the store": lambda: print_workers(Services(True, (), 1, (HOSTILE,))),
    "trouble of the store in a run": lambda: StoreNotice()([HOSTILE]),
    "checkup": lambda: print_checkup(
        Checkup(
            units=1,
            stored=1,
            receipted=0,
            images=1,
            corrupt=(Fault(0, HOSTILE, HOSTILE),),
            holes=(),
            missing=0,
            parked=0,
        )
    ),
    "diagnosis": lambda: print_diagnosis(Diagnosis(HOSTILE, "failure", HOSTILE, HOSTILE)),
    "say": lambda: say(HOSTILE),
    "show": lambda: show(HOSTILE),
    "a log without a service": lambda: logging.getLogger("seedsweep.test").warning(HOSTILE),
}


def is_shown(text):
    """Nothing is obeyed but ends of lines, and the beginning of what was said can be read."""
    assert not obeyed(text.replace("\n", ""))
    assert r"\x1b[31m" in html.unescape(text)
    return True


@pytest.mark.parametrize("place", PRINTED.values(), ids=PRINTED)
def test_on_a_terminal_text_is_shown(place, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("seedsweep.test"), "propagate", False)
    monkeypatch.setattr(sys, "argv", ["seedsweep", "--version"])
    with pytest.raises(SystemExit):
        command_line.main()
    capfd.readouterr()
    place()
    assert is_shown("".join(capfd.readouterr()))


def test_tables_of_findings_show_text(store, campaign_id, comparison, duplication, capsys):
    print_comparison(comparison)
    assert is_shown(capsys.readouterr().out)
    print_duplication(duplication)
    assert is_shown(capsys.readouterr().out)
    print_verification(verification(store, campaign_id))
    assert is_shown(capsys.readouterr().out)


def test_pages_show_text(store, campaign_id, comparison, duplication):
    assert is_shown(render_comparison(comparison))
    assert is_shown(render_duplication(duplication))
    report = gather_report(store, campaign_id, None)
    page = render_report(report)
    assert is_shown(page)
    assert SHOWN in html.unescape(page)
    assert "<b>&" not in page


def test_the_readme_of_a_bundle_shows_text():
    told = (HOSTILE,)
    contents = ReadmeContents(
        "small", "0", HOSTILE, {}, told, told, told, (), False, HOSTILE, told, ()
    )
    assert is_shown(readme(contents))


def test_the_page_of_a_bundle_shows_text_and_runs_none():
    match = Match(training_id=HOSTILE, l2=0.05, tiled_l2=0.06, adaptive=None, extracted=True)
    finding = BundleFinding("0" * 16, HOSTILE, 2, 4, 1, match, "images/a/1.png", None)
    extracted = (BundleExtraction(HOSTILE, 2, 3, 1, 0.05, None, "extractions/1.png", None),)
    page = findings_page("small", (finding,), extracted=extracted).decode()
    assert is_shown(page)
    assert "<b>&" not in page
    assert is_shown(findings_words((finding,), extracted=extracted))


def test_a_csv_says_after_which_stage_a_prompt_was_dropped(tmp_path):
    drops = [None, Drop(stage=1, near=True, sampled=False), Drop(stage=2, near=False, sampled=True)]
    results = [make_result(prompt=f"a {place}", drop=drop) for place, drop in enumerate(drops)]
    write_csv(make_found(results), tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [row["drop"] for row in csv.DictReader(file)] == ["", "stage 1", "stage 2, sampled"]


def test_a_csv_shows_text_and_json_is_exact(tmp_path, capsys):
    write_csv(make_found([FLAGGED]), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    assert is_shown(text.replace("\r\n", "\n"))
    print_found(make_found([FLAGGED]), as_json=True)
    printed = capsys.readouterr().out
    assert not obeyed(printed.replace("\n", ""))
    assert json.loads(printed)[0]["prompt"] == HOSTILE


def test_what_the_terminals_encoding_lacks_is_written_as_an_escape(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    monkeypatch.setattr(sys, "argv", ["seedsweep", "--version"])
    with pytest.raises(SystemExit):
        command_line.main()
    print_results(make_found([make_flagged(prompt="Zoë 日本")]))
    show("日本 \ud800")
    assert rb"Zo\xeb".decode("unicode_escape").encode("latin-1") in written.getvalue()
    assert rb"\u65e5\u672c \ud800" in written.getvalue()


def test_json_is_exact_for_every_character_and_none_of_it_is_obeyed(capsys):
    # A high and a low surrogate side by side are one character in JSON.
    everything = [chr(code) for code in range(0x110000) if not 0xDC00 <= code < 0xE000]
    for text in ("".join(everything), "\udc00"):
        show_json(text)
        printed = capsys.readouterr().out
        assert json.loads(printed) == text
        assert not obeyed(printed.rstrip("\n"))


@pytest.mark.parametrize(
    ("prompt", "cell"),
    [
        ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=1", "a=1"),
        ("'=1", "'=1"),
        ("", ""),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(tmp_path, prompt, cell):
    match = MATCH.model_copy(update={"training_id": prompt, "l2": 0.25})
    result = make_flagged(prompt=prompt, match=match, mean_distance=-0.5)
    write_csv(make_found([result]), tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["prompt"] == row["training_id"] == cell
    assert (row["mean_distance"], row["l2"], row["edges"]) == ("-0.5", "0.25", "1")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("\x1b[2J\u202e.toml", None, r"\x1b[2J\u202e.toml"),
        ("a.toml", '"\\u001b[2J\\u202e" = 1', r"\x1b[2J\u202e is not a known key"),
        ("a.toml", 'name = "\\u001b[2J\\u202e"', r"\x1b[2J\u202e"),
        ("a.toml", "name = 1\n[prompts]\n'\u202e' = 1", r"prompts.\u202e is not a known key"),
        ("a.toml", 'name = "\u202e', "is not TOML"),
    ],
)
def test_an_error_shows_file_names_keys_and_values(tmp_path, monkeypatch, capfd, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["seedsweep", "plan", str(tmp_path / name)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    shown = capfd.readouterr().err
    assert ended.value.code == 2
    assert said in shown
    assert shown.count("\n") == 1
    assert not obeyed(shown.rstrip("\n"))


def test_results_say_how_many_prompts_are_not_analysed_yet(capsys):
    result = make_flagged()
    print_results(make_found([result], counts=count_results([result], 64, 4, 2)))
    assert "Not finished: 63 of 64 prompts are not analysed yet." in capsys.readouterr().out
    print_results(make_found([result]))
    assert "Not finished" not in capsys.readouterr().out
