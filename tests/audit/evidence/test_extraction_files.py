"""The bundle of a campaign without prompts, and what its checker finds of a forged one."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from seedsweep.audit.evidence import bundle as bundle_module
from seedsweep.audit.evidence import extraction_files, verify_bundle
from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.storage.extractions import read_ranked
from seedsweep.storage.record import digest
from tests.support.bundles import seal_anew
from tests.support.seeds_alone import ONE_CLIQUE, audit_seeds


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    return audit_seeds(tmp_path_factory.mktemp("train"), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def written(tmp_path_factory, audited):
    """A bundle, and what was said of it."""
    folder = tmp_path_factory.mktemp("evidence") / "bundle"
    return folder, write(audited, folder)


def write(audited, folder):
    store, submission = audited
    campaign_id = submission.campaign.campaign_id
    return write_evidence(store, campaign_id, folder, BundleOptions(), lambda done, of: None)


@pytest.fixture
def forged(tmp_path, written):
    """A copy of the bundle that may be changed."""
    return shutil.copytree(written[0], tmp_path / "bundle")


def load(folder, name):
    return json.loads((folder / name).read_bytes())


def test_every_generation_is_ranked_and_extracted_pictures_are_there(audited, written):
    (store, submission), (folder, sealed) = audited, written
    assert [*check_bundle(folder)] == []
    names, *rows = load(folder, "generations.json")
    campaign = submission.campaign
    ranked = read_ranked(store, campaign.analysis_id, campaign.campaign_id)
    told = [dict(zip(names, row, strict=True)) for row in rows]
    assert [{**row, "sha256": ""} for row in told] == [
        {**nearest.model_dump(), "sha256": ""} for nearest in ranked
    ]
    [picture] = load(folder, "extractions.json")["pictures"]
    assert (picture["training_id"], picture["best_seed"]) == ("known.png", 1)
    assert picture["generation"]["sha256"] == told[0]["sha256"] == picture["training"]["sha256"]
    assert "1 of 6 generations extracts 1 distinct training picture" in sealed.in_words


def test_generations_are_counted_and_not_its_one_prompt(written):
    folder, _ = written
    counted = load(folder, "manifest.json")["denominators"]
    assert not [name for name in counted if "prompt" in name]
    assert counted["generations analysed, of those planned"] == {"n": 6, "of": 6}
    assert counted["generations extracted, of those compared"] == {"n": 1, "of": 6}
    assert counted["distinct training pictures extracted, of all in the set"] == {"n": 1, "of": 10}
    readme = (folder / "README.txt").read_text()
    assert "6 of 6  generations analysed, of those planned" in readme
    assert "was not searched" not in readme
    assert "A picture that no clique shows is not cleared." in readme
    assert "--partial" not in readme


def of_row(name, value):
    """The best generation's row says this, and what is told of its picture says it too."""

    def change(rows, found):
        rows[1][rows[0].index(name)] = value
        if name in found["pictures"][0]:
            found["pictures"][0][name] = value

    return change


def of_picture(name, value):
    return lambda rows, found: found["pictures"][0].update({name: value})


FORGERIES = [
    (of_row("l2", 0.01), "The l2 of seed 1 is 0.0, not 0.01."),
    (of_row("tiled_l2", 0.01), "The tiled_l2 of seed 1 is 0.0"),
    (of_row("extracted", False), "Seed 1 is not extracted as its distances say."),
    (of_row("adaptive", 2.0), "Seed 1 is not extracted as its distances say."),
    (of_row("agreement", 0), "Seed 1 is not extracted as its distances say."),
    (of_row("sha256", "0" * 64), "The picture of seed 1 is another one than generations.json"),
    (of_row("seed", 99), "one that the campaign has not"),
    (of_row("flip", True), "The l2 of seed 1 is"),
    (lambda rows, found: rows.pop(), "another number of generations than were compared"),
    (lambda rows, found: rows.append(rows[2]), "has a generation twice"),
    (lambda rows, found: rows.insert(1, rows.pop()), "are not ranked"),
    (lambda rows, found: rows[0].reverse(), "has other columns"),
    (of_picture("training_id", "n1.png"), "is not what generations.json says"),
    (of_picture("generations", 2), "do not follow from generations.json"),
    (of_picture("best_seed", 2), "are not the best ones"),
    (of_picture("copies", 0), "than extractions.json says"),
    (lambda rows, found: found["pictures"].clear(), "The counts in extractions.json do not follow"),
    (lambda rows, found: found["pictures"].append(found["pictures"][0]), "twice"),
    (lambda rows, found: found.update(searched=5), "The denominators in manifest.json"),
    (lambda rows, found: found.update(seeds_digest="0" * 16), "of other generations than"),
    (
        lambda rows, found: found["pictures"][0]["training"].update(file=None, sha256=None),
        "has neither a file nor a reason",
    ),
]


@pytest.mark.parametrize(("change", "said"), FORGERIES)
def test_a_forgery_that_is_sealed_anew_is_found(forged, change, said):
    rows, found = load(forged, "generations.json"), load(forged, "extractions.json")
    change(rows, found)
    (forged / "generations.json").write_text(json.dumps(rows))
    (forged / "extractions.json").write_text(json.dumps(found))
    seal_anew(forged)
    assert any(said in fault for fault in check_bundle(forged))


def test_another_picture_in_place_of_a_generation_is_found(forged):
    [picture] = load(forged, "extractions.json")["pictures"]
    Image.new("RGB", (16, 16), "red").save(forged / picture["generation"]["file"])
    seal_anew(forged)
    assert any("has not the pixels" in fault for fault in check_bundle(forged))


def test_prompts_that_are_put_into_it_are_found(forged):
    (forged / "prompts.json").write_text('["a cat"]')
    seal_anew(forged)
    assert "prompts.json has prompts, and the campaign has none." in check_bundle(forged)


def test_a_training_set_that_is_gone_is_told_and_stops_nothing(tmp_path, audited, monkeypatch):
    gone = audited[1].campaign.verification.model_copy(update={"training_set": "/gone"})
    monkeypatch.setattr(
        extraction_files, "read_named", lambda _, sampling, ids: read_named(gone, sampling, ids)
    )
    write(audited, tmp_path / "bundle")
    [picture] = load(tmp_path / "bundle", "extractions.json")["pictures"]
    assert "/gone" in picture["training"]["missing"]
    assert [*check_bundle(tmp_path / "bundle")] == []
    [sentence] = load(tmp_path / "bundle", "manifest.json")["missing"]
    assert sentence.startswith(bundle_module.EXTRACTED)


def test_another_picture_under_the_same_id_is_told(tmp_path, audited, monkeypatch):
    def turned(verification, sampling, ids):
        read = read_named(verification, sampling, ids)
        read.pictures["known.png"] = read.pictures["known.png"][::-1]
        return read

    monkeypatch.setattr(extraction_files, "read_named", turned)
    write(audited, tmp_path / "bundle")
    [picture] = load(tmp_path / "bundle", "extractions.json")["pictures"]
    assert picture["training"]["missing"] == "the picture now under this id is another one"


def test_without_a_training_set_the_bundle_has_cliques_alone(tmp_path):
    (tmp_path / "train").mkdir()
    write(audit_seeds(tmp_path / "train", tmp_path / "store", strangers=0), tmp_path / "bundle")
    assert [*check_bundle(tmp_path / "bundle")] == []
    counted = load(tmp_path / "bundle", "manifest.json")["denominators"]
    assert counted["generations extracted, of those compared"] is None


def test_its_digest_is_that_of_its_seeds(written):
    folder, _ = written
    assert load(folder, "extractions.json")["seeds_digest"] == digest([*range(6)])


@pytest.fixture(scope="module")
def with_clique(tmp_path_factory):
    """A bundle whose generations are one clique, each with the nearest of four training pictures:
    all pictures are in it."""
    made = [tmp_path_factory.mktemp(name) for name in ("train", "store", "evidence")]
    write(audit_seeds(*made[:2], ONE_CLIQUE, strangers=3), made[2] / "bundle")
    return made[2] / "bundle"


def of_another_picture(files):
    rows = files["generations.json"]
    rows[1][2] = files["extractions.json"]["pictures"][0]["training_id"] = "n9.png"


def of_the_representative(name, value):
    def change(files):
        rows, [result] = files["generations.json"], files["results.json"]
        row = next(row for row in rows if row[0] == result["representative_seed"])
        row[rows[0].index(name)] = value

    return change


def near_to_another(files):
    """One that represents no clique and is the best generation of nothing, but is in the bundle."""
    rows, [result] = files["generations.json"], files["results.json"]
    row = next(row for row in rows[2:] if row[0] != result["representative_seed"])
    row[rows[0].index("training_id")] = "known.png"


TOLD_ELSEWHERE = [
    (of_another_picture, "The picture of n9.png is that of another training picture."),
    (of_the_representative("agreement", 1.0), "is not what it ranks by"),
    (of_the_representative("tiled_l2", 0.2), "is not what it ranks by"),
    (of_the_representative("sha256", "0" * 64), "other pictures of the same seeds"),
    (near_to_another, "The l2 of seed "),
    (
        lambda files: files["training.json"]["pictures"].append(
            {"training_id": "known.png", "file": "", "sha256": "0" * 64}
        ),
        "training.json has another picture of known.png.",
    ),
    (
        lambda files: files["extractions.json"]["pictures"][0].update(copies=5),
        "more copies than pictures of the training set were read",
    ),
]


@pytest.mark.parametrize(("change", "said"), TOLD_ELSEWHERE)
def test_what_the_bundle_has_of_the_same_pictures_elsewhere_shows_a_forgery(
    tmp_path, with_clique, change, said
):
    assert [*check_bundle(with_clique)] == []
    forged = shutil.copytree(with_clique, tmp_path / "bundle")
    names = ("generations.json", "extractions.json", "results.json", "training.json")
    files = {name: load(forged, name) for name in names}
    change(files)
    for name, value in files.items():
        (forged / name).write_text(json.dumps(value))
    seal_anew(forged)
    faults = [*check_bundle(forged)]
    assert any(said in fault for fault in faults), faults


@pytest.mark.parametrize("bundle", ["written", "with_clique"])
def test_extractions_that_are_taken_out_are_missed(tmp_path, bundle, request):
    made = request.getfixturevalue(bundle)
    forged = shutil.copytree(made[0] if bundle == "written" else made, tmp_path / "bundle")
    shutil.rmtree(forged / "extractions")
    (forged / "extractions.json").unlink()
    (forged / "generations.json").unlink()
    seal_anew(forged)
    faults = [*check_bundle(forged)]
    assert any("extractions.json is not there" in fault for fault in faults), faults


def test_a_search_of_the_same_set_tells_how_many_pictures_it_has(with_clique):
    found = load(with_clique, "extractions.json")
    search = {"coverage": found["coverage"]}
    assert [*verify_bundle._check_coverage(found, [search])] == []
    more = {**found, "coverage": {**found["coverage"], "pictures": 400}}
    [fault] = verify_bundle._check_coverage(more, [search])
    assert "another number of pictures than a search of the same set" in fault


def test_the_page_and_the_readme_show_what_is_extracted_and_each_picture_once(with_clique):
    page, told = (with_clique / "index.html").read_text(), (with_clique / "README.txt").read_text()
    [picture] = load(with_clique, "extractions.json")["pictures"]
    for kind in ("training", "generation"):
        assert f'<img src="{picture[kind]["file"]}"' in page
        assert picture[kind]["file"] in told
    assert "<td class=n>1</td>" in page
    assert "extracted by 1 generation; copies in the set: 1" in told
    assert "6 of 6 the same" in told
    assert "prompt e3b0" not in told


def test_pictures_are_counted_as_the_checker_counts_them(tmp_path, with_clique, written):
    _, sealed = written
    assert "It holds 2 pictures. 1 of 6 generations extracts" in sealed.in_words
    checked = verify_bundle._checked(with_clique, load(with_clique, "manifest.json"), False)
    assert f" 1 result, {len([*with_clique.rglob('*.png')])} pictures" in checked


def test_who_reads_no_further_ends_the_checker_without_a_traceback(written):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, str(written[0] / "verify_bundle.py")]
    finished = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (finished.returncode, finished.stderr) == (-signal.SIGPIPE, b"")


def test_extractions_that_are_lost_are_said_to_be_missing_and_are_no_fault(
    tmp_path, audited, monkeypatch
):
    monkeypatch.setattr(bundle_module, "extractions_of", lambda *_: None)
    write(audited, tmp_path / "bundle")
    assert load(tmp_path / "bundle", "manifest.json")["missing"] == [verify_bundle.EXTRACTIONS_LOST]
    assert verify_bundle.EXTRACTIONS_LOST in (tmp_path / "bundle" / "README.txt").read_text()
    assert [*check_bundle(tmp_path / "bundle")] == []
