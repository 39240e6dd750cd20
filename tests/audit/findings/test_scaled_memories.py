"""A part that is larger or smaller in each picture, from the analysis to the report and bundle."""

import json
from itertools import pairwise

import pytest

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.findings.part_search import WAYS, _usual
from seedsweep.audit.report.report import gather_report
from seedsweep.storage.campaigns import load_verifications
from seedsweep.storage.prompt_results import Part, Scaling, Shift
from seedsweep.storage.results import read_results
from tests.support.part_campaign import CAMERA, SCALED, SIZES, PartCampaign, part_search


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    campaign = PartCampaign(tmp_path_factory.mktemp("scaled"), SCALED)
    campaign.store_masks()
    part_search(campaign)
    return campaign


@pytest.fixture(scope="module")
def part(made):
    stored = read_results(made.store, made.plan.campaign.analysis_id, made.id)
    [part] = next(result.parts for result in stored if result.prompt == CAMERA)
    return part


def test_results_say_how_large_each_picture_shows_the_part(part):
    assert part.seeds == tuple(range(6))
    own = SIZES[part.representative_seed]
    shifts = [shift for shift in part.shifts if shift.scaling]
    assert len(shifts) >= 3
    for seed, shift in zip(part.seeds, part.shifts, strict=True):
        if shift.scaling:
            assert shift.scaling.thousandths == pytest.approx(1000 * SIZES[seed] / own, abs=15)


def test_training_pictures_that_show_it_smaller_are_found(made):
    [search, *_] = load_verifications(made.store, made.id)
    match = next(part.match for part in search.parts if part.prompt == CAMERA)
    assert (match.copies, match.extracted) == (3, True)
    assert match.shift.scaling.thousandths == pytest.approx(SIZES[1], abs=30)


def test_the_report_shows_the_part_where_each_picture_does(made, part):
    parts = gather_report(made.store, made.id, None).parts
    [shown] = [each for each in parts.shown if each.result.prompt == CAMERA]
    assert shown.memory.shifts == part.shifts
    assert not shown.missing


def test_a_bundle_is_checked_with_a_part_that_is_scaled(made, tmp_path):
    write_evidence(made.store, made.id, tmp_path, BundleOptions(), lambda done, total: None)
    assert list(check_bundle(tmp_path)) == []
    entries = json.loads((tmp_path / "parts.json").read_text())["parts"]
    shared = [each["shift"] for entry in entries for each in entry["shared"]]
    assert any("scaling" in shift for shift in shared)


def test_a_part_of_many_sizes_is_looked_for_at_sizes_all_over_their_range():
    shifts = (
        Shift(),
        *(Shift(scaling=Scaling(thousandths=900 + n)) for n in range(100)),
    )
    seeds = tuple(range(101))
    part = Part(
        seeds=seeds, whole_seeds=seeds, tiles=(1,), share=0.1, representative_seed=0, shifts=shifts
    )
    sizes = [shift.scaling.thousandths for shift in _usual(part)]
    assert len(sizes) == WAYS
    assert (sizes[0], sizes[-1]) == (900, 999)
    assert max(b - a for a, b in pairwise(sizes)) <= 7
