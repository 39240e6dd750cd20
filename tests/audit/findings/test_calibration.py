"""`seedsweep calibrate`: thresholds from prompts whose truth is known, from the command line on."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from html.parser import HTMLParser
from multiprocessing import get_context

import numpy as np
import pytest

from seedsweep.audit.findings import same_prompts
from seedsweep.audit.findings.calibration import CalibrationOptions, calibrate, scoring_id
from seedsweep.audit.findings.control_prompts import Marks, Positive, read_marks
from seedsweep.audit.findings.marked_scores import score_marked
from seedsweep.audit.findings.saved import load_calibrations
from seedsweep.audit.report.calibration_page import render_fragment, render_page
from seedsweep.cli import main as command_line
from seedsweep.cli.calibration_table import for_scripts
from seedsweep.scheduler.campaign import possible
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import ConfigError, ImagesNotKeptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.receipts import Receipt, store_receipt
from seedsweep.storage.record import digest
from seedsweep.storage.records import Prompt
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule, Verification
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.analysts import prompt_score
from seedsweep.workers.analysts.prompt_result import analyse_stored
from seedsweep.workers.images import encode_png
from seedsweep.workers.pipelines.noise import NoisePipeline, noise_share
from tests.support.campaigns import (
    campaign_file,
    campaign_text,
    make_images,
    small_sampling,
    submit_file,
)
from tests.support.results import make_result

TABLES = {
    "sampling": small_sampling(8, 16, images_per_unit=4),
    "analysis": {"tiles": 2, "min_clique_size": 4},
}
PROMPTS = [f"prompt {number}" for number in range(48)]
CONTROLS = [prompt for prompt in PROMPTS if noise_share(prompt) == 0]
POSITIVES = [prompt for prompt in PROMPTS if noise_share(prompt) >= 0.25]


def submit(folder, **changes):
    """Submit the campaign and make all of its images; returns store and id."""
    store = FolderStore(folder / "seedsweep-data")
    file = campaign_file(folder / "campaign.toml", PROMPTS, **TABLES, **changes)
    plan = submit_file(store, file)
    make_images(store, plan)
    return store, plan.campaign.campaign_id


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    (folder / "controls.txt").write_text("\n".join(CONTROLS))
    rows = [f"{prompt},{number // 3}" for number, prompt in enumerate(POSITIVES)]
    (folder / "positives.csv").write_text("\n".join(["prompt,picture", *rows]))
    return folder, *submit(folder)


@pytest.fixture
def run(made, monkeypatch, capsys):
    """Run the command in the campaign's folder; returns code and output as a shell would."""
    folder, _, campaign_id = made

    def run(*arguments, controls="controls.txt"):
        monkeypatch.chdir(folder)
        words = ["calibrate", campaign_id, "--controls", controls, "--processes", "1", "-o", "out"]
        monkeypatch.setattr(sys, "argv", ["seedsweep", *words, *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


def scored(made, sizes=(2, 4), marks=None):
    _, store, campaign_id = made
    marks = marks or Marks(tuple(CONTROLS), tuple(Positive(p, p) for p in POSITIVES))
    return score_marked(store, campaign_id, marks, sizes, 1, lambda done, total: None)


def refused(finished, *words):
    """Exit code 2, nothing on stdout, and one sentence without a traceback on stderr."""
    lines = finished.stderr.strip().splitlines()
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(lines) == 1, finished.stderr
    assert all(word in lines[0] for word in words), lines[0]
    return True


def test_thresholds_come_out_as_a_page_and_as_part_of_a_campaign_file(run, made):
    rate = ("--false-positive-rate", "0.3")
    ended = run("--positives", "positives.csv", "--group-column", "picture", *rate)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == "out/index.html"
    text = (made[0] / "out" / "calibrated.toml").read_text()
    fragment = tomllib.loads(text)
    analysis = Analysis.model_validate(fragment["analysis"])
    assert (analysis.tiles, analysis.min_clique_size) == (2, 4)
    assert f"{len(CONTROLS)} controls" in " ".join(text.replace("#", "").split())
    assert tomllib.loads(campaign_text() + text)


def test_what_is_found_is_kept_with_the_campaign(run, made):
    ended = run("--positives", "positives.csv", "--json", "--false-positive-rate", "0.25")
    _, store, campaign_id = made
    kept = load_calibrations(store, campaign_id)
    (found,) = [each for each in kept if each.wish.false_positive_rate == 0.25]
    assert json.loads(json.dumps(for_scripts(found))) == json.loads(ended.stdout)


def test_what_is_reported_is_what_the_analysis_flags_at_that_threshold(run, made):
    """The oracle is the analysis itself, on each prompt."""
    ended = run("--positives", "positives.csv", "--json", "--false-positive-rate", "0.3")
    found = json.loads(ended.stdout)
    (point,) = found["candidates"]
    settings = AnalysisSettings(
        analysis=Analysis(
            tiles=found["tiles"],
            edge_threshold=found["edge_threshold"],
            min_clique_size=found["min_clique_size"],
        )
    )
    _, store, campaign_id = made
    submission = load_campaign(store, campaign_id)

    def flagged(prompts):
        return sum(
            analyse_stored(store, submission, prompt, settings, None)[0].flagged
            for prompt in prompts
        )

    assert point["false_positives"]["count"] == flagged(CONTROLS)
    assert point["recall"]["count"] == flagged(POSITIVES) > 0
    assert (point["false_positives"]["n"], point["recall"]["n"]) == (len(CONTROLS), len(POSITIVES))


def test_how_many_tiles_make_a_part_is_chosen_as_well_if_it_is_asked_for(run, made):
    """The oracle is the analysis: with one tile less, a control more repeats a part."""
    rate = ("--false-positive-rate", "0.3")
    ended = run("--positives", "positives.csv", "--json", "--partial", *rate)
    parts = json.loads(ended.stdout)["parts"]
    _, store, campaign_id = made
    submission = load_campaign(store, campaign_id)

    def repeat(prompts, least):
        rule = PartRule(least=least)
        analysis = Analysis(tiles=2, min_clique_size=4, partial=True, parts=rule)
        settings = AnalysisSettings(analysis=analysis)
        found = [analyse_stored(store, submission, p, settings, None)[0] for p in prompts]
        return sum(result.flagged or result.flagged_partial for result in found)

    assert parts["grid"] == 8
    assert parts["false_positives"]["count"] == repeat(CONTROLS, parts["least"])
    assert parts["recall"]["count"] == repeat(POSITIVES, parts["least"]) > 0
    page = " ".join((made[0] / "out" / "index.html").read_text().split())
    assert f"A part takes {parts['least']} or more of 64 tiles, shown." in page
    assert "Share of prompts that repeat a part of at least this size" in page
    fragment = tomllib.loads((made[0] / "out" / "calibrated.toml").read_text())
    rule = PartRule.model_validate(fragment["analysis"]["parts"])
    assert (rule.grid, rule.least) == (8, parts["least"])
    said = run("--positives", "positives.csv", "--partial", *rate).stdout
    assert f"A part takes {parts['least']} or more of 64 tiles, shown." in " ".join(said.split())


def test_parts_that_cannot_be_compared_exactly_are_refused_as_an_analysis_refuses_them(made):
    _, store, campaign_id = made
    marks = Marks(tuple(CONTROLS), ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(possible, "TILE_PIXELS", 1)
        with pytest.raises(ConfigError, match="which are not compared exactly"):
            score_marked(store, campaign_id, marks, (4,), 1, lambda *n: None, partial=True)
        score_marked(store, campaign_id, marks, (4,), 1, lambda *n: None)


def test_too_few_controls_choose_nothing_and_it_says_how_many_it_takes(run):
    ended = run("--positives", "positives.csv", "--json")
    assert ended.returncode == 0
    assert f"{len(CONTROLS)} controls cannot show" in ended.stderr
    assert "takes 299" in ended.stderr
    found = json.loads(ended.stdout)
    assert found["warnings"] == ended.stderr.strip().splitlines()
    assert not found["candidates"][0]["shown"]
    assert (found["edge_threshold"], found["min_clique_size"]) == (None, None)
    assert (found["own"]["edge_threshold"], found["own"]["min_clique_size"]) == (0.1, 4)


def test_too_few_controls_leave_nothing_to_be_used_on_the_page_or_in_the_file(run, made):
    ended = run("--positives", "positives.csv", "--partial")
    said = " ".join(ended.stdout.split())
    text = (made[0] / "out" / "calibrated.toml").read_text()
    page = " ".join((made[0] / "out" / "index.html").read_text().split())
    assert "none; keep 0.1" in said
    assert "4 chosen" not in said
    assert tomllib.loads(text) == {}
    assert "# edge_threshold = 0.1\n" in text
    assert "<b>none; keep 0.1</b>" in page
    assert 'class="threshold"' not in page
    few = f"Parts: {len(CONTROLS)} controls: too few to choose how many tiles make a part; keep 14."
    for told in (said, " ".join(text.replace("#", "").split()), page):
        assert "Too few controls: no edge threshold is chosen; keep edge threshold 0.1" in told
        assert few in told


def test_what_is_told_if_nothing_is_chosen_is_what_the_present_threshold_does(made):
    found = scored(made, (4,))
    calibration = calibrate(found, found.marks, CalibrationOptions(0.01, None, (4,)))
    (candidate,) = calibration.candidates
    step = {p: score.critical[0].step or 1001 for p, score in found.by_prompt.items()}
    assert calibration.alarms(candidate).count == sum(step[p] <= 100 for p in CONTROLS)
    assert calibration.recall(candidate).count == sum(step[p] <= 100 for p in POSITIVES) > 0


def test_without_positives_there_is_a_threshold_and_no_recall(run):
    ended = run("--json", "--false-positive-rate", "0.3")
    found = json.loads(ended.stdout)
    assert found["edge_threshold"] > 0
    (point,) = found["candidates"]
    assert (point["recall"]["n"], point["precision"], point["curve"]) == (0, None, None)


def test_the_clique_size_with_the_highest_bound_of_recall_is_chosen(made):
    found = scored(made, (2, 4, 8))
    calibration = calibrate(found, found.marks, CalibrationOptions(0.3, 0.0003, found.sizes))
    lows = {c.min_clique_size: c.point.recall.low for c in calibration.candidates}
    best = max(lows.values())
    assert calibration.chosen.min_clique_size == min(k for k, low in lows.items() if low == best)
    # A quarter of the seeds repeat for some: no clique of all eight is closer than noise there.
    assert lows[8] < best


def test_several_processes_find_the_same(made):
    _, store, campaign_id = made
    marks = Marks(tuple(CONTROLS[:3]), tuple(Positive(p, p) for p in POSITIVES[:3]))
    steps = []
    apart = score_marked(store, campaign_id, marks, (4,), 2, lambda *done: steps.append(done))
    assert apart.by_prompt == scored(made, (4,), marks).by_prompt
    assert steps[-1] == (6, 6)


def test_each_process_computes_with_one_thread_and_leaves_the_variables_as_they_were(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    with prompt_score._one_thread_each(), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert [pool.submit(os.getenv, name).result() for name in names] == ["1", "1"]
    assert [os.environ.get(name) for name in names] == ["7", None]


def test_prompts_that_lack_images_are_left_out_and_that_is_said(tmp_path):
    store, campaign_id = submit(tmp_path)
    plan = load_plan(store, load_campaign(store, campaign_id))
    store.delete(keys.unit_shard(plan.unit(2 * PROMPTS.index(CONTROLS[0]))))
    found = scored((tmp_path, store, campaign_id), (4,), Marks((*CONTROLS, "unknown"), ()))
    assert found.marks.controls == tuple(CONTROLS[1:])
    assert found.warnings == (
        "Left out, of those that the files name: 1 prompt that the campaign does not have.",
        "Left out, of those that the files name: 1 prompt without all its images.",
    )


def test_controls_that_are_training_captions_are_left_out(tmp_path):
    pictures = tmp_path / "train"
    pictures.mkdir()
    for name, caption in (
        ("a", f" {CONTROLS[1].upper()}\n"),
        ("b", "of another"),
        ("c", POSITIVES[0]),
    ):
        (pictures / f"{name}.png").write_bytes(encode_png(np.zeros((16, 16, 3), np.uint8)))
        (pictures / f"{name}.txt").write_text(caption)
    verification = {"training_set": str(pictures), "neighbours": 2}
    store, campaign_id = submit(tmp_path, verification=verification)
    marks = Marks(tuple(CONTROLS[:3]), (Positive(POSITIVES[0], "c"),))
    found = scored((tmp_path, store, campaign_id), (4,), marks)
    (warning,) = found.warnings
    assert found.marks == Marks((CONTROLS[0], CONTROLS[2]), marks.positives)
    assert f"Left out: 1 of 3 controls, such as {CONTROLS[1]!r}" in warning
    assert str(pictures) in warning
    measured = score_marked(store, campaign_id, marks, (4,), 1, lambda *n: None, trained=True)
    assert (measured.marks, measured.warnings) == (marks, ())
    with pytest.raises(ConfigError, match="Each of 1 control is a caption of the training set"):
        scored((tmp_path, store, campaign_id), (4,), Marks((CONTROLS[1],), ()))
    others = Marks((CONTROLS[0],), marks.positives)
    assert scored((tmp_path, store, campaign_id), (4,), others).warnings == ()
    shutil.rmtree(pictures)
    (warning,) = scored((tmp_path, store, campaign_id), (4,), others).warnings
    assert warning.startswith(f"The training set {pictures} cannot be read here")


def test_a_file_without_controls_is_refused_as_such(tmp_path):
    (tmp_path / "controls.csv").write_text("prompt\n")
    with pytest.raises(ConfigError, match=r"controls.csv holds no control; name one"):
        read_marks(tmp_path / "controls.csv", None, "prompt", None)


def test_what_is_the_same_to_the_model_counts_once(made, monkeypatch):
    same = {1: 0, 3: 2, 5: 2, 6: 0}
    monkeypatch.setattr(same_prompts, "same_prompts", lambda campaign, unseen: same)
    of_controls = Marks(tuple(PROMPTS[:4]), (Positive(PROMPTS[5], "a"), Positive(PROMPTS[7], "b")))
    found = scored(made, (4,), of_controls)
    assert found.marks == Marks((PROMPTS[0],), of_controls.positives)
    (warning,) = found.warnings
    assert warning.startswith(f"Left out: 3 of 4 controls, such as {PROMPTS[1]!r}. To the model")
    positives = tuple(Positive(PROMPTS[at], PROMPTS[at]) for at in (1, 6, 8))
    found = scored(made, (4,), Marks((PROMPTS[3],), positives))
    assert [each.group for each in found.marks.positives] == [PROMPTS[1], PROMPTS[1], PROMPTS[8]]
    assert found.warnings == ()
    with pytest.raises(ConfigError, match="None of 1 control shows something of its own"):
        scored(made, (4,), Marks((PROMPTS[3],), (Positive(PROMPTS[5], "a"),)))


def test_a_training_set_gives_a_verification_threshold_or_says_that_controls_set_none(tmp_path):
    pictures = tmp_path / "train"
    pictures.mkdir()
    pipeline = NoisePipeline(Sampling(width=16, height=16))
    for prompt in POSITIVES:
        repeated = pipeline.generate(prompt, range(100))
        chosen = min(
            repeated, key=lambda g: np.abs(g.pixels.astype(int) - repeated[0].pixels).sum()
        )
        (pictures / f"{Prompt(text=prompt).prompt_id}.png").write_bytes(encode_png(chosen.pixels))
    store, campaign_id = submit(
        tmp_path, verification={"training_set": str(pictures), "neighbours": 2}
    )
    found = scored((tmp_path, store, campaign_id), (4,))
    calibration = calibrate(found, found.marks, CalibrationOptions(0.3, 0.0003, (4,)))
    assert calibration.verification.false_positives.count == 0
    assert calibration.verification.recall.count > 0
    # Noise is far from all training pictures by the adaptive score, whatever its l2.
    assert not calibration.verification.is_bounded
    assert "[verification]" not in render_fragment(calibration)
    near = dataclasses.replace(calibration.verification, threshold=0.125)
    bounded = dataclasses.replace(calibration, verification=near)
    assert "# threshold = 0.125" in render_fragment(bounded)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_beside_itself_and_escapes_what_it_is_told(made):
    found = scored(made)
    calibration = calibrate(found, found.marks, CalibrationOptions(0.3, 0.0003, found.sizes))
    odd = dataclasses.replace(calibration, warnings=("<script>alert(1)</script>",))
    tags = Tags()
    page = render_page(odd)
    tags.feed(page)
    assert "script" not in {tag for tag, _ in tags.found}
    assert not any({"src", "href"} & set(attributes) for _, attributes in tags.found)
    assert "&lt;script&gt;" in page
    assert sum(tag == "svg" for tag, _ in tags.found) == 2
    assert any(attributes.get("class") == "band" for _, attributes in tags.found)


def test_what_the_fragment_is_told_stays_a_comment(made):
    found = scored(made, (4,))
    calibration = calibrate(found, found.marks, CalibrationOptions(0.3, 0.0003, (4,)))
    odd = dataclasses.replace(calibration, warnings=("a\n[model]\npipeline = 'noise'",))
    assert set(tomllib.loads(render_fragment(odd))) == {"analysis"}


def test_controls_that_are_alike_at_once_leave_the_threshold_out(made):
    found = scored(made, (4,))
    alike = Marks(tuple(POSITIVES), ())
    by_prompt = {
        prompt: dataclasses.replace(
            score, critical=tuple(dataclasses.replace(c, step=1) for c in score.critical)
        )
        for prompt, score in found.by_prompt.items()
    }
    calibration = calibrate(
        dataclasses.replace(found, by_prompt=by_prompt),
        alike,
        CalibrationOptions(0.01, 0.0003, (4,)),
    )
    fragment = tomllib.loads(render_fragment(calibration))
    assert fragment == {}
    assert "none" in render_page(calibration)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--min-clique-size", "9"), ("9 members", "8 images", "--min-clique-size")),
        (("--min-clique-size", "2", "--min-clique-size", "4"), ("--positives",)),
        (("--positives", "controls.txt"), ("Both ", "leave each in one")),
        (("--positives", "none.txt"), ("none.txt", "cannot be read")),
        (("--positives", "positives.csv", "--column", "text"), ("'text'", "'prompt'")),
        (("--positives", "positives.csv", "--group-column", "x"), ("'x'", "'picture'")),
        (("--positives", "strange.txt"), ("None of 1 positive ", "generated")),
        (("--positives", "strange.txt", "--group-column", "x"), (".csv", "strange.txt")),
        (("-o", "controls.txt"), ("controls.txt", "cannot be written")),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(run, made, arguments, words):
    (made[0] / "strange.txt").write_text("a prompt of another campaign")
    assert refused(run(*arguments), *words)


def test_positives_of_one_picture_are_one_group_and_those_of_none_are_alone(tmp_path):
    (tmp_path / "controls.txt").write_text("a\n")
    (tmp_path / "positives.csv").write_text("prompt,picture\n b ,1\nc,1\nd,\ne,2\n")
    marks = read_marks(tmp_path / "controls.txt", tmp_path / "positives.csv", "prompt", "picture")
    found = {positive.prompt: positive.group for positive in marks.positives}
    assert found == {"b": "1", "c": "1", "d": "d", "e": "2"}


def test_whatever_stands_between_cells_marks_are_read_and_a_wrong_column_is_named(tmp_path):
    controls, positives = tmp_path / "controls.csv", tmp_path / "positives.tsv"
    controls.write_text('prompt;id\n"a; b";1\nc, d;2\n')
    positives.write_text("prompt,picture\nb,1\nc,1\n")
    marks = read_marks(controls, positives, "prompt", "picture")
    assert marks == Marks(("a; b", "c, d"), (Positive("b", "1"), Positive("c", "1")))
    controls.write_text("caption;id\na;1\n")
    with pytest.raises(
        ConfigError, match=r"no column 'prompt'.* \['caption', 'id'\] with --column"
    ):
        read_marks(controls, None, "prompt", None)
    with pytest.raises(ConfigError, match="name another file"):
        read_marks(tmp_path / "nowhere.csv", None, "prompt", None)


def test_images_that_were_not_kept_are_refused_with_what_to_do(tmp_path):
    store, campaign_id = submit(tmp_path, keep="flagged")
    submission = load_campaign(store, campaign_id)
    plan = load_plan(store, submission)
    units = [plan.unit(2 * PROMPTS.index(CONTROLS[0]) + half) for half in (0, 1)]
    shards = [keys.unit_shard(unit) for unit in units]
    images = tuple(image for key in shards for image in decode_shard(store.read(key), key))
    result = make_result(
        prompt_id=units[0].prompt_id,
        prompt=units[0].prompt,
        seeds_digest=digest([image.seed for image in images]),
    )
    store_receipt(store, submission.campaign, Receipt(images, "0" * 16, result))
    for key in shards:
        store.delete(key)
    with pytest.raises(ImagesNotKeptError, match='keep = "all"'):
        scored((tmp_path, store, campaign_id), (4,))


def test_controls_of_another_campaign_are_refused(run, made):
    (made[0] / "strange.txt").write_text("a prompt of another campaign")
    assert refused(run(controls="strange.txt"), "None of 1 control ", made[2])


def test_where_pictures_lie_is_no_part_of_how_prompts_are_scored():
    settings = AnalysisSettings(verification=Verification(training_set="/t", fingerprint="f"))
    places = {"training_set": "/u", "folder": "/v", "controls": "/w"}
    moved = settings.verification.model_copy(update=places)
    assert scoring_id(AnalysisSettings(verification=moved)) == scoring_id(settings)
