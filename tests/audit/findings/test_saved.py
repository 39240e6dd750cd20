"""What calibrations, comparisons and duplication curves are kept as."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from seedsweep.audit.findings.saved import (
    keep,
    load_calibrations,
    load_comparisons,
    load_duplications,
    try_to_save,
)
from seedsweep.audit.report.calibration_page import render_page
from seedsweep.audit.report.comparison_page import render_comparison
from seedsweep.cli import main as command_line
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign, store_control
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Control
from seedsweep.storage.settings.analysis import AnalysisSettings
from tests.support.findings import make_arms, make_calibration, make_comparison, make_duplication


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def arms(store):
    return make_arms(store)


def later(found):
    return dataclasses.replace(found, written_at="2999-01-01T00:00:00+00:00")


class TestCalibrations:
    def test_one_comes_back_with_all_that_its_page_is_drawn_from(self, store, arms):
        found = make_calibration(store, arms[0])
        keep(store, found)
        (kept,) = load_calibrations(store, arms[0])
        assert render_page(kept) == render_page(found)
        for one, other in zip(kept.candidates, found.candidates, strict=True):
            assert one.scores.controls.dtype == np.int64
            assert one.scores.controls.tolist() == other.scores.controls.tolist()
            assert one.scores.positives.tolist() == other.scores.positives.tolist()

    def test_the_same_found_again_takes_its_place_and_another_stands_before_it(self, store, arms):
        found = make_calibration(store, arms[0])
        keep(store, found)
        keep(store, later(found))
        assert len(load_calibrations(store, arms[0])) == 1
        other = make_calibration(store, arms[0], sizes=(2,))
        keep(store, dataclasses.replace(other, written_at="2000-01-01T00:00:00+00:00"))
        assert [len(kept.candidates) for kept in load_calibrations(store, arms[0])] == [2, 1]

    def test_one_holds_for_every_analysis_that_differs_in_thresholds_alone(self, store, arms):
        own = make_calibration(store, arms[0])
        settings = load_campaign(store, arms[0]).campaign.settings

        def under(**changes):
            analysis = settings.analysis.model_copy(update=changes)
            changed = AnalysisSettings(analysis=analysis, verification=settings.verification)
            store_control(store, arms[0], Control(settings=changed))
            return make_calibration(store, arms[0])

        alike = under(edge_threshold=0.3, min_clique_size=3, matrix="full")
        assert alike.analysis_id != own.analysis_id
        assert alike.scoring_id == own.scoring_id
        assert under(tiles=2).scoring_id != own.scoring_id


class TestComparisons:
    def test_one_is_kept_with_both_campaigns(self, store, arms):
        found = make_comparison(store, *arms)
        keep(store, found)
        assert load_comparisons(store, arms[0]) == load_comparisons(store, arms[1]) == [found]
        assert render_comparison(load_comparisons(store, arms[1])[0]) == render_comparison(found)

    def test_the_next_of_the_two_takes_its_place_whichever_way_round(self, store, arms):
        keep(store, make_comparison(store, *arms))
        turned = make_comparison(store, *reversed(arms))
        keep(store, turned)
        assert load_comparisons(store, arms[0]) == [turned]


class TestDuplications:
    def test_one_comes_back_as_it_was(self, store, arms, tmp_path):
        found = make_duplication(store, arms[0], tmp_path)
        keep(store, found)
        keep(store, later(make_duplication(store, arms[0], tmp_path, sample=None)))
        assert [kept.sample is None for kept in load_duplications(store, arms[0])] == [True, False]
        assert load_duplications(store, arms[0])[1] == found


def test_nothing_kept_is_nothing_found(store, arms):
    for load in (load_calibrations, load_comparisons, load_duplications):
        assert load(store, arms[0]) == []


@pytest.mark.parametrize(
    ("kind", "load", "command"),
    [
        ("calibrations", load_calibrations, "calibrate"),
        ("comparisons", load_comparisons, "compare"),
        ("duplications", load_duplications, "duplication"),
    ],
)
@pytest.mark.parametrize("data", [b"", b"{}", b"nonsense"])
def test_an_object_that_was_not_written_is_named_with_its_remedy(
    store, arms, kind, load, command, data
):
    key = keys.finding(arms[0], kind, "0" * 16)
    store.replace(key, data)
    with pytest.raises(ShardCorruptError, match=f"run `seedsweep {command}` again") as caught:
        load(store, arms[0])
    assert key in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"chosen_size": 3},
        {"candidates": [{"scores": {"controls": [1002]}}]},
        {"candidates": [{"scores": {"controls": {}}}]},
    ],
)
def test_a_calibration_that_cannot_be_is_corrupt(store, arms, change):
    keep(store, make_calibration(store, arms[0]))
    (key,) = store.list(keys.findings_prefix(arms[0], "calibrations"))
    data = json.loads(store.read(key))
    if "candidates" in change:
        data["candidates"][0]["scores"] |= change["candidates"][0]["scores"]
    else:
        data |= change
    store.replace(key, json.dumps(data).encode())
    with pytest.raises(ShardCorruptError, match=key):
        load_calibrations(store, arms[0])


class TestCommands:
    def run(self, store, *arguments):
        command = [*map(str, arguments), "--store", store.url]
        return CliRunner().invoke(command_line.app, command)

    def commands(self, arms, folder):
        (folder / "copies.csv").write_text("prompt,copies\na,9\nb,2\n")
        compared = ("compare", *arms, "--json")
        yield compared, load_comparisons
        yield (
            ("duplication", arms[0], "--copies", folder / "copies.csv", "--json"),
            (load_duplications),
        )

    def test_they_keep_what_they_print(self, store, arms, tmp_path):
        for command, load in self.commands(arms, tmp_path):
            shown = self.run(store, *command)
            assert shown.exit_code == 0, shown.output
            assert shown.stderr == ""
            (kept,) = load(store, arms[0])
            assert json.loads(shown.stdout) == json.loads(json.dumps(dataclasses.asdict(kept)))

    def test_a_store_that_cannot_be_written_is_said_and_the_result_is_printed(
        self, store, arms, tmp_path
    ):
        # A file where a folder would be: no permission stops root, who may run the tests.
        for folder in ("comparisons", "duplications"):
            (store.root / "campaigns" / arms[0] / folder).write_text("")
        for command, _ in self.commands(arms, tmp_path):
            shown = self.run(store, *command)
            assert shown.exit_code == 0, shown.output
            assert json.loads(shown.stdout)
            (line,) = shown.stderr.splitlines()
            assert line.startswith("This is not kept, so no report will show it: The store ")

    def test_a_calibration_that_cannot_be_kept_is_said_alike(self, store, arms):
        (store.root / "campaigns" / arms[0] / "calibrations").write_text("")
        said = try_to_save(store, make_calibration(store, arms[0]))
        assert "could not write" in said
