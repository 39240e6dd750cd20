"""Parts as the report shows them: outlined, the rest dimmed, and what is missing in its place."""

import re

import numpy as np
import pytest

from seedsweep.audit.findings.part_curve import part_curve
from seedsweep.audit.findings.part_point import part_point
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.parts_section import highlight
from seedsweep.audit.report.report import render_report
from seedsweep.storage import keys
from seedsweep.storage.prompt_results import Part
from seedsweep.storage.settings.analysis import Analysis, PartRule
from seedsweep.workers.analysts.part_masks import store_masks
from seedsweep.workers.analysts.stored_prompt import read_prompt
from tests.support.part_campaign import BICYCLE, CAMERA, HARBOUR, LAMP, PartCampaign, part_search
from tests.support.results import make_flagged, make_result

PART = Part(
    seeds=(0, 1), whole_seeds=(0, 1), tiles=tuple(range(17)), share=0.2, representative_seed=0
)


@pytest.fixture
def made(tmp_path):
    return PartCampaign(tmp_path)


def page_of(made):
    report = gather_report(made.store, made.id, None)
    return report.parts, " ".join(render_report(report).split())


def test_what_is_outside_of_the_part_is_dimmed_and_the_part_is_outlined():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    mask = np.zeros((32, 48), bool)
    mask[8:20, 10:30] = True
    drawn = highlight(pixels, mask)
    assert drawn.shape == (160, 240, 3)
    assert (drawn[60:90, 70:130] == pixels.repeat(5, 0).repeat(5, 1)[60:90, 70:130]).all()
    outside = drawn[:30].astype(int)
    assert (abs(outside - 190) <= 0.3 * 190 + 1).all()
    assert (drawn[40, 50:150] == (214, 0, 110)).all()
    large = highlight(np.zeros((300, 512, 3), np.uint8), np.zeros((300, 512), bool))
    assert large.shape == (300, 512, 3)


def test_each_part_is_shown_with_its_generations_and_what_it_matches(made):
    made.store_masks()
    part_search(made)
    parts, page = page_of(made)
    assert (parts.prompts, parts.count, parts.extracted, parts.common) == (4, 4, 1, 3)
    shown = {part.result.prompt: part for part in parts.shown}
    assert set(shown) == {CAMERA, BICYCLE, HARBOUR, LAMP}
    for part in shown.values():
        assert not part.missing
        assert all(picture.uri for picture in (part.median, *part.generations, part.training))
    assert "4 prompts repeat a part of the picture while the rest of it varies: 4 parts." in page
    assert '<span class="tag extracted">part extracted</span>' in page
    assert page.count('<span class="tag">common</span>') == 3
    assert "(1 with an unrelated caption)" in page
    assert shown[CAMERA].training.caption in page


def test_parts_that_were_compared_with_nothing_say_so(made):
    made.store_masks()
    parts, page = page_of(made)
    assert not parts.examined
    assert "They were compared with no training picture." in page
    assert page.count('<span class="tag">not examined</span>') == 4
    assert all(part.training is None for part in parts.shown)


@pytest.mark.parametrize("mask", [None, b"no picture"])
def test_a_mask_that_cannot_be_read_is_said_and_hides_nothing(made, mask):
    made.store_masks()
    key = keys.mask(made.plan.campaign.analysis_id, made.id, made.results[0].prompt_id, 0)
    made.store.delete(key)
    if mask:
        made.store.create(key, mask)
    parts, page = page_of(made)
    missing = [part.missing for part in parts.shown]
    assert sorted(map(bool, missing)) == [False, False, False, True]
    assert re.search(rf"mask {re.escape(key)} cannot be shown: it is", page)


def test_a_campaign_without_parts_says_that_there_are_none(made):
    made.store_results([result.model_copy(update={"parts": ()}) for result in made.results])
    parts, page = page_of(made)
    assert parts is None
    assert "No prompt repeats a part of the picture while the rest of it varies." in page


def test_the_curve_tells_how_many_prompts_repeat_so_much(made):
    """Three by two tiles repeat in all four prompts; one of them is flagged besides."""
    whole = make_flagged(prompt=CAMERA, parts=made.results[0].parts)
    made.store_results([whole, *made.results[1:]])
    _, page = page_of(made)
    [table] = re.findall(r"<tbody> (<tr><td>2 . 2 tiles.*?) </tbody>", page)
    rows = re.findall(r"<td>(\d) . \d tiles</td><td class=\"n\">([\d.]+) %</td><td>(\d/\d)", table)
    assert rows == [("2", "25.0", "4/4"), ("3", "56.2", "1/4"), ("4", "100.0", "1/4")]
    assert "<code>seedsweep calibrate --partial</code> measures that" in page


def test_the_curve_has_its_null_from_the_controls_of_a_calibration():
    controls = np.array([0] * 96 + [9, 9, 20, 64])
    calibrated = part_point(8, controls, np.array([], int), (), 0.05)
    results = [make_result(parts=(PART,)), make_result(), make_flagged()]
    curve = part_curve(results, Analysis(partial=True, min_clique_size=2), calibrated)
    assert [point.side for point in curve.points] == [4, 5, 6, 7, 8]
    assert [point.prompts.count for point in curve.points] == [2, 1, 1, 1, 1]
    assert [point.controls.count for point in curve.points] == [2, 1, 1, 1, 1]
    other = Analysis(partial=True, min_clique_size=2, parts=PartRule(grid=4, least=2))
    assert {point.controls for point in part_curve(results, other, calibrated).points} == {None}
    assert part_curve(results, Analysis(), calibrated) is None


def test_training_pictures_that_are_gone_are_said(made):
    made.store_masks()
    part_search(made)
    (made.folder / "train.parquet").unlink()
    parts, page = page_of(made)
    assert all(part.training.uri is None for part in parts.shown)
    assert "train.parquet" in parts.shown[0].training.missing
    assert page.count('class="missing"') == 4


def test_masks_are_those_of_the_analysis(made):
    made.store_masks()
    parts, _ = page_of(made)
    prompt = read_prompt(made.store, made.submission, CAMERA)
    result = next(result for result in made.results if result.prompt == CAMERA)
    whose = (made.plan.campaign.analysis_id, made.id)
    store_masks(made.store, whose, prompt, result, made.plan.campaign.settings.analysis.parts)
    again, _ = page_of(made)
    assert again.shown == parts.shown
