"""The duplication curve: how copies are read, joined, binned, sampled and drawn."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from seedsweep.audit.findings.duplication import CHOSEN, bin_curve, bin_of, measure_duplication
from seedsweep.audit.report.duplication_page import picture_of, render_duplication
from seedsweep.cli import main as command_line
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import PromptList
from tests.support.arms import result, submit, submit_parts

EVIL = "<b>bold</b>"
SIZES = {"never": 0, "once": 0, "twice": 0, "often": 5, EVIL: 6, "unlisted": 4}
COPIES = {"never": 0, "once": 1, "twice": 2, "often": 9, EVIL: 16, "not analysed": 3}


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def campaign_id(store):
    return submit(store, "lab", SIZES, {"often": "1.png"})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "copies.csv"
    rows = [f'"{text}",{copies}' for text, copies in COPIES.items()]
    path.write_text("\n".join(["prompt,copies", *rows]))
    return path


@pytest.fixture
def found(store, campaign_id, file):
    return measure_duplication(store, campaign_id, file, sample=6)


def test_the_column_that_select_writes_is_found_if_the_campaigns_is_not_there(store, tmp_path):
    named = PromptList(file="prompts.csv", column="Caption", count=6)
    other = submit(store, "captions", SIZES, prompts=named)
    path = tmp_path / "chosen.csv"
    for columns in ("prompt,copies,why", "Caption,copies,prompt"):
        path.write_text(f"{columns}\noften,9,random\n")
        assert measure_duplication(store, other, path).curve.prompts == 1
    between = PromptList(file="prompts.csv", column="Caption", count=6, delimiter=";")
    apart = submit(store, "semicolons", SIZES, prompts=between)
    for text in ('"prompt","copies","why"\n"often",9,"random"\n', "Caption;copies\noften;9\n"):
        path.write_text(text)
        assert measure_duplication(store, apart, path).curve.prompts == 1
    path.write_text("text,copies\noften,9\n")
    with pytest.raises(ConfigError, match="has no column 'Caption'"):
        measure_duplication(store, other, path)
    path.write_text("prompt,copies\noften,9\n")
    with pytest.raises(ConfigError, match="has no column 'text'"):
        measure_duplication(store, other, path, "text")


class TestCurve:
    def test_bins_are_powers_of_two_from_first_to_last(self, found):
        assert [str(item) for item in found.curve.bins] == ["0", "1", "2", "3-4", "5-8", "9-16"]
        assert [item.flagged.n for item in found.curve.bins] == [1, 1, 1, 0, 0, 2]
        last = found.curve.bins[-1]
        assert (last.flagged.count, last.extracted.count) == (2, 1)
        assert str(found.curve.bins[3].flagged) == "not shown (n = 0)"

    def test_all_together_and_what_is_left_out(self, found):
        assert (found.curve.prompts, found.without_copies) == (5, 1)
        assert (found.curve.flagged.count, found.curve.flagged.n) == (2, 5)
        assert any(
            note == "Left out: 1 analysed prompt without copies in the file."
            for note in found.notes
        )

    @given(st.integers(0, 10**6))
    def test_every_number_of_copies_lies_within_its_bin(self, copies):
        (only,) = bin_curve([(result("a"), copies)], verified=False, analysis=Analysis()).bins[-1:]
        assert only.first <= copies <= only.last
        assert bin_of(only.first) == bin_of(only.last) == bin_of(copies)

    def test_without_a_training_set_extraction_is_not_known(self, store, file):
        other = submit(store, "other", SIZES, verification=None)
        curve = measure_duplication(store, other, file).curve
        assert curve.extracted is None
        assert all(item.extracted is None for item in curve.bins)

    def test_if_nothing_is_flagged_extraction_is_not_known(self, store, file):
        unflagged = submit(store, "unflagged", dict.fromkeys(SIZES, 0))
        curve = measure_duplication(store, unflagged, file).curve
        assert curve.extracted is None

    def test_a_file_of_other_prompts_is_refused(self, store, campaign_id, tmp_path):
        (tmp_path / "x.csv").write_text("prompt,copies\nelsewhere,2\n")
        with pytest.raises(ConfigError, match="None of 1 prompt in"):
            measure_duplication(store, campaign_id, tmp_path / "x.csv")

    def test_a_campaign_without_results_is_refused(self, store, file):
        empty = submit(store, "empty", {})
        with pytest.raises(ConfigError, match=r"No prompt of empty-.* is analysed yet"):
            measure_duplication(store, empty, file)


class TestParts:
    """How much of the picture repeats, by copies."""

    @pytest.fixture
    def found(self, store, file):
        repeated = submit_parts(store, "parts", SIZES, {"never": 14, "once": 25, "twice": 16})
        return measure_duplication(store, repeated, file)

    def test_each_bin_has_the_curve(self, found):
        told = [[share.prompts.count for share in b.parts] for b in found.curve.bins[:3]]
        assert told == [[0] * 5, [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
        assert [share.side for share in found.curve.parts] == [4, 5, 6, 7, 8]
        assert [share.prompts.count for share in found.curve.parts] == [4, 3, 2, 2, 2]

    def test_it_is_on_the_page(self, found):
        page = render_duplication(found)
        assert '<th class="n">5 × 5 tiles</th>' in page  # noqa: RUF001
        assert page.count("Repeat at least so many tiles") == 1

    def test_without_parts_there_is_none(self, store, campaign_id, file):
        found = measure_duplication(store, campaign_id, file)
        assert found.curve.parts == ()
        assert "so many tiles" not in render_duplication(found)


class TestSample:
    def test_it_is_drawn_from_the_whole_file(self, found):
        assert found.sample.drawn == 6
        assert found.sample.not_analysed == ("not analysed",)
        assert found.sample.curve == found.curve
        assert CHOSEN in found.notes
        assert any(
            "Not analysed, or no evidence: 1 prompt of the sample" in note for note in found.notes
        )

    def test_equal_seeds_draw_equal_prompts_whatever_the_files_order(
        self, store, campaign_id, file
    ):
        first = measure_duplication(store, campaign_id, file, sample=3, seed=5).sample
        head, *rows = file.read_text().splitlines()
        file.write_text("\n".join([head, *reversed(rows)]))
        assert measure_duplication(store, campaign_id, file, sample=3, seed=5).sample == first

    def test_each_prompt_has_the_same_chance(self, store, campaign_id, file):
        drawn = [
            measure_duplication(store, campaign_id, file, sample=2, seed=seed).sample.not_analysed
            for seed in range(120)
        ]
        # Of six prompts two are drawn: one in three times, ± four standard errors.
        assert sum(map(bool, drawn)) / 120 == pytest.approx(1 / 3, abs=0.18)

    def test_more_than_there_are_cannot_be_drawn(self, store, campaign_id, file):
        with pytest.raises(ConfigError, match="holds 6 prompts"):
            measure_duplication(store, campaign_id, file, sample=7)


class TestPage:
    def test_it_needs_nothing_beside_itself_and_escapes_names(self, store, campaign_id, tmp_path):
        path = tmp_path / "<i>.csv"
        path.write_text("prompt,copies\noften,2\n")
        html = render_duplication(measure_duplication(store, campaign_id, path))
        assert not re.search(r"src=|href=|url\(|@import|<link|<i>", html)
        assert "&lt;i&gt;.csv" in html

    def test_empty_bins_have_no_mark_and_intervals_hold_their_rate(self, found):
        picture = picture_of(found.curve, "all")
        assert len(picture.marks) == 2 * 4
        for mark in picture.marks:
            assert picture.top <= mark.high <= mark.y <= mark.low <= picture.base

    def test_the_sample_stands_beside_it(self, found):
        html = render_duplication(found)
        assert "A random sample of 6 (seed 0): 5 analysed" in html
        assert html.count("<svg") == 2


class TestCommand:
    def run(self, store, *arguments):
        command = ["duplication", *map(str, arguments), "--store", store.url]
        return CliRunner().invoke(command_line.app, command)

    def test_it_prints_a_table_of_the_bins(self, store, campaign_id, file, tmp_path):
        shown = self.run(store, campaign_id, "--copies", file, "--sample", 3, "-o", tmp_path / "p")
        assert shown.exit_code == 0, shown.output
        (line, *_) = [line for line in shown.stdout.splitlines() if "9-16" in line]
        assert "2/2 = 1.00 [0.16, 1.00]" in line
        assert "1/2 = 0.50 [0.01, 0.99]" in line
        assert "a random sample of 3" in shown.stdout
        assert (tmp_path / "p" / "index.html").is_file()

    def test_json_has_all_of_it(self, store, campaign_id, file):
        told = json.loads(self.run(store, campaign_id, "--copies", file, "--json").stdout)
        assert told["sample"] is None
        assert told["curve"]["bins"][-1]["extracted"]["count"] == 1
