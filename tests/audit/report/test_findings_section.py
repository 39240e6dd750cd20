"""The report's sections on what other commands found."""

import dataclasses
import html
import json
import re

import pytest

from seedsweep.audit.findings.comparison_notes import CAVEAT
from seedsweep.audit.findings.saved import keep
from seedsweep.audit.findings.verification_summary import summary
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.report import render_report
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign, store_control, store_verification
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Control
from seedsweep.storage.settings.analysis import AnalysisSettings
from tests.support.findings import (
    make_arms,
    make_calibration,
    make_comparison,
    make_duplication,
    make_search,
)

HEADINGS = ["Search of the training set", "Calibration", "Duplication", "Comparison of A"]


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def arms(store):
    return make_arms(store)


@pytest.fixture
def full(store, arms, tmp_path):
    """A campaign of which everything was found."""
    store_verification(store, make_search(store, arms[0]))
    keep(store, make_calibration(store, arms[0]))
    keep(store, make_duplication(store, arms[0], tmp_path))
    keep(store, make_comparison(store, *arms))
    return arms[0]


def html_of(store, campaign_id, analysis_id=None):
    return render_report(gather_report(store, campaign_id, analysis_id))


def words(source):
    """The text that a reader sees."""
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", source, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def headings(page):
    return [h for h in HEADINGS if h in words(" ".join(re.findall(r"<h2.*?</h2>", page)))]


def judged_otherwise(store, campaign_id, **changes):
    """Have the campaign judged by other settings; returns the id of that analysis."""
    own = load_campaign(store, campaign_id).campaign.settings
    analysis = own.analysis.model_copy(update=changes)
    settings = AnalysisSettings(analysis=analysis, verification=own.verification)
    store_control(store, campaign_id, Control(settings=settings))
    return settings.analysis_id


class TestWhatIsShown:
    def test_the_search_with_the_sentences_of_verify_and_its_controls_interval(self, store, full):
        text = words(html_of(store, full))
        for sentence in summary(make_search(store, full)):
            assert sentence in text
        assert "1 training picture, near-copies counted once" in text
        assert "0/40 = 0.00 [0.00, 0.09]" in text

    def test_the_newest_search(self, store, full):
        newest = make_search(
            store, full, "2027-05-06T00:00:00+00:00", groups=(("x.png",), ("y.png",))
        )
        store_verification(store, newest.model_copy(update={"controls": None}))
        text = words(html_of(store, full))
        assert "Searched 6 May 2027" in text
        assert "Distinct training pictures extracted: 2" in text
        assert text.count("Distinct training pictures extracted: 1 ") == 0

    def test_the_calibration_with_its_curve_rates_methods_and_warnings(self, store, full):
        page = html_of(store, full)
        text = words(page)
        point = make_calibration(store, full).chosen.point
        assert f"{point.threshold} edge threshold cliques of 2 or more" in text
        assert "9/10 = 0.9 [" in text
        assert point.recall.method in text
        assert "exact (Clopper-Pearson), upper bound" in text
        assert "if 0.03 % of all prompts repeat a picture" in text
        assert "a rate of 0.2: shown" in text
        assert 'id="chart-1-title">Precision and recall' in page
        assert 'class="band"' in page

    def test_whether_the_report_is_at_the_calibrations_operating_point(self, store, full):
        assert "not at the operating point below, but at edge threshold 0.1" in words(
            html_of(store, full)
        )
        point = make_calibration(store, full).chosen.point
        analysis = judged_otherwise(store, full, edge_threshold=point.threshold)
        text = words(html_of(store, full, analysis))
        assert "are at the operating point below" in text
        assert "was made under analysis" in text

    def test_the_duplication_curve_with_its_sample_and_intervals(self, store, full):
        page = html_of(store, full)
        text = words(page)
        assert "All prompts with known copies: 4 analysed" in text
        assert "A random sample of 3 (seed 0)" in text
        assert "1/1 = 1.00 [0.03, 1.00]" in text
        assert "another training run could differ" in text
        assert page.count('<g class="mark') > 4

    def test_a_comparison_with_intervals_test_picture_and_caveat(self, store, full, arms):
        for campaign_id in arms:
            page = html_of(store, campaign_id)
            text = words(page)
            assert f"Comparison of A {arms[0]} with B {arms[1]}" in text
            assert "3/5 = 0.60 [0.15, 0.95]" in text
            assert "exact McNemar test, two-sided" in text
            assert CAVEAT in text
            assert 'aria-labelledby="comparison-1-scatter-title' in page

    def test_comparisons_with_several_campaigns(self, store, full):
        from tests.support.arms import submit

        keep(store, make_comparison(store, submit(store, "third", {"a": 2, "d": 0}), full))
        page = html_of(store, full)
        assert page.count('<h2 id="comparison-') == 2


class TestWhatIsNotShown:
    def test_what_there_is_none_of_is_said_with_the_command_that_adds_it(self, store, arms):
        page = html_of(store, arms[0])
        text = words(page)
        assert headings(page) == []
        for name, command in (
            ("search of a training set", f"verify {arms[0]} --training-set PATH"),
            ("calibration", f"calibrate {arms[0]} --controls FILE -o DIR"),
            ("duplication curve", f"duplication {arms[0]} --copies FILE"),
            ("comparison", f"compare {arms[0]} ID"),
        ):
            said = f"No {name} is stored for this analysis: seedsweep {command} adds one."
            assert said in text

    def test_where_all_is_there_nothing_is_missed(self, store, full):
        page = html_of(store, full)
        assert headings(page) == HEADINGS
        assert "Not in this report" not in page

    def test_what_was_found_of_another_analysis_is_named_and_nothing_more(self, store, full):
        own = load_campaign(store, full).campaign.analysis_id
        page = html_of(store, full, judged_otherwise(store, full, tiles=2))
        text = words(page)
        assert headings(page) == []
        for name in ("search of a training set", "calibration", "duplication curve", "comparison"):
            said = f"Of another analysis ({own}) there is a {name} too, which is not shown."
            assert said in text
            assert f"No {name} is stored" in text
        assert CAVEAT not in text

    def test_a_comparison_is_of_the_analysis_of_the_campaign_at_hand(self, store, full, arms):
        """That the other one is judged anew takes nothing from this report."""
        analysis = judged_otherwise(store, arms[1], tiles=2)
        assert "Comparison of A" in words(html_of(store, arms[0]))
        assert "Comparison of A" not in words(html_of(store, arms[1], analysis))

    def test_settings_that_are_not_known_leave_only_what_names_the_analysis(self, store, full):
        found = dataclasses.replace(make_calibration(store, full), analysis_id="f" * 16)
        keep(store, found)
        page = html_of(store, full, "f" * 16)
        assert headings(page) == ["Calibration"]
        assert "operating point below" not in words(page)

    def test_what_is_corrupt_is_said_and_the_rest_is_shown(self, store, full):
        key = keys.finding(full, "calibrations", "0" * 16)
        store.replace(key, b"{}")
        page = html_of(store, full)
        assert headings(page) == ["Search of the training set", "Duplication", "Comparison of A"]
        assert f"The object {key} is not what was written" in words(page)


def test_a_comparison_whose_values_contradict_one_another_is_said_and_not_shown(store, full):
    (key,) = store.list(keys.findings_prefix(full, "comparisons"))
    value = json.loads(store.read(key))
    value["points"][0]["prompts"] = -1
    store.replace(key, json.dumps(value).encode())
    page = html_of(store, full)
    assert "A comparison is not what was written" in words(page)


def test_texts_are_escaped_ids_are_used_once_and_nothing_is_fetched(store, full):
    page = html_of(store, full)
    assert not re.search(
        r"<script|<i>|<u>|<s>|href=\"(?!#)|url\(|@import|<link|src=\"(?!data:)", page
    )
    for text in ("&lt;script&gt;alert", "&lt;i&gt;2", "&lt;u&gt;copies.csv", "&lt;s&gt;bad.png"):
        assert text in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    labels = " ".join(re.findall(r'aria-labelledby="([^"]+)"', page)).split()
    assert set(labels) <= set(ids)
