"""People look at parts: what the page shows of them, where labels go, and what comes of it."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.evidence import verify_bundle
from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.labels import open_labels
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.findings import people
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.report import render_report
from seedsweep.storage.errors import ConfigError
from seedsweep.web.reviewer_page import Labelling
from tests.support.bundles import seal_anew
from tests.support.part_campaign import CAMERA, MOVING, TABLES, PartCampaign, part_search
from tests.support.reviewers import rows, served_pages


@pytest.fixture(scope="module", params=[TABLES, MOVING], ids=["fixed", "moving"])
def made(request, tmp_path_factory):
    made = PartCampaign(tmp_path_factory.mktemp("parts"), request.param)
    part_search(made)
    made.bundle = evidence_of(made, made.folder / "bundle")
    return made


@pytest.fixture
def bundle(made, tmp_path):
    return shutil.copytree(made.bundle, tmp_path / "bundle")


@pytest.fixture
def serve():
    with served_pages() as start:
        yield start


def evidence_of(made, folder, *labels):
    options = BundleOptions(labels=tuple(map(open_labels, labels)))
    write_evidence(made.store, made.id, folder, options, lambda done, total: None)
    return folder


def label_all(serve, bundle, reviewer, label="same"):
    """Have a reviewer say one thing of everything."""
    visitor = serve(bundle, reviewer)
    while "Done" not in visitor.say(label):
        pass
    return bundle / f"labels-{reviewer}.csv"


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def camera_of(made):
    result = next(result for result in made.results if result.prompt == CAMERA)
    return result, result.parts[0]


def test_items_are_named_alike_by_the_checker_and_by_us():
    for ids in (("a",), ("a", ""), ("a", "b")):
        assert people.item_of(*ids) == verify_bundle.item_of(*ids)


def test_a_part_is_shown_with_its_mask_its_middle_and_the_training_pictures_that_share_it(
    made, bundle, serve
):
    visitor = serve(bundle)
    page = visitor.page("pair/0")
    assert "Is the same thing in both outlines?" in page
    assert page.count("<img") == page.count("alt=")
    result, part = camera_of(made)
    pairs = visitor.server.labelling.pairs
    [place] = [n for n, pair in enumerate(pairs) if pair.prompt_id == result.prompt_id]
    sides = {"left": pairs[place].left, "right": pairs[place].right}
    mask = pixels_of(visitor.get(f"picture/{place}/mask")[0])
    assert set(np.unique(mask)) == {0, 255}
    entries = json.loads((bundle / "parts.json").read_text())["parts"]
    [entry] = [entry for entry in entries if entry["prompt_id"] == result.prompt_id]
    own = f"/{part.representative_seed}.png"
    [generated] = [side for side, shown in sides.items() if shown[0].files[0].endswith(own)]
    [trained] = {*sides} - {generated}
    assert len(sides[generated]) == 5
    assert len(sides[trained]) == 1 + len(entry["shared"]) == 3
    for side, shown in sides.items():
        for number in range(len(shown)):
            drawn = pixels_of(visitor.get(f"picture/{place}/{side}/{number}")[0])
            assert drawn.shape == (256, 256, 3)
            assert (drawn == (214, 0, 110)).all(axis=2).any()
    assert result.prompt_id not in visitor.page(f"pair/{place}")
    assert result.prompt not in visitor.page(f"pair/{place}")


def test_the_middle_picture_is_the_median_of_those_that_show_the_part(made, bundle):
    result, part = camera_of(made)
    labelling = Labelling(bundle, "ann")
    pair = next(pair for pair in labelling.pairs if pair.prompt_id == result.prompt_id)
    [middle] = [d for side in (pair.left, pair.right) for d in side if len(d.files) > 1]
    stored = [pixels_of((bundle / name).read_bytes()) for name in middle.files]
    assert len(stored) == len(part.whole_seeds)
    laid = [
        np.roll(p[:, ::-1] if s.mirrored else p, (-s.down, -s.right), (0, 1))
        for p, s in zip(stored, middle.shifts, strict=True)
    ]
    wanted = np.sort(laid, axis=0)[(len(laid) - 1) // 2]
    drawn = pixels_of(labelling.pictures.draw(middle))[4::8, 4::8]
    mask = pixels_of((bundle / middle.mask).read_bytes())[..., 0] > 127
    inner = mask & ~(np.abs(drawn.astype(int) - (214, 0, 110)).sum(axis=2) == 0)
    assert inner.any()
    assert (drawn[inner] == wanted[inner]).all()


def test_labels_of_parts_are_kept_by_prompt_and_part(made, bundle, serve):
    visitor = serve(bundle)
    visitor.say("unsure")
    visitor.say("same")
    said = rows(bundle)
    ids = {(r.prompt_id, part.part_id) for r in made.results for part in r.parts}
    assert [row["label"] for row in said] == ["unsure", "same"]
    assert {(row["prompt_id"], row["part_id"]) for row in said} < ids
    again = serve(bundle)
    assert "2 of 4 answered" in again.page()
    command = [sys.executable, "-I", "-S", bundle / "verify_bundle.py"]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (alone.returncode, alone.stderr) == (0, "")
    assert "labels-ann.csv, a reviewer's answers" in alone.stdout


def test_what_people_said_of_parts_is_in_the_bundle_and_in_the_report(
    made, bundle, serve, tmp_path
):
    ann, ben = label_all(serve, bundle, "ann"), label_all(serve, bundle, "ben")
    ben.write_text(ben.read_text().replace(",same,", ",unsure,", 1))
    final = evidence_of(made, tmp_path / "final", ann, ben)
    told = json.loads((final / "labels.json").read_text())
    counted = told["counts"]["parts"]
    assert (counted["matched"], counted["pairs"][0]["both_labelled"]) == (4, 4)
    assert counted["confirmed"]["matched"] == {"n": 3, "of": 4}
    [pair] = told["part_pairs"]
    assert (pair["agreement"]["count"], pair["agreement"]["n"]) == (3, 4)
    assert told["counts"]["matched"] == 0
    readme = " ".join((final / "README.txt").read_text().split())
    assert "ann, of 4 parts with a match: same 4, different 0, unsure 0." in readme
    assert "of parts that both labelled" in readme
    assert "of 0 prompts" not in readme
    assert list(check_bundle(final)) == []
    reviewers = [open_labels(path).person for path in (ann, ben)]
    report = gather_report(made.store, made.id, None, None, reviewers)
    said = sorted(part.said for part in report.parts.shown)
    assert said == ["called the same 1/2", *["confirmed 2/2"] * 3]
    assert render_report(report).count("confirmed 2/2") == 3


def test_counts_of_parts_that_people_did_not_give_are_found(made, bundle, serve, tmp_path):
    given = [label_all(serve, bundle, name) for name in ("ann", "ben")]
    final = evidence_of(made, tmp_path / "final", *given)
    for change, fault in (
        (lambda told: told["counts"]["parts"].update(extracted=3), "The counts in labels.json"),
        (lambda told: told["part_pairs"][0]["agreement"].update(count=1), "The agreement in"),
        (lambda told: told.pop("part_pairs"), "The agreement in"),
    ):
        forged = shutil.copytree(final, tmp_path / "forged", dirs_exist_ok=True)
        told = json.loads((final / "labels.json").read_text())
        change(told)
        (forged / "labels.json").write_text(json.dumps(told))
        seal_anew(forged)
        assert [found.startswith(fault) for found in check_bundle(forged)] == [True]


def test_labels_of_another_part_or_of_other_pictures_are_refused(made, bundle, serve, tmp_path):
    path = label_all(serve, bundle, "ann")
    [row, *_] = rows(bundle)
    for old, new, said in (
        (row["part_id"], "0123456789abcdef", "no part with a match"),
        (row["generated_sha256"], "0" * 64, "are of other pictures"),
    ):
        other = tmp_path / "labels-ben.csv"
        other.write_text(path.read_text().replace(old, new))
        with pytest.raises(ConfigError, match=said):
            evidence_of(made, tmp_path / "wrong", other)
        with pytest.raises(ConfigError, match=said):
            gather_report(made.store, made.id, None, None, [open_labels(other).person])


def as_before(bundle):
    """Make it what an earlier version wrote: no ids of parts, and one training picture each."""
    parts = json.loads((bundle / "parts.json").read_text())
    for entry in parts["parts"]:
        del entry["part_id"], entry["shared"]
    (bundle / "parts.json").write_text(json.dumps(parts))
    searches = json.loads((bundle / "verifications.json").read_text())
    for part in searches[0]["parts"]:
        part["match"].pop("showing", None)
    (bundle / "verifications.json").write_text(json.dumps(searches))
    seal_anew(bundle)


def test_a_bundle_of_before_still_holds_and_its_parts_are_not_asked(bundle):
    as_before(bundle)
    assert list(check_bundle(bundle)) == []
    with pytest.raises(ConfigError, match="no match with both pictures"):
        Labelling(bundle, "ann")


def test_training_pictures_that_do_not_show_the_part_are_found(made, bundle, tmp_path):
    result, _ = camera_of(made)

    def change(do):
        parts = json.loads((bundle / "parts.json").read_text())
        do(next(e for e in parts["parts"] if e["prompt_id"] == result.prompt_id))
        forged = shutil.copytree(bundle, tmp_path / "forged", dirs_exist_ok=True)
        (forged / "parts.json").write_text(json.dumps(parts))
        seal_anew(forged)
        return " ".join(check_bundle(forged))

    assert "has other training pictures" in change(lambda entry: entry["shared"].pop())
    assert "does not show part 0" in change(
        lambda entry: entry["shared"][0]["shift"].update(down=6)
    )
    assert "has another part_id" in change(lambda entry: entry.update(part_id="0" * 16))
    nothing = {"file": None, "sha256": None}
    assert "has neither" in change(lambda entry: entry["shared"][0].update(nothing))
