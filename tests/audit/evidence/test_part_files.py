"""Parts in a bundle of evidence: what is there, and what the checker finds wrong with it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.storage.keys import unit_shard
from tests.support.bundles import seal_anew
from tests.support.part_campaign import BICYCLE, CAMERA, WHOLE, PartCampaign, part_search


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    made = PartCampaign(tmp_path_factory.mktemp("parts"))
    part_search(made)
    return written(made, made.folder / "bundle")


def written(made, folder):
    write_evidence(made.store, made.id, folder, BundleOptions(), lambda done, total: None)
    return folder


def entries_of(bundle):
    return json.loads((bundle / "parts.json").read_text())["parts"]


def test_masks_generations_and_training_pictures_are_there_and_hold(bundle):
    entries = entries_of(bundle)
    assert len(entries) == 4
    for entry in entries:
        for each in (entry["mask"], *entry["images"], entry["training"]):
            with Image.open(bundle / each["file"]) as picture:
                assert picture.size == (32, 32)
        mask = np.asarray(Image.open(bundle / entry["mask"]["file"]))
        assert set(np.unique(mask)) == {0, 255}
        assert not mask[:8].any()
    assert list(check_bundle(bundle)) == []
    command = [sys.executable, "-I", "-S", bundle / "verify_bundle.py"]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (alone.returncode, alone.stderr) == (0, "")


def alter_picture(bundle, entry, change):
    """Change the pixels of a file, and the digest that is recorded of them."""
    path = bundle / entry["file"]
    with Image.open(path) as picture:
        pixels = np.asarray(picture).copy()
    change(pixels)
    Image.fromarray(pixels).save(path)


def alter_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def another_mask(bundle, entries):
    alter_picture(bundle, entries[0]["mask"], lambda pixels: pixels[0, 0].fill(255))
    return "The mask of part 0"


def another_training_picture(bundle, entries):
    alter_picture(bundle, entries[0]["training"], lambda pixels: pixels[12:20, 12:20].fill(7))
    return "The l2 of part 0"


def another_generation(bundle, entries):
    alter_picture(bundle, entries[0]["images"][0], lambda pixels: pixels[12:20, 12:20].fill(7))
    return "The mask of part 0"


def another_share(bundle, entries):
    def change(results):
        results[0]["parts"][0]["share"] += 0.01

    alter_json(bundle / "results.json", change)
    return "The share of part 0"


def another_correlation(bundle, entries):
    def change(searches):
        searches[0]["parts"][0]["match"]["correlation"] -= 0.01

    alter_json(bundle / "verifications.json", change)
    return "The correlation of part 0"


def fewer_parts(bundle, entries):
    alter_json(bundle / "parts.json", lambda value: value["parts"].pop())
    return "are not those of the results"


def other_seeds(bundle, entries):
    alter_json(bundle / "parts.json", lambda value: value["parts"][0]["images"].pop())
    return "has pictures of other seeds"


def another_match(bundle, entries):
    alter_json(bundle / "parts.json", lambda v: v["parts"][0].update(training_id="another"))
    return "matches another training picture"


def match_of_another_part(bundle, entries):
    def change(searches):
        searches[0]["parts"][0]["part_id"] = "0123456789abcdef"

    alter_json(bundle / "verifications.json", change)
    return "matches another training picture"


def no_reason(bundle, entries):
    def change(value):
        value["parts"][0]["mask"] = {"file": None, "sha256": None, "missing": "", "seed": None}

    alter_json(bundle / "parts.json", change)
    return "has neither a file nor a reason"


CHANGES = [another_mask, another_training_picture, another_generation, another_share,
           another_correlation, fewer_parts, other_seeds, another_match,
           match_of_another_part, no_reason]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_was_changed_is_found_though_all_sums_are_made_anew(bundle, tmp_path, change):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    said = change(copied, entries_of(copied))
    seal_anew(copied)
    assert any(said in fault for fault in check_bundle(copied)), list(check_bundle(copied))


def test_pictures_that_are_gone_are_said_and_the_rest_holds(tmp_path):
    made = PartCampaign(tmp_path)
    part_search(made)
    unit = next(u for u in map(made.plan.unit, range(4)) if u.prompt == BICYCLE)
    made.store.delete(unit_shard(unit))
    (tmp_path / "train.parquet").unlink()
    bundle = written(made, tmp_path / "bundle")
    gone = {entry["prompt_id"]: entry["mask"]["missing"] for entry in entries_of(bundle)}
    of = {result.prompt: result.prompt_id for result in made.results}
    assert "one of them is not stored" in gone[of[BICYCLE]]
    assert gone[of[CAMERA]] == ""
    assert all(entry["training"]["missing"] for entry in entries_of(bundle))
    told = " ".join((bundle / "README.txt").read_text().split())
    assert "; parts.json says why." in told
    assert list(check_bundle(bundle)) == []


def test_an_analysis_that_looked_for_no_parts_has_none(tmp_path):
    bundle = written(PartCampaign(tmp_path, WHOLE), tmp_path / "bundle")
    assert not (bundle / "parts.json").exists()
    assert list(check_bundle(bundle)) == []
