"""People look at pairs of pictures: the page they do it on, and what comes of it."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.audit.evidence.labels import agreement, open_labels
from seedsweep.audit.evidence.verify_bundle import LABELS, check_bundle, kappa_of
from seedsweep.storage.errors import ConfigError
from seedsweep.web.reviewer_page import Labelling
from tests.support.bundles import Audit, seal_anew
from tests.support.reviewers import rows, served_pages

NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    return Audit(tmp_path_factory.mktemp("audit"))


@pytest.fixture
def bundle(audit, tmp_path):
    return audit.bundle(tmp_path / "bundle")


@pytest.fixture
def serve():
    """Serve reviewers' pages until the test ends; gives each page's visitor."""
    with served_pages() as start:
        yield start


def refused(visit):
    with pytest.raises(urllib.error.HTTPError) as error:
        visit()
    return error.value.code == 404


def write_labels(folder, reviewer, labels):
    lines = [f"{prompt_id},{label},{NOW}" for prompt_id, label in labels.items()]
    path = folder / f"labels-{reviewer}.csv"
    path.write_text("\n".join(["prompt_id,label,time", *lines, ""]))
    return path


def test_answers_are_kept_one_after_another_until_all_pairs_are_done(bundle, serve, audit):
    visitor = serve(bundle)
    for done, label in enumerate(LABELS, 1):
        page = visitor.say(label)
        assert f"{done} of 3 answered" in page
        assert [row["label"] for row in rows(bundle)] == [*LABELS[:done]]
    assert "Every pair is answered" in page
    assert {row["prompt_id"] for row in rows(bundle)} == {r.prompt_id for r in audit.results[:3]}


def test_a_reviewer_goes_on_where_they_stopped(bundle, serve):
    first = serve(bundle)
    first.say("same")
    again = serve(bundle)
    assert "1 of 3 answered" in again.page()
    assert 'name="place" value="1"' in again.page()
    again.say("unsure")
    assert [row["label"] for row in rows(bundle)] == ["same", "unsure"]


def test_two_pages_of_one_reviewer_lose_no_answer(bundle, serve):
    one, other = serve(bundle), serve(bundle)
    one.say("same", place=0)
    other.say("different", place=1)
    assert [row["label"] for row in rows(bundle)] == ["same", "different"]


def test_a_bundle_that_people_labelled_still_passes_its_own_check(bundle, serve):
    serve(bundle).say("same")
    command = [sys.executable, "-I", "-S", str(bundle / "verify_bundle.py")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0
    assert "labels-ann.csv, a reviewer's answers" in finished.stdout
    (bundle / "README.txt").write_text("all is well")
    [fault] = check_bundle(bundle)
    assert fault.startswith("README.txt")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels-ann.csv", b"prompt_id,verdict\n"),
        ("labels-ann.csv", b"\xff"),
        ("labels-ann b.csv", b"prompt_id,label,time\n"),
        ("images/labels-ann.csv", b"prompt_id,label,time\n"),
    ],
)
def test_what_only_has_the_name_of_labels_is_a_fault(bundle, name, data):
    (bundle / name).write_bytes(data)
    assert list(check_bundle(bundle)) == [f"{name} is not listed in manifest.json."]


def test_an_answer_can_be_taken_back(bundle, serve):
    visitor = serve(bundle)
    visitor.say("same")
    assert re.search(r'value="same" class="chosen"', visitor.page("pair/0"))
    visitor.say("different", place=0)
    assert [row["label"] for row in rows(bundle)] == ["different"]


def test_both_pictures_of_a_pair_are_shown(bundle, serve, audit):
    visitor = serve(bundle)
    pairs = {frozenset(visitor.shown(place)) for place in range(3)}
    training = {
        prompt: (bundle / entry["file"]).read_bytes()
        for entry in json.loads((bundle / "training.json").read_bytes())["pictures"]
        for prompt in entry["prompts"]
    }
    assert pairs == {
        frozenset(
            [
                training[r.prompt_id],
                (bundle / f"images/{r.prompt_id}/{r.representative_seed}.png").read_bytes(),
            ]
        )
        for r in audit.results[:3]
    }


def test_order_and_sides_follow_from_the_reviewers_name_alone(bundle):
    def shown(reviewer):
        return Labelling(bundle, reviewer).pairs

    reviewers = [f"reviewer-{number}" for number in range(40)]
    assert all(shown(reviewer) == shown(reviewer) for reviewer in reviewers[:3])
    orders = {tuple(pair.prompt_id for pair in shown(reviewer)) for reviewer in reviewers}
    assert len(orders) == 6
    one = shown("ann")[0]
    lefts = {p.left for r in reviewers for p in shown(r) if p.prompt_id == one.prompt_id}
    assert lefts == {one.left, one.right}


def test_two_reviewers_do_not_see_what_the_other_says(bundle, serve):
    ann, ben = serve(bundle, "ann"), serve(bundle, "ben")
    before = re.sub(r'nonce-?="?[\w-]+"', "", ben.page())
    for label in LABELS:
        ann.say(label)
    assert re.sub(r'nonce-?="?[\w-]+"', "", ben.page()) == before
    ben.say("same")
    assert len(rows(bundle, "ann")) == 3
    assert len(rows(bundle, "ben")) == 1


def test_the_page_names_neither_prompts_nor_what_the_analysis_says(bundle, serve, audit):
    page = serve(bundle).page()
    for result in audit.results:
        assert result.prompt_id not in page
        assert result.prompt not in page
    assert "alert" not in page
    assert "0.0" not in page
    assert "known-" not in page


def test_nobody_without_the_token_reads_or_answers(bundle, serve):
    visitor = serve(bundle)
    origin = visitor.url.rsplit("/", 2)[0]
    for path in ("/", "/label", "/picture/0/left/0", f"/{'x' * 32}/", f"/{visitor.server.token}"):
        assert refused(lambda path=path: urllib.request.urlopen(origin + path, timeout=60))  # noqa: S310
    form = b"place=0&label=same"
    assert refused(lambda: urllib.request.urlopen(f"{origin}/label", form, timeout=60))  # noqa: S310
    assert not (bundle / "labels-ann.csv").exists()


def test_a_foreign_name_that_leads_here_is_refused(bundle, serve):
    visitor = serve(bundle)
    assert refused(lambda: visitor.get(host="evil.example:80"))


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"place=9&label=same",
        b"place=-1&label=same",
        b"place=0&label=yes",
        b"place=%C2%B2&label=same",
        b"place=0&label=same" + b" " * 2000,
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(bundle, serve, form):
    visitor = serve(bundle)
    assert refused(lambda: urllib.request.urlopen(visitor.url + "label", form, timeout=60))  # noqa: S310
    assert not (bundle / "labels-ann.csv").exists()


def test_the_page_may_load_nothing_from_elsewhere_and_listens_here_alone(bundle, serve):
    visitor = serve(bundle)
    policy = visitor.get()[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert visitor.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("name", ["", "../ann", "a b", "<b>", ".ann"])
def test_a_reviewers_name_leads_nowhere_else(bundle, name):
    with pytest.raises(ConfigError, match="cannot name a reviewer"):
        Labelling(bundle, name)


def test_pictures_that_were_changed_are_not_shown(bundle, audit):
    result = audit.results[0]
    (bundle / f"images/{result.prompt_id}/{result.representative_seed}.png").write_bytes(b"other")
    with pytest.raises(ConfigError, match="was changed"):
        Labelling(bundle, "ann")


def test_labels_are_put_in_a_bundle_and_agreement_is_told(audit, bundle):
    first, second, third = (result.prompt_id for result in audit.results[:3])
    ann = write_labels(bundle, "ann", {first: "same", second: "same", third: "different"})
    ben = write_labels(bundle, "ben", {third: "different", first: "same", second: "unsure"})
    final = audit.bundle(bundle.parent / "final", labels=(open_labels(ann), open_labels(ben)))
    assert (final / "labels" / "ann.csv").read_bytes() == ann.read_bytes()
    found = json.loads((final / "labels.json").read_bytes())
    [pair], [counted] = found["pairs"], found["counts"]["pairs"]
    assert (pair["agreement"]["count"], pair["agreement"]["n"]) == (2, 3)
    # Clopper and Pearson for 2 of 3.
    assert pair["agreement"]["low"] == pytest.approx(0.0943, abs=1e-4)
    assert pair["agreement"]["high"] == pytest.approx(0.9916, abs=1e-4)
    # They agree on 6 of 9 of the products, chance on 3 of 9: (6 - 3) / (9 - 3).
    assert pair["kappa"]["value"] == pytest.approx(0.5)
    assert pair["mcnemar_p"] == 1.0
    assert counted["table"]["same"] == {"same": 1, "different": 0, "unsure": 1}
    assert found["counts"]["confirmed"] == {
        "extracted": {"n": 1, "of": 2},
        "matched": {"n": 1, "of": 3},
    }
    assert found["counts"]["reviewers"]["ann"]["extracted"]["same"] == 2
    confirmed = "Confirmed, since every reviewer called it the same picture: 1 of 2 extracted"
    assert "ann and ben agree on 2/3 = 0.67 [0.09, 0.99]" in found["in_words"][2]
    assert "Cohen's kappa 0.50, no interval (3 in common" in found["in_words"][2]
    assert found["in_words"][3].startswith(confirmed)
    assert confirmed in (final / "README.txt").read_text()
    assert not list(check_bundle(final))


def test_labels_say_which_pictures_were_looked_at_and_are_refused_for_others(
    audit, bundle, serve, tmp_path
):
    serve(bundle).say("same")
    [row] = rows(bundle)
    shown = {
        entry["sha256"]
        for prompt in json.loads((bundle / "images.json").read_bytes())["prompts"]
        for entry in prompt["images"]
    }
    assert row["generated_sha256"] in shown
    path = bundle / "labels-ann.csv"
    assert not list(check_bundle(audit.bundle(tmp_path / "right", labels=(open_labels(path),))))
    for digest in (row["generated_sha256"], row["training_sha256"]):
        other = tmp_path / "labels-ben.csv"
        other.write_text(path.read_text().replace(digest, "0" * 64))
        with pytest.raises(ConfigError, match=f"labels of ben are of other.*{row['prompt_id']}"):
            audit.bundle(tmp_path / "wrong", labels=(open_labels(other),))
    assert not (tmp_path / "wrong").exists()


def test_labels_of_other_pictures_are_a_fault_of_the_bundle(audit, bundle, serve, tmp_path):
    serve(bundle).say("same")
    final = audit.bundle(tmp_path / "final", labels=(open_labels(bundle / "labels-ann.csv"),))
    [row] = rows(bundle)
    path = final / "labels" / "ann.csv"
    path.write_text(path.read_text().replace(row["training_sha256"], "0" * 64))
    seal_anew(final)
    [fault] = check_bundle(final)
    assert fault == f"labels/ann.csv is of other pictures of {row['prompt_id']} than the bundle's."


def test_a_file_of_an_earlier_version_is_gone_on_with(bundle, serve, audit):
    first = Labelling(bundle, "ann").pairs[0].prompt_id
    write_labels(bundle, "ann", {first: "same"})
    visitor = serve(bundle)
    assert "1 of 3 answered" in visitor.page()
    visitor.say("unsure")
    assert [(r["label"], bool(r["generated_sha256"])) for r in rows(bundle)] == [
        ("same", False),
        ("unsure", True),
    ]
    assert not list(check_bundle(bundle))


def test_counts_of_labels_that_people_did_not_give_are_found(audit, bundle, tmp_path):
    labels = {result.prompt_id: "same" for result in audit.results[:2]}
    given = [open_labels(write_labels(bundle, name, labels)) for name in ("ann", "ben")]
    final = audit.bundle(tmp_path / "final", labels=tuple(given))
    found = json.loads((final / "labels.json").read_bytes())
    found["counts"]["confirmed"]["extracted"]["n"] = 1
    (final / "labels.json").write_text(json.dumps(found))
    seal_anew(final)
    assert list(check_bundle(final)) == [
        "The counts in labels.json do not follow from the reviewers' labels."
    ]


@pytest.mark.parametrize("forged", [0.9, None])
def test_a_kappa_that_does_not_follow_from_the_labels_is_found(audit, bundle, tmp_path, forged):
    first, second = (result.prompt_id for result in audit.results[:2])
    ann = open_labels(write_labels(bundle, "ann", {first: "same", second: "different"}))
    ben = open_labels(write_labels(bundle, "ben", {first: "same", second: "same"}))
    final = audit.bundle(tmp_path / "final", labels=(ann, ben))
    assert not list(check_bundle(final))
    found = json.loads((final / "labels.json").read_bytes())
    found["pairs"][0]["kappa"]["value"] = forged
    (final / "labels.json").write_text(json.dumps(found))
    seal_anew(final)
    assert list(check_bundle(final)) == [f"Cohen's kappa of ann and ben is 0.0, not {forged}."]


FORGED_AGREEMENT = {
    "no pair": lambda found: found["pairs"].clear(),
    "another reviewer": lambda found: found["pairs"][0].update(b="zoe"),
    "more agreement": lambda found: found["pairs"][0]["agreement"].update(count=2),
    "more items": lambda found: found["pairs"][0]["kappa"].update(n=9),
}


@pytest.mark.parametrize("forgery", FORGED_AGREEMENT)
def test_agreement_that_does_not_follow_from_the_labels_is_found(audit, bundle, tmp_path, forgery):
    first, second = (result.prompt_id for result in audit.results[:2])
    ann = open_labels(write_labels(bundle, "ann", {first: "same", second: "different"}))
    ben = open_labels(write_labels(bundle, "ben", {first: "same", second: "same"}))
    final = audit.bundle(tmp_path / "final", labels=(ann, ben))
    found = json.loads((final / "labels.json").read_bytes())
    FORGED_AGREEMENT[forgery](found)
    (final / "labels.json").write_text(json.dumps(found))
    seal_anew(final)
    assert list(check_bundle(final)) == [
        "The agreement in labels.json does not follow from the reviewers' labels."
    ]


@pytest.mark.parametrize("both", [0, 1, 3])
def test_a_kappa_that_is_undefined_is_told_as_such(audit, bundle, tmp_path, both):
    """Chance alone gives full agreement where each says one thing of everything."""
    prompt_ids = [result.prompt_id for result in audit.results[:3]]
    ann = open_labels(write_labels(bundle, "ann", dict.fromkeys(prompt_ids[:both], "same")))
    ben = open_labels(write_labels(bundle, "ben", dict.fromkeys(prompt_ids, "same")))
    final = audit.bundle(tmp_path / "final", labels=(ann, ben))
    text = (final / "labels.json").read_text()
    kappa = json.loads(text)["pairs"][0]["kappa"]
    assert (kappa["value"], kappa["low"], kappa["high"], kappa["n"]) == (None, None, None, both)
    assert "NaN" not in text
    reason = "undefined" if both else "labelled nothing in common"
    assert reason in " ".join((final / "README.txt").read_text().split())
    assert not list(check_bundle(final))


@given(st.lists(st.tuples(*[st.sampled_from(LABELS)] * 2), max_size=12))
@settings(deadline=None)
def test_the_verifiers_kappa_is_that_of_scikit_learn_and_of_every_pair_of_items(pairs):
    from sklearn.metrics import cohen_kappa_score

    table = {a: {b: pairs.count((a, b)) for b in LABELS} for a in LABELS}
    found = kappa_of(table)
    agreed = [a == b for a, b in pairs]
    by_chance = [a == b for (a, _), (_, b) in product(pairs, pairs)]
    if all(by_chance):
        assert found is None
        return
    observed, expected = (Fraction(sum(same), len(same)) for same in (agreed, by_chance))
    assert found == pytest.approx(float((observed - expected) / (1 - expected)), abs=1e-12)
    first, second = zip(*pairs, strict=True)
    assert found == pytest.approx(cohen_kappa_score(first, second, labels=LABELS), abs=1e-12)


def test_equal_labels_give_equal_bytes(audit, bundle, tmp_path):
    first, second, third = (result.prompt_id for result in audit.results[:3])
    said = {
        "ann": {first: "same", second: "same", third: "different"},
        "ben": {first: "same", second: "unsure", third: "different"},
    }
    given = tuple(open_labels(write_labels(bundle, name, labels)) for name, labels in said.items())
    one, other = (audit.bundle(tmp_path / name, labels=given) for name in ("one", "other"))
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()


def test_one_reviewer_alone_confirms_nothing(audit, bundle):
    path = write_labels(bundle, "ann", {audit.results[0].prompt_id: "same"})
    counts = agreement([open_labels(path)], audit.results, {}).counts
    assert counts["confirmed"] is None
    assert counts["pairs"] == []


def test_what_only_one_of_two_labelled_counts_for_neither(audit, bundle):
    first, second, _ = (result.prompt_id for result in audit.results[:3])
    ann = open_labels(write_labels(bundle, "ann", {first: "same", second: "same"}))
    ben = open_labels(write_labels(bundle, "ben", {first: "same"}))
    counts = agreement([ann, ben], audit.results, {}).counts
    assert counts["pairs"][0]["both_labelled"] == 1
    assert counts["confirmed"]["extracted"] == {"n": 1, "of": 1}


BROKEN = {
    "labels-ann.csv": "prompt_id,verdict\n",
    "labels-ben.csv": f"prompt_id,label,time\nabc,perhaps,{NOW}\n",
    "labels-cat.csv": f"prompt_id,label,time\nabc,same,{NOW}\nabc,same,{NOW}\n",
    "labels-dan.csv": "",
    "ann.csv": f"prompt_id,label,time\nabc,same,{NOW}\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_labels_that_are_none_are_the_users_error(tmp_path, name):
    (tmp_path / name).write_text(BROKEN[name])
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        open_labels(tmp_path / name)


def test_labels_of_other_prompts_and_one_reviewer_twice_are_refused(audit, bundle):
    stray = open_labels(write_labels(bundle, "ann", {"0" * 16: "same"}))
    with pytest.raises(ConfigError, match="another campaign or analysis"):
        agreement([stray], audit.results, {})
    with pytest.raises(ConfigError, match="one reviewer's"):
        agreement([stray, stray], audit.results, {})


def test_a_bundle_without_a_pair_is_refused(audit, bundle):
    (bundle / "results.json").write_text("[]")
    with pytest.raises(ConfigError, match="was changed"):
        Labelling(bundle, "ann")
    with pytest.raises(ConfigError, match="is no bundle of evidence; name one"):
        Labelling(audit.folder, "ann")


def test_what_is_not_there_is_said_to_be_missing_and_not_to_be_made_again(bundle):
    gone = bundle.parent / "gone"
    with pytest.raises(ConfigError) as said:
        Labelling(gone, "ann")
    makes = "`seedsweep evidence ID -o DIR` makes a bundle"
    assert str(said.value) == f"There is no folder {gone}; check the path, or {makes}."
    with pytest.raises(ConfigError, match=r"is a file, .* name the folder that it lies in"):
        Labelling(bundle / "manifest.json", "ann")
    (bundle / "images.json").unlink()
    with pytest.raises(ConfigError, match=r"images.json'.*makes it again in a new folder"):
        Labelling(bundle, "ann")


def test_the_command_serves_the_page_until_it_is_interrupted(bundle):
    command = [
        sys.executable,
        "-m",
        "seedsweep.cli",
        "label",
        str(bundle),
        "--reviewer",
        "ann",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            url = process.stdout.readline().strip()
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
                assert b"0 of 3 answered" in answer.read()
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 0
    assert "0 of 3 are in" in said
