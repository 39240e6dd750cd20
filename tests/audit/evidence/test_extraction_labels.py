"""People look at what a campaign without prompts extracts, and what comes of it."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.evidence import extraction_files, verify_bundle
from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.labels import open_labels
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.findings import people
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.report import render_report
from seedsweep.storage.errors import ConfigError
from seedsweep.web.reviewer_page import Labelling
from seedsweep.workers.pipelines.noise import NoisePipeline
from tests.support.bundles import seal_anew
from tests.support.campaigns import make_campaign
from tests.support.hostile import HOSTILE
from tests.support.reviewers import rows, served_pages
from tests.support.seeds_alone import ONE_CLIQUE, audit_seeds

NAMES = ("known.png", f"{HOSTILE.replace('/', '_')}.png", "../é,\"'.png".replace("/", "_"))
"""Of the training pictures that are the generations of seeds 1 to 3."""


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A store with a campaign of one clique that extracts three training pictures."""
    training = tmp_path_factory.mktemp("train")
    pipeline = NoisePipeline(make_campaign(seeds=6, guidance_scale=1.0).sampling)
    for seed, name in enumerate(NAMES[1:], 2):
        [made] = pipeline.generate("", [seed])
        Image.fromarray(made.pixels).save(training / name)
    return audit_seeds(training, tmp_path_factory.mktemp("store"), ONE_CLIQUE)


@pytest.fixture(scope="module")
def written(audited, tmp_path_factory):
    return evidence_of(audited, tmp_path_factory.mktemp("evidence") / "bundle")


@pytest.fixture
def bundle(written, tmp_path):
    return shutil.copytree(written, tmp_path / "bundle")


@pytest.fixture
def serve():
    with served_pages() as start:
        yield start


def evidence_of(audited, folder, *labels):
    store, submission = audited
    options = BundleOptions(labels=tuple(map(open_labels, labels)))
    write_evidence(store, submission.campaign.campaign_id, folder, options, lambda done, of: None)
    return folder


def report_of(audited, *labels):
    store, submission = audited
    reviewers = [open_labels(path).person for path in labels]
    return gather_report(store, submission.campaign.campaign_id, None, None, reviewers)


def label_all(serve, bundle, reviewer, label="same"):
    """Have a reviewer say one thing of everything."""
    visitor = serve(bundle, reviewer)
    while "Done" not in visitor.say(label):
        pass
    return bundle / f"labels-{reviewer}.csv"


def say_of(path, training_id, label):
    """Have a reviewer say something else of one extraction."""
    lines = path.read_text().splitlines(keepends=True)
    own = people.picture_id(training_id)
    changed = [line.replace(",same,", f",{label},") if own in line else line for line in lines]
    assert changed != lines
    path.write_text("".join(changed))


def load(folder, name):
    return json.loads((folder / name).read_bytes())


@pytest.mark.parametrize("training_id", [*NAMES, "", HOSTILE, "a/b", "set.parquet#7"])
def test_items_are_named_alike_by_the_checker_and_by_us(training_id):
    found = {"pictures": [{"training_id": training_id}]}
    assert [*verify_bundle.extraction_items(found)] == [people.extraction_item(training_id)]


def test_each_extracted_picture_is_asked_once_beside_its_best_generation(bundle, serve):
    visitor = serve(bundle)
    pairs = visitor.server.labelling.pairs
    found = load(bundle, "extractions.json")["pictures"]
    assert {each["training_id"] for each in found} == {*NAMES}
    assert [bool(pair.part_id) for pair in pairs] == [False, True, True, True]
    wanted = {
        frozenset((bundle / each[side]["file"]).read_bytes() for side in ("generation", "training"))
        for each in found
    }
    assert {frozenset(visitor.shown(place)) for place in (1, 2, 3)} == wanted
    for place in range(4):
        page = visitor.page(f"pair/{place}")
        assert "Are these the same picture?" in page
        assert "mirrored" not in page
        assert not [name for name in (*NAMES, pairs[place].prompt_id) if name in page]


def test_order_and_sides_of_extractions_follow_from_the_reviewers_name_alone(bundle):
    def shown(reviewer):
        return Labelling(bundle, reviewer).pairs[1:]

    reviewers = [f"reviewer-{number}" for number in range(40)]
    assert all(shown(reviewer) == shown(reviewer) for reviewer in reviewers[:3])
    assert len({tuple(pair.item for pair in shown(reviewer)) for reviewer in reviewers}) == 6
    one = shown("ann")[0]
    lefts = {p.left for r in reviewers for p in shown(r) if p.item == one.item}
    assert lefts == {one.left, one.right}


def test_labels_of_extractions_are_kept_by_the_training_picture(bundle, serve):
    visitor = serve(bundle)
    for label in ("different", "unsure", "same"):
        visitor.say(label)
    said = rows(bundle)
    assert [row["label"] for row in said] == ["different", "unsure", "same"]
    assert said[0]["part_id"] == ""
    assert {row["part_id"] for row in said[1:]} < {people.picture_id(name) for name in NAMES}
    assert "3 of 4 answered" in serve(bundle).page()
    command = [sys.executable, "-I", "-S", bundle / "verify_bundle.py"]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (alone.returncode, alone.stderr) == (0, "")
    assert "labels-ann.csv, a reviewer's answers" in alone.stdout


def test_what_people_said_of_extractions_is_in_the_bundle_and_in_the_report(
    audited, bundle, serve, tmp_path
):
    ann, ben = (label_all(serve, bundle, name) for name in ("ann", "ben"))
    say_of(ben, NAMES[1], "unsure")
    final = evidence_of(audited, tmp_path / "final", ann, ben)
    told = load(final, "labels.json")
    counted = told["counts"]["extractions"]
    assert (counted["matched"], counted["extracted"]) == (3, 3)
    assert counted["reviewers"]["ben"]["extracted"] == {"same": 2, "different": 0, "unsure": 1}
    assert counted["confirmed"]["extracted"] == {"n": 2, "of": 3}
    [pair] = told["extraction_pairs"]
    assert (pair["agreement"]["count"], pair["agreement"]["n"], pair["kappa"]["n"]) == (2, 3, 3)
    assert (told["pairs"][0]["agreement"]["n"], told["part_pairs"]) == (1, [])
    readme = " ".join((final / "README.txt").read_text().split())
    for sentence in (
        "ben, of 1 clique with a match: same 1,",
        "ben, of 3 training pictures that generations extract: same 2, different 0, unsure 1.",
        "of extractions that both labelled",
        "the same picture: 2 of 3 extracted training pictures that all of them labelled.",
    ):
        assert sentence in readme
    assert list(check_bundle(final)) == []
    report = report_of(audited, ann, ben)
    said = {each.found.training_id: each.said for each in report.extractions.pictures}
    assert said == dict.fromkeys(NAMES, "confirmed 2/2") | {NAMES[1]: "called the same 1/2"}
    page = render_report(report)
    assert "Of the 3 shown here 2 are confirmed" in page
    # The clique is shown in two places.
    assert page.count("confirmed 2/2") == 4
    assert "Nobody has confirmed them" not in page


def test_a_report_without_labels_says_that_nobody_confirmed_extractions(audited):
    page = render_report(report_of(audited))
    assert "Nobody has confirmed them" in page
    assert "<th>People</th>" not in page


def test_who_labelled_no_extraction_was_not_asked_of_any(audited, bundle, serve, tmp_path):
    ann, ben = (label_all(serve, bundle, name) for name in ("ann", "ben"))
    serve(bundle, "cat").say("same")
    given = ann, ben, bundle / "labels-cat.csv"
    final = evidence_of(audited, tmp_path / "final", *given)
    counts = load(final, "labels.json")["counts"]
    assert [*counts["reviewers"]] == ["ann", "ben", "cat"]
    assert [*counts["extractions"]["reviewers"]] == ["ann", "ben"]
    assert counts["extractions"]["confirmed"]["extracted"] == {"n": 3, "of": 3}
    assert list(check_bundle(final)) == []
    assert {each.said for each in report_of(audited, *given).extractions.pictures} == {
        "confirmed 2/2"
    }


def test_one_reviewer_alone_confirms_no_extraction(audited, bundle, serve, tmp_path):
    final = evidence_of(audited, tmp_path / "final", label_all(serve, bundle, "ann"))
    assert load(final, "labels.json")["counts"]["extractions"]["confirmed"] is None
    assert "One reviewer alone confirms no extraction." in (final / "README.txt").read_text()
    assert report_of(audited, bundle / "labels-ann.csv").extractions.confirmed == 0


FORGED = {
    "a count": (lambda told: told["counts"]["extractions"].update(extracted=2), "The counts in"),
    "what was confirmed": (
        lambda told: told["counts"]["extractions"]["confirmed"]["extracted"].update(n=3),
        "The counts in",
    ),
    "the whole tally": (lambda told: told["counts"].pop("extractions"), "The counts in"),
    "agreement": (
        lambda told: told["extraction_pairs"][0]["agreement"].update(count=3),
        "The agreement in",
    ),
    "no agreement": (lambda told: told.pop("extraction_pairs"), "The agreement in"),
    "kappa": (
        lambda told: told["extraction_pairs"][0]["kappa"].update(value=1.0),
        "Cohen's kappa of ann and ben is",
    ),
}


@pytest.fixture(scope="module")
def final(audited, written, tmp_path_factory):
    """A bundle with the labels of two who differ on one extraction."""
    labelled = shutil.copytree(written, tmp_path_factory.mktemp("labelled") / "bundle")
    with served_pages() as start:
        given = [label_all(start, labelled, name) for name in ("ann", "ben")]
    say_of(given[1], NAMES[0], "different")
    return evidence_of(audited, tmp_path_factory.mktemp("final") / "final", *given)


@pytest.mark.parametrize("forgery", FORGED)
def test_what_people_did_not_say_of_extractions_is_found(final, tmp_path, forgery):
    change, fault = FORGED[forgery]
    forged = shutil.copytree(final, tmp_path / "forged")
    told = load(final, "labels.json")
    change(told)
    (forged / "labels.json").write_text(json.dumps(told))
    seal_anew(forged)
    assert [found.startswith(fault) for found in check_bundle(forged)] == [True]


def test_counts_that_are_taken_out_are_missed(final, tmp_path):
    forged = shutil.copytree(final, tmp_path / "forged")
    (forged / "labels.json").unlink()
    seal_anew(forged)
    assert list(check_bundle(forged)) == [
        "labels/ has what reviewers said; labels.json is not there."
    ]


def test_answers_that_are_changed_put_in_or_taken_out_are_found(final, tmp_path):
    text = (final / "labels" / "ben.csv").read_text()
    last = text.splitlines()[-1]
    own, other = last.rsplit(",", 1)[1], "0123456789abcdef"
    generated = last.split(",")[3]
    for change, fault in (
        (text.replace(",different,", ",same,"), "The counts in labels.json"),
        (text.replace(f"{last}\n", ""), "The counts in labels.json"),
        (f"{text}{last.replace(own, other)}\n", "and no extraction"),
        (text.replace(own, other), "and no extraction"),
        (text.replace(generated, "0" * 64), "is of other pictures of"),
    ):
        assert change != text
        forged = shutil.copytree(final, tmp_path / "forged", dirs_exist_ok=True)
        (forged / "labels" / "ben.csv").write_text(change)
        seal_anew(forged)
        faults = [*check_bundle(forged)]
        assert [found for found in faults if fault in found], faults


def test_labels_of_no_extraction_or_of_other_pictures_are_refused(audited, bundle, serve, tmp_path):
    path = label_all(serve, bundle, "ann")
    row = rows(bundle)[1]
    for old, new, said in (
        (row["part_id"], "0123456789abcdef", "no extraction"),
        (row["generated_sha256"], "0" * 64, "are of other pictures"),
        (row["training_sha256"], "0" * 64, "are of other pictures"),
    ):
        other = tmp_path / "labels-ben.csv"
        other.write_text(path.read_text().replace(old, new))
        with pytest.raises(ConfigError, match=said):
            evidence_of(audited, tmp_path / "wrong", other)
        with pytest.raises(ConfigError, match=said):
            report_of(audited, other)
        assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("more", ["", ",generated_sha256,training_sha256"])
def test_a_file_of_labels_of_before_is_read_and_gone_on_with(
    audited, bundle, serve, tmp_path, more
):
    clique = Labelling(bundle, "ann").pairs[0]
    digests = f",{','.join(clique.digests)}" if more else ""
    path = bundle / "labels-ann.csv"
    path.write_text(f"prompt_id,label,time{more}\n{clique.prompt_id},same,2026{digests}\n")
    before = evidence_of(audited, tmp_path / "before", path)
    told = load(before, "labels.json")
    assert ("extractions" in told["counts"], told["extraction_pairs"]) == (False, [])
    del told["extraction_pairs"]
    (before / "labels.json").write_text(json.dumps(told))
    seal_anew(before)
    assert list(check_bundle(before)) == []
    visitor = serve(bundle)
    assert "1 of 4 answered" in visitor.page()
    visitor.say("unsure")
    assert [(row["label"], bool(row["part_id"])) for row in rows(bundle)] == [
        ("same", False),
        ("unsure", True),
    ]
    assert list(check_bundle(bundle)) == []


def test_labels_of_a_training_picture_that_was_compared_mirrored_hold(tmp_path, serve):
    for name in ("train", "store"):
        (tmp_path / name).mkdir()
    audited = audit_seeds(tmp_path / "train", tmp_path / "store", mirrored=True)
    bundle = evidence_of(audited, tmp_path / "bundle")
    [each] = load(bundle, "extractions.json")["pictures"]
    assert each["flip"]
    visitor = serve(bundle)
    assert "One of them is shown mirrored" in visitor.page("pair/0")
    one, other = (np.asarray(Image.open(io.BytesIO(png))) for png in visitor.shown(0))
    assert (one == other).all()
    given = [label_all(serve, bundle, name) for name in ("ann", "ben")]
    assert list(check_bundle(evidence_of(audited, tmp_path / "final", *given))) == []
    assert report_of(audited, *given).extractions.confirmed == 1


def test_whole_pictures_that_were_compared_mirrored_are_shown_so(bundle, serve):
    found, results = load(bundle, "extractions.json"), load(bundle, "results.json")
    for each in found["pictures"]:
        each["flip"] = True
    results[0]["match"]["transform"]["flip"] = True
    (bundle / "extractions.json").write_text(json.dumps(found))
    (bundle / "results.json").write_text(json.dumps(results))
    seal_anew(bundle)
    visitor = serve(bundle)
    trained = {
        people.picture_id(each["training_id"]): each["training"] for each in found["pictures"]
    }
    trained[""] = trained[people.picture_id(results[0]["match"]["training_id"])]
    for place, pair in enumerate(visitor.server.labelling.pairs):
        assert "One of them is shown mirrored" in visitor.page(f"pair/{place}")
        stored = np.asarray(Image.open(bundle / trained[pair.part_id]["file"]))
        shown = [np.asarray(Image.open(io.BytesIO(png))) for png in visitor.shown(place)]
        assert sum((picture == stored[:, ::-1]).all() for picture in shown) == 1


def test_an_extraction_without_both_pictures_is_counted_and_not_asked(
    audited, tmp_path, monkeypatch, serve
):
    gone = audited[1].campaign.verification.model_copy(update={"training_set": "/gone"})
    monkeypatch.setattr(
        extraction_files, "read_named", lambda _, sampling, ids: read_named(gone, sampling, ids)
    )
    bundle = evidence_of(audited, tmp_path / "bundle")
    visitor = serve(bundle)
    assert [pair.part_id for pair in visitor.server.labelling.pairs] == [""]
    visitor.say("same")
    assert "part_id" not in rows(bundle)[0]


def test_without_a_clique_extractions_alone_are_asked_and_told(tmp_path, serve):
    for name in ("train", "store"):
        (tmp_path / name).mkdir()
    audited = audit_seeds(tmp_path / "train", tmp_path / "store")
    bundle = evidence_of(audited, tmp_path / "bundle")
    given = [label_all(serve, bundle, name, "unsure") for name in ("ann", "ben")]
    final = evidence_of(audited, tmp_path / "final", *given)
    assert list(check_bundle(final)) == []
    words = load(final, "labels.json")["in_words"]
    assert words[0] == (
        "ann, of 1 training picture that generations extract: same 0, different 0, unsure 1."
    )
    assert words[-1].endswith(
        "0 of 1 extracted training picture that all of them labelled. Extracted in all: 1."
    )
    assert report_of(audited, *given).extractions.confirmed == 0
