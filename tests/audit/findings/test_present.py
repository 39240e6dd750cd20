"""What is no evidence is in no rate, and what was compared with nothing is not examined."""

import csv
import json
import subprocess
import sys

import pytest

from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.findings import same_prompts
from seedsweep.audit.findings.counts import count_results, has_evidence
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.report import render_report
from seedsweep.cli import main as command_line
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign, store_verification
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.records import Flaw, Unseen
from seedsweep.storage.result_parts import store_results
from seedsweep.workers.analysts.prompt_result import analyse_stored
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.noise import noise_share
from seedsweep.workers.pipelines.protocol import Generation
from tests.support.campaigns import (
    campaign_file,
    make_campaign,
    make_submission,
    small_sampling,
    submit_file,
)
from tests.support.findings import make_search
from tests.support.results import make_flagged, make_result

SEEDS, SIZE = 6, 3
TABLES = {
    "sampling": small_sampling(SEEDS, 12, images_per_unit=3),
    "analysis": {"min_clique_size": SIZE, "tiles": 2},
}


def prompts_of(share, count):
    """Prompts that the noise model repeats at this share of the seeds."""
    named = (f"picture {number}" for number in range(10_000))
    return [prompt for prompt in named if noise_share(prompt) == share][:count]


REPEATED, (PLAIN, SECOND, THIRD) = prompts_of(1.0, 1)[0], prompts_of(0.0, 3)
BLANK, BROKEN, FLAT = Flaw.BLANKED, Flaw.NOT_FINITE, Flaw.CONSTANT


class Bench:
    """A campaign with some flawed pictures, analysed; `flaws`: those of each prompt, by seed."""

    def __init__(self, folder, flaws, name="bench"):
        self.folder, self.store = folder, FolderStore(folder / "seedsweep-data")
        model = {"pipeline": "noise", "path": name}
        file = campaign_file(folder / f"{name}.toml", [*flaws], name, model=model, **TABLES)
        plan = submit_file(self.store, file)
        self.campaign, self.id = plan.campaign, plan.campaign.campaign_id
        self.submission = make_submission(self.campaign, plan.cuts)
        pipeline = load_pipeline(self.store, plan.campaign, "cpu", 1)
        for unit in map(plan.unit, range(len(plan))):
            if unit.seeds.first >= len(flaws[unit.prompt]):
                continue  # it was never made
            made = pipeline.generate(unit.prompt, range(unit.seeds.first, unit.seeds.last + 1))
            flawed = [
                Generation(g.seed, g.pixels, flaws[unit.prompt][g.seed], g.provenance) for g in made
            ]
            self.store.create(unit_shard(unit), encode_unit(unit, flawed))
        settings = self.campaign.settings
        self.results = [
            analyse_stored(self.store, self.submission, text, settings, None)[0] for text in flaws
        ]
        store_results(self.store, self.campaign.analysis_id, self.id, self.results)


@pytest.fixture
def seedsweep(tmp_path, monkeypatch, capsys):
    """Run the command line in the bench's folder; returns code and output as a shell would."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["seedsweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("flaws", "table", "said", "code"),
    [
        ({PLAIN: [None] * 6}, "0 of 1 prompts flagged.", [], 0),
        ({PLAIN: [BLANK] * 3 + [None] * 3}, "0 of 1 prompts flagged.", [], 0),
        (
            {PLAIN: [BLANK] * 4 + [None] * 2},
            "0 of 0 prompts flagged.",
            ["1 of 1 prompts analysed are no evidence", "fewer than 3 of their pictures are"],
            1,
        ),
        (
            {PLAIN: [BLANK] * 6, SECOND: [FLAT] * 6},
            "0 of 0 prompts flagged.",
            ["2 of 2 prompts analysed", "6 blanked by the safety checker"],
            1,
        ),
        (
            {PLAIN: [BROKEN] * 6},
            "0 of 0 prompts",
            [f"{PLAIN!r}: of its 6 pictures 6 not finite"],
            1,
        ),
        ({PLAIN: [FLAT] * 6}, "0 of 0 prompts", ["of its 6 pictures 6 constant"], 1),
        ({PLAIN: [BLANK] * 2 + [FLAT] * 4}, "0 of 0", ["2 blanked by the safety", "4 constant"], 1),
        ({PLAIN: [FLAT] * 3}, "0 of 0 prompts", ["of its 6 pictures 3 constant, 3 not there"], 1),
        ({PLAIN: []}, "0 of 0 prompts", ["of its 6 pictures 6 not there"], 1),
        (
            {PLAIN: [None] * 6, SECOND: [BLANK] * 6, THIRD: [None] * 6},
            "0 of 2 prompts flagged.",
            ["1 of 3 prompts analysed are no evidence", repr(SECOND)],
            0,
        ),
        (
            {REPEATED: [None] * 6, SECOND: [BLANK] * 6},
            "1 of 1 prompts flagged",
            ["1 of 2 prompts analysed are no evidence"],
            0,
        ),
    ],
)
def test_what_is_no_evidence_is_in_no_rate_and_said(tmp_path, seedsweep, flaws, table, said, code):
    bench = Bench(tmp_path, flaws)
    shown = seedsweep("results", bench.id)
    assert shown.returncode == code
    assert table in shown.stdout
    assert all(words in shown.stderr for words in said), shown.stderr
    assert bool(shown.stderr) == bool(said)
    for_scripts = seedsweep("results", bench.id, "--json")
    assert (for_scripts.returncode, for_scripts.stderr) == (code, shown.stderr)
    assert len(json.loads(for_scripts.stdout)) == len(flaws)
    assert seedsweep("report", bench.id, "-o", "report").returncode == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert ("<b>No evidence.</b>" in page) == bool(said)
    assert ("No prompt could be flagged, so nothing is cleared." in page) == (code == 1)


@pytest.mark.parametrize(("flaw", "code"), [(None, 0), (BROKEN, 1)])
def test_a_run_of_which_nothing_is_evidence_ends_with_exit_code_1(tmp_path, seedsweep, flaw, code):
    bench = Bench(tmp_path, {PLAIN: [flaw] * SEEDS})
    ended = seedsweep("run", "bench.toml")
    assert ended.returncode == code
    assert ended.stdout.splitlines()[-1] == bench.id
    assert ("no evidence" in ended.stderr) == (code == 1)


def test_each_prompt_says_whether_the_model_reads_it_whole_and_apart(
    tmp_path, seedsweep, monkeypatch
):
    other = prompts_of(1.0, 2)[1]
    bench = Bench(tmp_path, {text: [None] * SEEDS for text in (REPEATED, PLAIN, other)})
    assert {prompt["cut"] for prompt in found(seedsweep, bench)} == {None}
    key, unseen = keys.campaign(bench.id), Unseen(cut=(0, 1), same=((2, 0),))
    submitted = load_campaign(bench.store, bench.id).model_copy(update={"unseen": unseen})
    bench.store.replace(key, submitted.model_dump_json().encode())
    # What a plug-in makes of prompts is its own, so none is the same to it.
    assert {prompt["same_as"] for prompt in found(seedsweep, bench)} == {None}
    monkeypatch.setattr(same_prompts, "same_prompts", lambda _, unseen: dict(unseen.same))
    told = {prompt["prompt"]: prompt for prompt in found(seedsweep, bench)}
    assert [told[text]["cut"] for text in (REPEATED, PLAIN, other)] == [True, True, False]
    same = [told[text]["same_as"] for text in (REPEATED, PLAIN, other)]
    assert same == [None, None, REPEATED]
    shown = " ".join(seedsweep("results", bench.id, "--csv", "found.csv").stdout.split())
    assert "1 of 2 flagged prompts are cut" in shown
    assert "1 of 2 flagged prompts are the same to the model" in shown
    assert "1 of 2 prompts flagged" in shown
    left_out = (
        "1 of 3 prompts analysed is the same to the model as another one of them, with the same "
        "pictures: it is in no rate."
    )
    assert left_out in shown
    report = gather_report(bench.store, bench.id, None)
    assert (report.flagged_rate.count, report.flagged_rate.n) == (1, 2)
    assert (report.counts.flagged, report.counts.with_evidence) == (2, 3)
    assert f"<b>Counted once.</b> {left_out}" in " ".join(render_report(report).split())
    assert seedsweep("evidence", bench.id, "-o", "bundle").returncode == 0
    bundle = tmp_path / "bundle"
    counts = json.loads((bundle / "manifest.json").read_text())["denominators"]
    assert counts["prompts flagged, of those with evidence"] == {"n": 2, "of": 3}
    readme = " ".join((bundle / "README.txt").read_text().split())
    assert "1 of 3 prompts with evidence is the same to the model" in readme
    assert [*check_bundle(bundle)] == []
    with (tmp_path / "found.csv").open() as file:
        rows = {row["prompt"]: (row["cut"], row["same_as"]) for row in csv.DictReader(file)}
    assert rows == {REPEATED: ("True", ""), PLAIN: ("True", ""), other: ("False", REPEATED)}


def test_what_the_model_does_not_see_is_of_the_campaigns_prompts(tmp_path, seedsweep):
    bench = Bench(tmp_path, {PLAIN: [None] * SEEDS})
    submitted = load_campaign(bench.store, bench.id)
    forged = submitted.model_copy(update={"unseen": Unseen(cut=(1,))})
    bench.store.replace(keys.campaign(bench.id), forged.model_dump_json().encode())
    ended = seedsweep("results", bench.id)
    assert ended.returncode == 1
    assert "what is unseen is of other prompts" in ended.stderr


def found(seedsweep, bench):
    return json.loads(seedsweep("results", bench.id, "--json").stdout)


class TestEveryDenominator:
    """Of four prompts one is flagged, one has no evidence, and nothing was compared."""

    @pytest.fixture
    def bench(self, tmp_path):
        whole = [None] * SEEDS
        return Bench(
            tmp_path, {REPEATED: whole, PLAIN: whole, SECOND: [BLANK] * SEEDS, THIRD: whole}
        )

    def test_of_counts(self, bench):
        counts = count_results(bench.results, 4, SEEDS, SIZE)
        assert (counts.analysed, counts.without_evidence, counts.with_evidence) == (4, 1, 3)
        assert [has_evidence(result, SIZE) for result in bench.results] == [True, True, False, True]

    def test_of_the_report(self, bench):
        report = gather_report(bench.store, bench.id, None)
        assert (report.flagged_rate.count, report.flagged_rate.n) == (1, 3)
        page = " ".join(render_report(report).split())
        assert "2 analysed prompts that could be are not flagged" in page
        assert "1 of 4 prompts analysed are no evidence" in page

    def test_of_a_bundle(self, bench, seedsweep, tmp_path):
        assert seedsweep("evidence", bench.id, "-o", "bundle").returncode == 0
        manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
        counts = manifest["denominators"]
        assert counts["prompts without evidence, of those analysed"] == {"n": 1, "of": 4}
        assert counts["prompts flagged, of those with evidence"] == {"n": 1, "of": 3}

    def test_of_a_duplication_curve(self, bench, seedsweep, tmp_path):
        rows = [f"{text},{copies}" for copies, text in enumerate([REPEATED, PLAIN, SECOND, THIRD])]
        (tmp_path / "copies.csv").write_text("\n".join(["prompt,copies", *rows]))
        ended = seedsweep(
            "duplication", bench.id, "--copies", "copies.csv", "--sample", 4, "--json"
        )
        found = json.loads(ended.stdout)
        assert (found["curve"]["prompts"], found["without_evidence"]) == (3, 1)
        assert found["curve"]["flagged"]["n"] == found["sample"]["curve"]["flagged"]["n"] == 3
        assert found["sample"]["not_analysed"] == [SECOND]
        assert any("as no evidence: 1 analysed prompt with" in note for note in found["notes"])
        (tmp_path / "copies.csv").write_text(f"prompt,copies\n{SECOND},3\n")
        refused = seedsweep("duplication", bench.id, "--copies", "copies.csv")
        assert refused.returncode == 2
        assert "and is evidence (1 are none)" in refused.stderr

    def test_of_a_comparison(self, bench, seedsweep, tmp_path):
        whole = [None] * SEEDS
        other = Bench(
            tmp_path, {REPEATED: whole, PLAIN: [FLAT] * SEEDS, SECOND: whole, THIRD: whole}, "other"
        )
        found = json.loads(seedsweep("compare", bench.id, other.id, "--json").stdout)
        assert (found["prompts"], found["left_out"]["no_evidence"]) == (2, 2)
        assert "2 that are no evidence in one" in seedsweep("compare", bench.id, other.id).stdout

    @pytest.mark.parametrize(
        ("controls", "code", "said"),
        [
            ([PLAIN, SECOND, THIRD], 0, "1 prompt with fewer than 3 usable"),
            ([SECOND], 2, "None of 1 control has 3 usable pictures, as a clique takes"),
        ],
    )
    def test_of_a_calibration(self, bench, seedsweep, tmp_path, controls, code, said):
        (tmp_path / "controls.txt").write_text("\n".join(controls))
        ended = seedsweep(
            "calibrate", bench.id, "--controls", "controls.txt", "-o", "out", "--processes", 1
        )
        assert ended.returncode == code
        assert said in ended.stderr
        if code == 0:
            assert "/2 = " in ended.stdout


class TestWhatWasNotExamined:
    @pytest.fixture
    def bench(self, tmp_path):
        return Bench(tmp_path, {REPEATED: [None] * SEEDS, PLAIN: [None] * SEEDS})

    def test_results_say_so_with_the_command_that_examines(self, bench, seedsweep):
        shown = seedsweep("results", bench.id).stdout
        assert "not examined" in shown
        assert f"seedsweep verify {bench.id} --training-set PATH" in shown
        assert json.loads(seedsweep("results", bench.id, "--json").stdout)[0]["match"] is None

    def test_a_table_of_all_prompts_says_so_of_the_flagged_and_which_are_evidence(
        self, bench, seedsweep, tmp_path
    ):
        seedsweep("results", bench.id, "--csv", "out.csv")
        with (tmp_path / "out.csv").open(newline="") as file:
            flagged, plain = csv.DictReader(file)
        assert (flagged["extracted"], plain["extracted"]) == ("not examined", "")
        assert (flagged["evidence"], plain["evidence"]) == ("True", "True")

    def test_the_report_clears_nothing(self, bench):
        page = " ".join(render_report(gather_report(bench.store, bench.id, None)).split())
        assert '</b><span>extracted</span><span class="soft">not examined</span>' in page
        assert '</b><span>compared</span><span class="soft">not examined: no training' in page
        assert "0.00 [0.00" not in page
        assert "flagged, not examined" in page

    def test_a_search_of_another_training_set_examines(self, bench):
        store_verification(bench.store, make_search(bench.store, bench.id))
        page = " ".join(render_report(gather_report(bench.store, bench.id, None)).split())
        assert "not examined" not in page
        assert "1 training picture, near-copies counted once" in page

    def test_a_bundle(self, bench, seedsweep, tmp_path):
        seedsweep("evidence", bench.id, "-o", "bundle")
        counts = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["denominators"]
        assert counts["prompts extracted, of those matched"] is None
        assert "not examined  prompts matched" in (tmp_path / "bundle" / "README.txt").read_text()
        checked = subprocess.run(
            [sys.executable, "-I", tmp_path / "bundle" / "verify_bundle.py"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, "No fault" in checked.stdout) == (0, True)

    def test_a_duplication_curve(self, bench, seedsweep, tmp_path):
        (tmp_path / "copies.csv").write_text(f"prompt,copies\n{REPEATED},3\n")
        words = ["duplication", bench.id, "--copies", "copies.csv"]
        assert "not examined" in seedsweep(*words, "-o", "page").stdout
        assert "not examined" in (tmp_path / "page" / "index.html").read_text()

    def test_a_comparison(self, bench, seedsweep, tmp_path):
        other = Bench(tmp_path, {REPEATED: [None] * SEEDS}, "other")
        assert "not examined" in seedsweep("compare", bench.id, other.id, "-o", "page").stdout
        assert "not examined" in (tmp_path / "page" / "index.html").read_text()

    def test_a_calibration(self, bench, seedsweep, tmp_path):
        (tmp_path / "controls.txt").write_text(PLAIN)
        words = ["calibrate", bench.id, "--controls", "controls.txt", "-o", "out"]
        assert "Extraction: not examined" in seedsweep(*words, "--processes", 1).stdout
        assert "not examined" in (tmp_path / "out" / "index.html").read_text()
        assert "not examined" in (tmp_path / "out" / "calibrated.toml").read_text()


@pytest.mark.parametrize("size", [2, 4])
def test_a_prompt_that_is_flagged_is_evidence_whatever_the_size_asked_for(size):
    assert has_evidence(make_flagged(seeds=3, excluded=1), size)
    assert has_evidence(make_result(seeds=size), size)
    assert not has_evidence(make_result(seeds=size, excluded=1), size)


def test_without_prompts_pictures_are_counted_and_the_training_set_is_the_campaign_files(
    seedsweep, tmp_path
):
    """`verify` looks at what repeats alone, and the campaign's own at every generation."""
    store = FolderStore(tmp_path / "seedsweep-data")
    campaign = make_campaign(seeds=8, images_per_unit=8, guidance_scale=1.0)
    plan = plan_campaign(store, campaign.model_copy(update={"prompts": None}), [""])
    campaign_id = submit_campaign(store, plan).campaign.campaign_id
    result = make_flagged(prompt="", seeds=8)
    store_results(store, plan.campaign.analysis_id, campaign_id, [result])
    finished = seedsweep("results", campaign_id)
    said = " ".join((finished.stdout + finished.stderr).split())
    assert "1 picture repeated among 8 generations" in said
    assert "name the set in [verification]" in said
    assert "seedsweep verify" not in said
