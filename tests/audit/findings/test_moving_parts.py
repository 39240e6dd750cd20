"""A part that lies elsewhere in each picture, from the analysis to the report and the bundle."""

import io

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.report.contents import gather_report
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_verifications
from seedsweep.storage.prompt_results import Shift
from seedsweep.storage.results import read_results
from tests.support.part_campaign import BOX, CAMERA, MOVING, SHIFTS, PartCampaign, part_search


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    campaign = PartCampaign(tmp_path_factory.mktemp("moving"), MOVING)
    campaign.store_masks()
    part_search(campaign)
    return campaign


def expected(seed):
    down, right = SHIFTS[seed]
    return Shift(down=down, right=right, mirrored=seed % 3 == 2)


def test_results_say_where_each_picture_shows_the_part(made):
    stored = read_results(made.store, made.plan.campaign.analysis_id, made.id)
    assert sorted(stored, key=lambda r: r.prompt) == sorted(made.results, key=lambda r: r.prompt)
    found = {result.prompt: result.parts for result in stored}
    assert [len(parts) for parts in found.values()] == [1, 1, 1, 1]
    [part] = found[CAMERA]
    assert (part.seeds, part.representative_seed) == ((0, 1, 2, 3, 4, 5), 0)
    assert part.shifts == tuple(map(expected, part.seeds))
    assert all(each.shifts == () for text, [each] in found.items() if text != CAMERA)


def test_the_mask_is_where_the_representative_shows_the_part(made):
    result = next(result for result in made.results if result.prompt == CAMERA)
    key = keys.mask(made.plan.campaign.analysis_id, made.id, result.prompt_id, 0)
    mask = np.asarray(Image.open(io.BytesIO(made.store.read(key)))) > 0
    assert mask[BOX].all()
    assert mask.sum() == mask[BOX].size
    assert result.parts[0].share == mask.mean()


def test_training_pictures_that_show_it_elsewhere_are_found_and_said(made):
    [search, *_] = load_verifications(made.store, made.id)
    matches = {part.prompt: part.match for part in search.parts}
    assert (matches[CAMERA].copies, matches[CAMERA].extracted) == (3, True)
    assert matches[CAMERA].shift == expected(1)
    others = [match.shift for prompt, match in matches.items() if prompt != CAMERA]
    assert others == [Shift()] * 3


def test_the_report_outlines_the_part_where_each_picture_shows_it(made):
    parts = gather_report(made.store, made.id, None).parts
    [shown] = [each for each in parts.shown if each.result.prompt == CAMERA]
    assert shown.memory.shifts == tuple(map(expected, range(6)))
    assert not shown.missing
    assert len({picture.uri for picture in shown.generations}) == 6


def test_a_bundle_holds_the_mask_against_the_pictures_as_they_are_laid(made, tmp_path):
    write_evidence(made.store, made.id, tmp_path, BundleOptions(), lambda done, total: None)
    assert list(check_bundle(tmp_path)) == []
