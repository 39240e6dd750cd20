"""Two campaigns side by side: what is paired, counted, refused and drawn."""

import json
import re

import pytest
from typer.testing import CliRunner

from seedsweep.audit.findings.comparability import setting_words
from seedsweep.audit.findings.comparison import (
    Change,
    ExtractedPictures,
    LeftOut,
    Point,
    compare_campaigns,
)
from seedsweep.audit.findings.comparison_notes import CAVEAT, SAME_MODEL
from seedsweep.audit.findings.saved import load_comparisons
from seedsweep.audit.report.comparison_page import SIDE, render_comparison, render_scatter
from seedsweep.cli import main as command_line
from seedsweep.cli.comparison_tables import print_comparison
from seedsweep.storage.campaigns import load_campaign, store_control
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Control
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results, read_results
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, PromptSettings, Sampling, SettingColumns
from tests.support.arms import submit, submit_parts
from tests.support.campaigns import make_campaign

EVIL = '<script>alert("x")</script> [red]&'
BEFORE = {"a": 5, "b": 4, EVIL: 8, "d": 0, "e": 0}
AFTER = {"a": 5, "b": 0, EVIL: 0, "d": 3, "e": 0}


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def arms(store):
    """Before: three flagged, two extracted. After: two flagged, one extracted."""
    before = submit(store, "before", BEFORE, {"a": "1.png", EVIL: "2.png"})
    return before, submit(store, "after", AFTER, {"a": "1.png"})


@pytest.fixture
def found(store, arms):
    return compare_campaigns(store, *arms)


def refused(store, a, b):
    with pytest.raises(ConfigError) as error:
        compare_campaigns(store, a, b)
    return str(error.value)


def cells(rates):
    return rates.both, rates.only_a, rates.only_b, rates.neither


class TestWhatIsCounted:
    def test_prompts_are_paired(self, found):
        assert found.prompts == 5
        assert found.left_out == LeftOut(0, 0, 0)
        assert cells(found.flagged) == (1, 2, 1, 1)
        assert cells(found.extracted) == (1, 1, 0, 3)
        assert (found.flagged.a.count, found.flagged.b.count) == (3, 2)
        assert found.flagged.p == 1
        assert found.flagged.difference.value == pytest.approx(-0.2)

    def test_distinct_training_pictures(self, found):
        assert found.pictures == ExtractedPictures(2, 1, 1)

    def test_one_picture_of_two_prompts_counts_once(self, store, arms):
        c = submit(store, "c", {"a": 5, "b": 4}, {"a": "1.png", "b": "1.png"})
        assert compare_campaigns(store, arms[0], c).pictures == ExtractedPictures(1, 1, 1)

    def test_clique_sizes(self, found):
        assert found.clique_size.value == pytest.approx((0 - 4 - 8 + 3 + 0) / 5)
        assert [(c.prompt, c.a, c.b) for c in found.shrunk] == [(EVIL, 8, 0), ("b", 4, 0)]
        assert [(c.prompt, c.a, c.b) for c in found.grown] == [("d", 0, 3)]
        assert Point(5, 5, 1) in found.points
        assert sum(point.prompts for point in found.points) == 5

    def test_prompts_without_a_partner_are_left_out_and_counted(self, store, arms):
        c = submit(store, "c", {"a": 5, "d": 0, "e": 0, "new": 7}, digests={"d": "fewer"})
        found = compare_campaigns(store, arms[0], c)
        assert (found.prompts, found.left_out) == (2, LeftOut(2, 1, 1))

    def test_a_clique_that_was_not_proven_is_counted(self, store, arms):
        campaign = load_campaign(store, arms[0]).campaign
        rows = read_results(store, campaign.analysis_id, arms[0])
        more = {"clique_proven": False, "clique_upper_bound": 8}
        doubtful = [r.model_copy(update=more) for r in rows if r.prompt == "a"]
        drop_results(store, arms[0], {r.prompt_id for r in doubtful})
        store_results(store, campaign.analysis_id, arms[0], doubtful)
        assert compare_campaigns(store, *arms).unproven == 1

    def test_what_differs_is_one_line_each(self, found):
        by_label = {contrast.label: contrast for contrast in found.contrasts}
        assert by_label.keys() == {"Model", "Fingerprint"}
        assert (by_label["Fingerprint"].a, by_label["Fingerprint"].b) == (
            "noise:before",
            "noise:after",
        )

    def test_other_prompts_sampling_and_training_sets_are_said(self, store, arms):
        c = submit(
            store,
            "c",
            AFTER,
            prompts=PromptList(file="prompts.csv", column="prompt", count=6),
            sampling=Sampling(seeds=8, guidance_scale=3.0),
            verification=Verification(training_set="/less", fingerprint="u"),
        )
        found = compare_campaigns(store, arms[0], c)
        labels = {contrast.label for contrast in found.contrasts}
        assert labels >= {"Guidance scale", "Prompt list", "Training set"}
        assert found.pictures.both is None
        assert any("different training sets" in note for note in found.notes)

    def test_settings_that_prompts_have_of_their_own_are_counted_and_no_note_is_repeated(self):
        without = make_campaign("without")
        columns = SettingColumns(negative_prompt="without")
        prompts = PromptList(file="p.csv", column="prompt", count=2, settings=columns)
        listed = without.model_copy(update={"prompts": prompts})
        own = PromptSettings(negative_prompt="blurry"), PromptSettings(negative_prompt="")
        assert [*setting_words(without, listed, [(None, own[0]), (None, own[1])])] == [
            "Negative prompt differs for 1 of 2 prompts."
        ]
        assert [*setting_words(without, without, [(None, None)])] == []

    def test_another_column_of_one_file_is_another_training_set(self, store, arms):
        here = load_campaign(store, arms[0]).campaign.verification
        column = here.model_copy(update={"column": "photo", "folder": "/pictures"})
        c = submit(store, "c", AFTER, verification=column)
        assert compare_campaigns(store, arms[0], c).pictures.both is None

    def test_without_a_training_set_flags_alone_are_compared(self, store, arms):
        c = submit(store, "c", AFTER, verification=None)
        found = compare_campaigns(store, arms[0], c)
        assert (found.extracted, found.pictures) == (None, None)
        assert any("Extractions are not examined" in note for note in found.notes)
        assert 'extracted</td><td colspan="8">not examined</td>' in render_comparison(found)

    def test_nothing_is_examined_of_what_is_not_flagged(self, store, arms, capsys):
        bare = submit(store, "bare", dict.fromkeys(BEFORE, 0))
        found = compare_campaigns(store, arms[0], bare)
        assert found.examined == (True, False)
        assert cells(found.extracted) == (0, 2, 0, 3)
        assert any("In B nothing is flagged" in note for note in found.notes)
        page = " ".join(render_comparison(found).split())
        assert '<td class="n">not examined</td>' in page
        assert "Distinct training pictures extracted: 2 in A, not examined in B" in page
        print_comparison(found)
        shown = capsys.readouterr().out
        assert "extracted: 2 in A, not examined in B" in " ".join(shown.split())
        assert shown.count("not examined") == 2

    def test_if_nothing_is_flagged_in_either_nothing_is_examined(self, store):
        unflagged = [submit(store, name, dict.fromkeys(BEFORE, 0)) for name in "xy"]
        found = compare_campaigns(store, *unflagged)
        assert (found.extracted, found.pictures, found.examined) == (None, None, (False, False))
        assert any("nothing is flagged, so nothing was compared" in note for note in found.notes)

    def test_the_same_recipe_is_said_to_make_the_same_images(self, store, arms):
        model = load_campaign(store, arms[0]).campaign.model
        c = submit(store, "c", AFTER, model=model)
        notes = compare_campaigns(store, arms[0], c).notes
        assert any("same recipe" in note for note in notes)
        assert SAME_MODEL in notes
        assert CAVEAT not in notes


class TestParts:
    """How much of the picture repeats; parts have 14 tiles of 64 at least, which is 4 × 4."""

    @pytest.fixture
    def arms(self, store):
        before = submit_parts(store, "before", BEFORE, {"d": 20, "e": 40})
        return before, submit_parts(store, "after", AFTER, {"b": 16, "e": 15})

    def test_the_curve_counts_prompts_that_repeat_so_much_or_all(self, store, arms):
        parts = compare_campaigns(store, *arms).parts
        assert [part.side for part in parts] == [4, 5, 6, 7, 8]
        assert [(part.rates.a.count, part.rates.b.count) for part in parts] == [
            (5, 3), (4, 2), (4, 2), (3, 2), (3, 2)
        ]  # fmt: skip
        assert cells(parts[0].rates) == (3, 2, 0, 0)

    def test_it_is_printed_drawn_and_saved(self, store, arms, monkeypatch):
        found = compare_campaigns(store, *arms)
        page = render_comparison(found)
        assert "<td>4 × 4 tiles</td>" in page  # noqa: RUF001
        assert "flagged ones all of it" in page
        monkeypatch.setenv("COLUMNS", "200")
        done = CliRunner().invoke(command_line.app, ["compare", *arms, "--store", store.url])
        assert "8 × 8 tiles" in done.stdout  # noqa: RUF001
        assert load_comparisons(store, arms[0])[0].parts == found.parts

    def test_without_parts_there_is_none(self, store):
        arms = (submit(store, name, AFTER) for name in ("one", "other"))
        found = compare_campaigns(store, *arms)
        assert found.parts == ()
        assert "tiles</td>" not in render_comparison(found)


class TestWhatIsRefused:
    def test_a_campaign_with_itself(self, store, arms):
        assert "with itself" in refused(store, arms[0], arms[0])

    def test_an_unknown_campaign(self, store, arms):
        assert "knows no campaign" in refused(store, arms[0], "nothing")

    @pytest.mark.parametrize("sampling", [Sampling(seeds=7), Sampling(seeds=8, first_seed=1)])
    def test_other_seeds(self, store, arms, sampling):
        c = submit(store, "c", AFTER, sampling=sampling)
        said = refused(store, arms[0], c)
        assert "0 to 7" in said
        assert "`first_seed`" in said

    def test_no_prompt_in_common(self, store, arms):
        c = submit(store, "c", {"x": 0, "a": 3}, digests={"a": "fewer"})
        said = refused(store, arms[0], c)
        assert "4 in the first alone, 1 in the second alone, 1 with other seeds" in said

    def test_other_thresholds_with_the_command_that_mends_it(self, store, arms):
        c = submit(store, "c", AFTER, analysis=Analysis(min_clique_size=3, edge_threshold=0.2))
        said = refused(store, arms[0], c)
        assert "edge_threshold (0.1 and 0.2)" in said
        assert f"`seedsweep analyse {c} --edge-threshold 0.1 --min-clique-size 2`" in said

    def test_parts_looked_for_in_one_alone_with_the_command_that_mends_it(self, store, arms):
        c = submit(store, "c", AFTER, analysis=Analysis(min_clique_size=2, partial=True))
        assert f"`seedsweep analyse {c} --no-partial`" in refused(store, arms[0], c)
        assert f"`seedsweep analyse {arms[0]} --partial`" in refused(store, c, arms[0])

    def test_the_remedy_begins_with_the_campaigns_own_file(self, store, arms):
        own = load_campaign(store, arms[1]).campaign.settings
        changed = AnalysisSettings(
            analysis=own.analysis.model_copy(update={"tiles": 2}), verification=own.verification
        )
        store_control(store, arms[1], Control(settings=changed))
        assert f"`seedsweep analyse {arms[1]}` judges" in refused(store, *arms)

    def test_other_settings_that_no_flag_changes(self, store, arms):
        verification = Verification(training_set="/train", fingerprint="t", alpha=1.0)
        c = submit(store, "c", AFTER, verification=verification)
        said = refused(store, arms[0], c)
        assert "alpha (0.5 and 1.0)" in said
        assert "submit one of them under another name" in said

    def test_the_matrix_alters_no_result_and_may_differ(self, store, arms):
        c = submit(store, "c", AFTER, analysis=Analysis(min_clique_size=2, matrix="full"))
        assert compare_campaigns(store, arms[0], c).prompts == 5


class TestPage:
    def test_it_says_the_caveat_and_needs_nothing_beside_itself(self, found):
        html = render_comparison(found)
        assert CAVEAT in html
        assert not re.search(r"src=|href=|url\(|@import|<link", html)

    def test_texts_are_escaped(self, store, arms):
        c = submit(store, "c", AFTER, model=Model(pipeline="noise", path="<b>", fingerprint="x"))
        html = render_comparison(compare_campaigns(store, arms[0], c))
        assert "<script>" not in html
        assert "&lt;script&gt;alert(&#34;x&#34;)" in html
        assert "&lt;b&gt;" in html

    def test_what_did_not_change_lies_on_the_diagonal(self, found):
        scatter = render_scatter(found.points)
        assert len(scatter.circles) == len(found.points)
        for circle in scatter.circles:
            across, up = circle.x - scatter.x_ticks[0].place, scatter.y_ticks[0].place - circle.y
            assert (across == pytest.approx(up)) == (circle.point.a == circle.point.b)
            assert scatter.left <= circle.x - circle.radius
            assert circle.x + circle.radius <= SIDE
            assert scatter.top <= circle.y - circle.radius
            assert circle.y + circle.radius <= scatter.bottom

    def test_a_circles_area_grows_with_its_prompts(self):
        large, small = render_scatter((Point(0, 0, 400), Point(4, 2, 100))).circles
        assert large.radius == pytest.approx(2 * small.radius)

    def test_nothing_flagged_is_a_page_too(self, store):
        names = [submit(store, name, {"a": 0, "b": 0}) for name in ("x", "y")]
        html = render_comparison(compare_campaigns(store, *names))
        assert "No clique shrank." in html
        assert "no interval (all differences are equal)" in html


class TestCommand:
    def run(self, store, *arguments):
        command = ["compare", *arguments, "--store", store.url]
        return CliRunner().invoke(command_line.app, command)

    def test_it_prints_rates_cells_and_what_changed(self, store, arms):
        shown = self.run(store, *arms)
        assert shown.exit_code == 0, shown.output
        lines = shown.stdout.splitlines()
        (line,) = [line for line in lines if "│ flagged" in line]
        assert "3/5 = 0.60 [0.15, 0.95]" in line
        assert re.sub(r"[│\s]+", " ", line).split()[-5:] == ["1", "2", "1", "1", "1"]
        assert "Fingerprint: noise:before | noise:after" in lines
        assert EVIL in shown.stdout
        assert CAVEAT in lines

    def test_json_has_all_of_it(self, store, arms):
        told = json.loads(self.run(store, *arms, "--json").stdout)
        assert told["flagged"]["only_a"] == 2
        assert told["flagged"]["a"]["low"] == pytest.approx(0.1466, abs=1e-4)
        assert Change(**told["grown"][0]).prompt == "d"
        assert CAVEAT in told["notes"]

    def test_a_page_is_written_beside_what_is_printed(self, store, arms, tmp_path):
        shown = self.run(store, *arms, "--json", "-o", str(tmp_path / "page"))
        assert json.loads(shown.stdout)["prompts"] == 5
        assert "seedsweep comparison" in (tmp_path / "page" / "index.html").read_text()

    def test_a_folder_that_cannot_be_written_is_the_users_error(self, store, arms, tmp_path):
        (tmp_path / "file").write_text("")
        shown = self.run(store, *arms, "-o", str(tmp_path / "file"))
        assert isinstance(shown.exception, ConfigError)
        assert "cannot be written" in str(shown.exception)
