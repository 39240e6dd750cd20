"""A bundle of evidence: what is in it, and that nothing in it can change unseen."""

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seedsweep.audit.evidence import bundle, verify_bundle, versions
from seedsweep.audit.evidence.signature import open_signer
from seedsweep.audit.evidence.verify_bundle import check_bundle, decode_png, l2, tiled_l2
from seedsweep.audit.findings.counts import count_results
from seedsweep.audit.findings.limitations import limit_words
from seedsweep.audit.replay.replay import ReplayOptions, replay_some
from seedsweep.cli import main as command_line
from seedsweep.storage.campaigns import load_control, store_control, store_verification
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.receipts import Receipt, store_receipt
from seedsweep.storage.record import digest
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.workers.analysis.distances import l2_to_all, tiled_to
from seedsweep.workers.images import encode_png
from tests.support.bundles import EVIL, SEEDS, SIDE, Audit, seal_anew
from tests.support.campaigns import park_unit
from tests.support.checkout import ROOT
from tests.support.pictures import black_png
from tests.support.tools import need

WRONG_COUNTS = "The denominators in manifest.json do not follow from the results."


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An audit that no test changes; its training set was searched."""
    audit = Audit(tmp_path_factory.mktemp("audit"))
    store_verification(audit.store, audit.search())
    return audit


@pytest.fixture
def audit(tmp_path):
    return Audit(tmp_path)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture(scope="module")
def signed(made, key):
    """A signed bundle with all that a bundle can have; tests change it only for a moment."""
    replays = replay_some(made.store, made.id, 3, 1, ReplayOptions(), lambda done, of: None)
    return made.bundle("signed", replays=replays, sample_seed=1, signer=open_signer(key))


@pytest.fixture
def seedsweep(monkeypatch, capsys):
    """Run the command line in an audit's folder; returns code and output as a shell would."""

    def run(audit, *arguments):
        monkeypatch.chdir(audit.folder)
        monkeypatch.setattr(sys, "argv", ["seedsweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


def make_key(path, algorithm="ed25519", *options):
    command = [need("openssl"), "genpkey", "-algorithm", algorithm, *options, "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def verify(folder, *arguments, env=None):
    """Run the bundle's own verifier, without site packages and in an empty environment."""
    command = [sys.executable, "-I", "-S", str(folder / "verify_bundle.py"), *map(str, arguments)]
    return subprocess.run(command, env=env or {}, capture_output=True, text=True, check=False)


def load(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def faults(folder, **options):
    return list(check_bundle(folder, **options))


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_bundle_is_verified_with_python_alone_in_an_empty_environment(signed):
    finished = verify(signed)
    assert (finished.returncode, finished.stderr) == (0, "")
    digest = hashlib.sha256((signed / "manifest.json").read_bytes()).hexdigest()
    assert "No fault. Signed by the key" in finished.stdout
    assert digest in finished.stdout
    manifest, pictures = load(signed, "manifest.json"), len([*signed.rglob("*.png")])
    what = f"Checked: audit {manifest['campaign_id']}, analysis {manifest['analysis_id']}; "
    held = f"{len(manifest['files'])} files, 4 results, {pictures} pictures, 3 cliques, "
    assert f"{what}{held}whose distances within were not computed again" in finished.stdout
    thorough = verify(signed, "--distances")
    assert thorough.returncode == 0
    assert f"{held}whose distances within were computed again." in thorough.stdout


def test_how_far_a_slow_check_is_is_said_now_and_then(signed, capsys, monkeypatch):
    times = iter([0.0, 4.0, 5.0])
    monkeypatch.setattr(verify_bundle, "_told", [0.0])
    monkeypatch.setattr(verify_bundle, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert not faults(signed, distances=True)
    assert capsys.readouterr().err == "Prompts whose pictures were checked: 2 of 3\n"


def test_it_holds_the_cliques_as_stored_and_the_training_pictures_as_compared(made):
    folder = made.bundle("held")
    for place in range(3):
        prompt_id = made.results[place].prompt_id
        assert len(made.results[place].clique_seeds) == SEEDS
        for image in made.images(place):
            assert (folder / "images" / prompt_id / f"{image.seed}.png").read_bytes() == image.png
    entries = {e["training_id"]: e for e in load(folder, "training.json")["pictures"]}
    assert {"known-0.png", "known-1.png"} < {*entries}
    for name, entry in entries.items():
        stored = np.asarray(Image.open(made.training / name))
        assert np.array_equal(np.asarray(Image.open(folder / entry["file"])), stored)
        assert hashlib.sha256(stored.tobytes()).hexdigest() == entry["sha256"]
    listed = load(folder, "images.json")
    assert [len(prompt["images"]) for prompt in listed["prompts"]] == [SEEDS] * 3
    assert listed["provenances"][0]["device"] == "cpu"


def test_what_was_counted_is_told_each_with_its_denominator(audit):
    park_unit(audit.store, audit.plan, 6)
    audit.store.delete(audit.keys_of(3)[0])
    fewer = audit.results[3].model_copy(update={"seeds": 2, "excluded": 1})
    drop_results(audit.store, audit.id, {fewer.prompt_id, audit.results[2].prompt_id})
    store_results(audit.store, audit.campaign.analysis_id, audit.id, [fewer])
    folder = audit.bundle()
    counts = {
        name: (c["n"], c["of"]) for name, c in load(folder, "manifest.json")["denominators"].items()
    }
    assert counts == {
        "prompts analysed, of those submitted": (3, 4),
        "prompts not judged, of those submitted": (1, 4),
        "prompts analysed with fewer seeds, of those analysed": (1, 3),
        "images analysed, of those planned": (14, 24),
        "images excluded as no evidence, of those analysed": (1, 14),
        "images of parked units, of those planned": (4, 24),
        "parked units, of all units": (1, 8),
        "prompts without evidence, of those analysed": (1, 3),
        "prompts flagged, of those with evidence": (2, 2),
        "prompts undecided, of those with evidence": (0, 2),
        "prompts matched, of those flagged": (2, 2),
        "prompts extracted, of those matched": (2, 2),
        "training pictures extracted, of those matched": (2, 2),
    }
    assert not faults(folder)
    assert "14 of 24  images analysed" in (folder / "README.txt").read_text()


def test_no_count_of_a_bundle_can_be_another_one(made, tmp_path):
    folder = shutil.copytree(made.bundle("counted"), tmp_path / "counted")
    manifest = load(folder, "manifest.json")
    assert len(manifest["denominators"]) == 13
    for count in manifest["denominators"].values():
        for number in ("n", "of"):
            count[number] += 1
            (folder / "manifest.json").write_text(json.dumps(manifest))
            seal_anew(folder)
            assert faults(folder) == [WRONG_COUNTS]
            count[number] -= 1


def test_a_mistake_in_the_bundles_own_counting_is_found_by_its_verifier(made, monkeypatch):
    def count_wrongly(*counted):
        return replace(count_results(*counted), matched_pictures=1)

    monkeypatch.setattr(bundle, "count_results", count_wrongly)
    assert faults(made.bundle("miscounted")) == [WRONG_COUNTS]


def test_equal_stores_give_equal_bytes(made, key, signed):
    replays = replay_some(made.store, made.id, 3, 1, ReplayOptions(), lambda done, of: None)
    again = made.bundle("again", replays=replays, sample_seed=1, signer=open_signer(key))
    assert contents(again) == contents(signed)


def test_replays_are_told_with_what_came_of_them(signed):
    replays = load(signed, "replays.json")
    assert (replays["images"], replays["equal"], replays["sample_seed"]) == (3, 3, 1)
    assert len(replays["replays"]) == 3


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_byte_of_any_file_can_change_unseen(signed, data):
    files = sorted(contents(signed))
    file = signed / data.draw(st.sampled_from(files))
    before = file.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    change = data.draw(st.integers(1, 255))
    try:
        file.write_bytes(before[:place] + bytes([before[place] ^ change]) + before[place + 1 :])
        assert faults(signed)
    finally:
        file.write_bytes(before)
    assert not faults(signed)


def test_no_file_can_be_taken_away_unseen(signed):
    for name, data in contents(signed).items():
        (signed / name).unlink()
        assert any(name in fault for fault in faults(signed)), name
        (signed / name).write_bytes(data)
    assert not faults(signed)


@pytest.mark.parametrize("name", ["extra.txt", "images/extra.png", ".hidden", "labels-x.csv"])
def test_no_file_can_be_added_unseen(signed, name):
    (signed / name).write_text("extra")
    try:
        assert any(name in fault for fault in faults(signed))
    finally:
        (signed / name).unlink()


def test_neither_folders_nor_links_can_be_added_unseen(signed):
    (signed / "empty").mkdir()
    assert any("empty" in fault for fault in faults(signed))
    (signed / "empty").rmdir()
    (signed / "link").symlink_to("README.txt")
    assert any("link" in fault for fault in faults(signed))
    (signed / "link").unlink()


def test_the_verifier_ends_with_1_and_a_line_for_each_fault(made):
    folder = made.bundle("changed")
    (folder / "README.txt").write_text("all is well")
    (folder / "extra").write_text("")
    finished = verify(folder)
    assert finished.returncode == 1
    assert [line.split()[:2] for line in finished.stdout.splitlines()[:2]] == [
        ["FAULT", "extra"],
        ["FAULT", "README.txt"],
    ]
    assert verify(folder.parent / "changed", made.folder).returncode == 1


FORGERIES = {
    "a pixel": lambda folder, name: repaint(folder / name),
    "a verdict": lambda folder, name: alter(
        folder, "results.json", lambda r: r[0].update(flagged=False)
    ),
    "an extraction": lambda folder, name: alter(
        folder, "results.json", lambda r: r[0]["match"].update(extracted=False)
    ),
    "a distance": lambda folder, name: alter(
        folder, "results.json", lambda r: r[0]["match"].update(l2=0.01)
    ),
    "a prompt": lambda folder, name: alter(folder, "prompts.json", lambda p: p.append("another")),
    "a result less": lambda folder, name: alter(folder, "results.json", lambda r: r.pop()),
    "a setting": lambda folder, name: alter(
        folder, "campaign.json", lambda c: c["campaign"]["sampling"].update(steps=1)
    ),
    "a threshold": lambda folder, name: alter(
        folder, "manifest.json", lambda m: m["settings"]["analysis"].update(edge_threshold=0.2)
    ),
    "a count": lambda folder, name: alter(
        folder,
        "manifest.json",
        lambda m: m["denominators"]["prompts flagged, of those with evidence"].update(n=1),
    ),
    "a time": lambda folder, name: alter(
        folder, "manifest.json", lambda m: m["thresholds"].update(fixed_at="2020-01-01")
    ),
    "no reason": lambda folder, name: alter(
        folder, "images.json", lambda i: i["prompts"][0]["images"][0].update(file=None)
    ),
}


FORGED_SEARCHES = {
    "its analysis": lambda found: found.update(analysis_id="0" * 16),
    "an extraction": lambda found: found["cliques"][0]["match"].update(extracted=False),
    "a group": lambda found: found["groups"].append(["another.png"]),
    "a group less": lambda found: found["groups"].pop(),
    "its campaign": lambda found: found.update(campaign_id="another"),
    "a prompt's id": lambda found: found["cliques"][0].update(prompt_id="0" * 16),
    "a prompt's text": lambda found: found["cliques"][0].update(prompt="another"),
    "a prompt that was not looked at": lambda found: found["not_verified"].append(
        {"prompt_id": "0" * 16, "prompt": "another", "seed": 0, "reason": "none"}
    ),
    "a picture twice": lambda found: found["cliques"].append(found["cliques"][-1]),
    "its coverage": lambda found: found["coverage"].update(unreadable=7),
    "its controls": lambda found: found["controls"].update(matches=10),
}


@pytest.mark.parametrize("forgery", FORGED_SEARCHES)
def test_a_search_that_contradicts_the_results_is_found_though_all_hashes_fit(
    made, tmp_path, forgery
):
    folder = shutil.copytree(made.bundle(f"search {forgery}"), tmp_path / "forged")
    alter(folder, "verifications.json", lambda found: FORGED_SEARCHES[forgery](found[0]))
    seal_anew(folder)
    assert {fault[:22] for fault in faults(folder)} == {"The search of 2026-01-"}


def test_a_search_for_a_prompt_that_is_not_flagged_is_found(audit):
    search, [*_, ordinary] = audit.search(), audit.results
    strange = {"prompt_id": ordinary.prompt_id, "prompt": ordinary.prompt}
    first = search.cliques[0].model_copy(update=strange)
    cliques = (first, *search.cliques[1:])
    store_verification(audit.store, search.model_copy(update={"cliques": cliques}))
    assert faults(audit.bundle()) == [
        f"The search of {search.verified_at} looked for a picture of {ordinary.prompt_id}, "
        "which is no flagged prompt."
    ]


def test_searches_are_the_newest_first(audit):
    search = audit.search()
    threshold = search.settings.model_copy(update={"threshold": 0.2})
    later = {"verified_at": "2026-02-01T00:00:00+00:00", "settings": threshold}
    for one in (search, search.model_copy(update=later)):
        store_verification(audit.store, one)
    folder = audit.bundle()
    found = load(folder, "verifications.json")
    assert [one["settings"]["threshold"] for one in found] == [0.2, 0.15]
    assert "An extraction is a match with (1) l2 ≤ 0.2, " in " ".join(
        (folder / "README.txt").read_text().split()
    )
    assert not faults(folder)
    alter(folder, "verifications.json", lambda found: found.reverse())
    seal_anew(folder)
    assert faults(folder) == ["The searches in verifications.json are not the newest first."]


def test_searches_of_another_analysis_are_left_out(audit):
    search = audit.search().model_copy(update={"analysis_id": "0" * 16})
    store_verification(audit.store, search)
    folder = audit.bundle()
    assert not (folder / "verifications.json").exists()
    assert "not searched" in (folder / "README.txt").read_text()


@pytest.mark.parametrize("what", ["another represents it", "it waits to be judged again"])
def test_results_that_changed_after_a_search_are_told_and_are_no_forgery(audit, what):
    store_verification(audit.store, audit.search())
    first = audit.results[0]
    if what == "another represents it":
        seed = next(seed for seed in first.clique_seeds if seed != first.representative_seed)
        audit.change(0, first.model_copy(update={"representative_seed": seed}))
        told = "1 of 3 pictures that represent a clique now were not looked for, and 1 of 3"
    else:
        drop_results(audit.store, audit.id, {first.prompt_id})
        told = "0 of 2 pictures that represent a clique now were not looked for, and 1 of 3"
    folder = audit.bundle()
    assert told in " ".join((folder / "README.txt").read_text().split())
    assert not faults(folder)


def test_nothing_is_said_of_changes_where_the_search_is_of_these_results(made):
    assert "Results changed" not in (made.bundle("unchanged") / "README.txt").read_text()


def test_what_the_newest_search_found_is_told(made, audit):
    told = (made.bundle("searched") / "README.txt").read_text()
    assert "1/9 = 0.11 [0.00, 0.48] (likewise)" in " ".join(told.split())
    assert "Distinct training pictures extracted: 2" in told
    folder = audit.bundle()
    assert not (folder / "verifications.json").exists()
    assert "not searched with `seedsweep verify`" in (folder / "README.txt").read_text()


def test_the_limits_are_those_of_the_report(made):
    told = " ".join((made.bundle("limited") / "README.txt").read_text().split())
    for words in limit_words(made.campaign.settings, SEEDS):
        assert words in told


def test_a_bundle_can_be_cut_down_to_the_pictures_of_chosen_prompts(made, tmp_path):
    fox, other = made.results[1], made.results[0]
    whole = load(made.bundle("whole"), "manifest.json")
    for name, prompts in (("text", (f" {fox.prompt} ",)), ("id", (fox.prompt_id,) * 2)):
        folder = made.bundle(name, prompts=prompts)
        assert {path.name for path in (folder / "images").iterdir()} == {fox.prompt_id}
        trained = load(folder, "training.json")["pictures"]
        assert [entry["training_id"] for entry in trained] == [fox.match.training_id]
        manifest = load(folder, "manifest.json")
        assert manifest["denominators"] == whole["denominators"]
        assert manifest["cut_down_to"] == [fox.prompt_id]
        told = verify(folder)
        assert told.returncode == 0, told.stdout
        assert f"cut down to those of 1 ({fox.prompt_id})" in told.stdout
        assert "cut down" in (folder / "README.txt").read_text()
    for forged in ([], [other.prompt_id], ["0" * 16]):
        copy = shutil.copytree(folder, tmp_path / str(forged))
        (copy / "manifest.json").write_text(json.dumps(manifest | {"cut_down_to": forged}))
        seal_anew(copy)
        assert faults(copy)


@pytest.mark.parametrize("place", [3, None])
def test_a_prompt_that_repeats_nothing_is_no_evidence(made, place):
    prompt = "unknown" if place is None else made.results[place].prompt
    with pytest.raises(ConfigError, match="is no prompt that repeats a picture"):
        made.bundle("none", prompts=(prompt,))
    assert not (made.folder / "none").exists()


def test_every_picture_that_a_prompt_repeats_is_held_and_checked(audit, tmp_path):
    audit.repeat(0, {3, 4, 5}, audit.near(audit.flagged[1]))
    first, second = audit.results[0].cliques
    assert (first.clique_seeds, second.clique_seeds) == ((0, 1, 2), (3, 4, 5))
    assert second.match.training_id == "known-1.png"
    folder = audit.bundle()
    assert not faults(folder, distances=True)
    entries = {e["training_id"]: e for e in load(folder, "training.json")["pictures"]}
    prompt_ids = [result.prompt_id for result in audit.results]
    assert entries["known-0.png"]["prompts"] == [prompt_ids[0]]
    assert sorted(entries["known-1.png"]["prompts"]) == sorted(prompt_ids[:2])
    counts = load(folder, "manifest.json")["denominators"]
    assert counts["prompts extracted, of those matched"] == {"n": 2, "of": 3}
    for change in (
        lambda clique: clique.update(representative_seed=0),
        lambda clique: clique.update(clique_seeds=[2, 3, 4, 5]),
        lambda clique: clique["match"].update(extracted=False),
        lambda clique: clique["match"].update(l2=0.1),
    ):
        forged = shutil.copytree(folder, tmp_path / "forged")
        place = [r["prompt_id"] for r in load(forged, "results.json")].index(prompt_ids[0])
        alter(forged, "results.json", lambda r: change(r[place]["further_cliques"][0]))  # noqa: B023
        seal_anew(forged)
        assert faults(forged)
        shutil.rmtree(forged)


def test_a_training_picture_that_is_nearer_mirrored_is_compared_mirrored(audit):
    stored = np.asarray(Image.open(audit.training / "known-0.png"))
    audit.save("known-0.png", stored[:, ::-1])
    result = audit.results[0]
    flip = Transform(width=SIDE, height=SIDE, resize="none", crop="none", flip=True)
    match = result.match.model_copy(update={"transform": flip})
    audit.change(0, result.model_copy(update={"match": match}))
    folder = audit.bundle()
    assert load(folder, "manifest.json")["missing"] == []
    assert not faults(folder)


def repaint(path):
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    path.write_bytes(encode_png(pixels))


def alter(folder, name, change):
    value = load(folder, name)
    change(value)
    (folder / name).write_text(json.dumps(value))


@pytest.mark.parametrize("forgery", FORGERIES)
def test_contents_that_contradict_each_other_are_found_though_all_hashes_fit(
    made, tmp_path, forgery
):
    folder = shutil.copytree(made.bundle(f"to forge {forgery}"), tmp_path / "forged")
    FORGERIES[forgery](folder, f"images/{made.results[0].prompt_id}/0.png")
    seal_anew(folder)
    found = faults(folder)
    assert found
    assert not any("sha256 than manifest" in fault for fault in found)


@pytest.mark.parametrize("confessed", [False, True])
def test_a_picture_that_would_fill_the_memory_is_not_decoded(made, tmp_path, confessed):
    """It says a size that no campaign can have; with `confessed` the campaign says it too."""
    folder = shutil.copytree(made.bundle(f"bomb {confessed}"), tmp_path / "forged")
    size = {"width": 9000, "height": 9000}
    (folder / f"images/{made.results[0].prompt_id}/0.png").write_bytes(black_png(**size))
    if confessed:
        alter(folder, "campaign.json", lambda c: c["campaign"]["sampling"].update(size))
    seal_anew(folder)
    said = "campaign.json says pictures of" if confessed else "0.png: it has another size than"
    assert any(said in fault and "9000 x 9000 pixels" in fault for fault in faults(folder))


@pytest.mark.parametrize("constant", ["NaN", "Infinity"])
def test_a_number_that_is_none_hides_no_distance(made, tmp_path, constant):
    folder = shutil.copytree(made.bundle(f"no number {constant}"), tmp_path / "forged")
    value = float(constant)
    alter(folder, "results.json", lambda results: results[0]["match"].update(l2=value))
    seal_anew(folder)
    [fault] = faults(folder)
    assert f"results.json holds {constant}" in fault


def test_distances_within_cliques_are_computed_again_where_asked_for(made, tmp_path):
    folder = shutil.copytree(made.bundle("exact"), tmp_path / "exact")
    alter(folder, "results.json", lambda results: results[0].update(mean_distance=0.05))
    seal_anew(folder)
    assert not faults(folder)
    assert any("mean distance" in fault for fault in faults(folder, distances=True))


def test_a_signature_by_another_key_is_found(signed, tmp_path):
    before = contents(signed)
    other = open_signer(make_key(tmp_path / "other.pem"))
    signature = other.sign(signed / "manifest.json")
    digests = [hashlib.sha256(data).hexdigest() for data in (before["manifest.json"], signature)]
    try:
        (signed / "manifest.sig").write_bytes(signature)
        sums = f"{digests[0]}  manifest.json\n{digests[1]}  manifest.sig\n"
        (signed / "SHA256SUMS").write_text(sums)
        assert faults(signed) == ["manifest.sig is no signature of manifest.json by public.pem."]
    finally:
        for name in ("manifest.sig", "SHA256SUMS"):
            (signed / name).write_bytes(before[name])


def test_a_known_key_must_be_the_one_that_signed(made, signed, tmp_path):
    public, other = signed / "public.pem", tmp_path / "other.pem"
    other.write_bytes(open_signer(make_key(tmp_path / "key.pem")).public)
    assert not faults(signed, key=public)
    assert any("another key" in fault for fault in faults(signed, key=other))
    assert faults(made.bundle("unsigned"), key=public) == ["The bundle is not signed."]


def test_without_openssl_it_is_said_that_the_signature_was_not_checked(signed, tmp_path):
    nowhere = {"PATH": str(tmp_path)}
    finished = verify(signed, env=nowhere)
    assert (finished.returncode, "NOT checked" in finished.stdout) == (0, True)
    assert verify(signed, "--key", signed / "public.pem", env=nowhere).returncode == 1


def test_pictures_that_are_gone_are_named_and_stop_nothing(audit):
    audit.store.delete(audit.keys_of(0)[0])
    audit.store.replace(audit.keys_of(1)[0], b"no shard")
    (audit.training / "known-1.png").unlink()
    folder = audit.bundle()
    assert not faults(folder)
    assert load(folder, "manifest.json")["missing"] == [
        "Images of cliques: 8; images.json says why.",
        "Training pictures: 1; training.json says why.",
    ]
    reasons = {e["training_id"]: e["missing"] for e in load(folder, "training.json")["pictures"]}
    assert "no longer holds" in reasons["known-1.png"]


def test_of_pictures_that_were_not_kept_the_digests_stay(tmp_path):
    audit = Audit(tmp_path, keep="flagged")
    images = tuple(audit.images(0))
    judged = audit.results[0].model_copy(update={"seeds_digest": digest([*range(SEEDS)])})
    store_receipt(audit.store, audit.campaign, Receipt(images, "0" * 16, judged))
    for key in audit.keys_of(0):
        audit.store.delete(key)
    folder = audit.bundle()
    prompts = {entry["prompt_id"]: entry for entry in load(folder, "images.json")["prompts"]}
    listed = prompts[judged.prompt_id]["images"]
    assert [image["sha256"] for image in listed] == [image.sha256 for image in images]
    assert {image["missing"] for image in listed} == {"its picture was not kept"}
    finished = verify(folder)
    assert finished.returncode == 0
    assert "Not in it, so not checked: Images of cliques: 6" in finished.stdout


def repaint_training(path):
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def test_a_training_picture_that_was_exchanged_is_not_shown_as_the_match(audit):
    repaint_training(audit.training / "known-0.png")
    folder = audit.bundle()
    reasons = {e["training_id"]: e["missing"] for e in load(folder, "training.json")["pictures"]}
    assert reasons["known-0.png"] == "the picture now under this id is another one"
    assert reasons["known-1.png"] == ""
    assert not faults(folder)


def test_a_training_set_that_is_gone_stops_nothing(audit):
    shutil.rmtree(audit.training)
    folder = audit.bundle()
    assert not (folder / "training").exists()
    assert all(entry["missing"] for entry in load(folder, "training.json")["pictures"])
    assert not faults(folder)


def test_thresholds_are_told_with_the_time_they_were_fixed(audit):
    before = load(audit.bundle("before"), "manifest.json")
    assert before["thresholds"]["fixed_at"] == before["submitted_at"]
    changed = AnalysisSettings(
        analysis=Analysis(tiles=2, edge_threshold=0.2, min_clique_size=3),
        verification=audit.campaign.verification,
    )
    control = load_control(audit.store, audit.id)
    store_control(audit.store, audit.id, control.model_copy(update={"settings": changed}))
    store_results(audit.store, changed.analysis_id, audit.id, audit.results)
    folder = audit.bundle("after")
    after = load(folder, "manifest.json")
    assert (after["thresholds"]["edge"], after["thresholds"]["fixed_at"]) == (0.2, None)
    assert "not recorded" in (folder / "README.txt").read_text()
    assert not faults(folder)
    at = "2100-01-01T00:00:00.000+00:00"
    known = {"settings": changed, "settings_at": at}
    store_control(audit.store, audit.id, control.model_copy(update=known))
    folder = audit.bundle("known")
    assert load(folder, "manifest.json")["thresholds"]["fixed_at"] == at
    assert f"changed at {at}" in " ".join((folder / "README.txt").read_text().split())
    assert not faults(folder)


def test_nothing_analysed_yet_is_a_bundle_too(audit):
    drop_results(audit.store, audit.id, {result.prompt_id for result in audit.results})
    folder = audit.bundle()
    assert load(folder, "results.json") == []
    assert not faults(folder)


def test_a_recipient_sees_each_finding_with_its_pictures(made):
    folder = made.bundle("read")
    page = (folder / "index.html").read_text()
    readme = (folder / "README.txt").read_text()
    told = page.replace("<br>", " ")
    for result in made.results[:3]:
        made_of, match = f"images/{result.prompt_id}/{result.representative_seed}.png", result.match
        (trained,) = (
            entry["file"]
            for entry in load(folder, "training.json")["pictures"]
            if entry["training_id"] == match.training_id
        )
        for name in (made_of, trained):
            assert (folder / name).is_file()
            assert f'<img src="{name}"' in page
            assert name in readme
        assert match.training_id in readme
        assert f"l2 {match.l2:.3f}, adaptive" in readme
        assert f"{result.prompt_id}: {SEEDS} of {SEEDS} the same" in readme
    assert html.escape(EVIL) in told
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!images/|training/)', page)


def test_the_readme_lists_what_is_in_this_bundle_alone(made, signed):
    told, of_signed = ((f / "README.txt").read_text() for f in (made.bundle("listed"), signed))
    assert "\nresults.json " in told
    assert "\nreplays.json " in of_signed
    for absent in ("parts.json", "parts/", "labels.json", "labels/", "replays.json"):
        assert f"\n{absent}" not in told
    assert "3 of 3 equal bit for bit." in of_signed
    assert "What was made again" in of_signed
    assert "What was made again" not in told


def test_prompts_are_in_no_path_and_not_in_the_readme(made):
    folder = made.bundle("evil")
    assert EVIL in load(folder, "prompts.json")[0]
    assert not any("script" in name for name in contents(folder))
    assert "alert" not in (folder / "README.txt").read_text()


def test_a_prompt_id_that_leads_elsewhere_is_refused_and_nothing_is_left(audit):
    evil = audit.results[0].model_copy(update={"prompt_id": "../../../evil"})
    drop_results(audit.store, audit.id, {audit.results[0].prompt_id})
    store_results(audit.store, audit.campaign.analysis_id, audit.id, [evil])
    with pytest.raises(ShardCorruptError, match="the id is not the prompt's"):
        audit.bundle()
    assert not [path for path in audit.folder.iterdir() if "bundle" in path.name]


def test_the_command_prints_the_manifests_hash(audit, seedsweep, key):
    finished = seedsweep(audit, "evidence", audit.id, "-o", "out", "--replays", 2, "--sign", key)
    assert finished.returncode == 0, finished.stderr
    digest = hashlib.sha256((audit.folder / "out" / "manifest.json").read_bytes()).hexdigest()
    assert finished.stdout == f"{digest}  out/manifest.json\n"
    assert "4 results, 3 of them flagged, and 21 pictures" in finished.stderr
    assert "python3 out/verify_bundle.py" in finished.stderr
    assert "2 of 2 equal bit for bit." in finished.stderr
    assert load(audit.folder / "out", "replays.json")["equal"] == 2
    assert verify(audit.folder / "out").returncode == 0


def test_nothing_that_is_there_is_overwritten(audit, seedsweep):
    (audit.folder / "out").mkdir()
    (audit.folder / "out" / "mine").write_text("")
    finished = seedsweep(audit, "evidence", audit.id, "-o", "out")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "is there already" in finished.stderr
    assert [path.name for path in (audit.folder / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("what", ["rsa", "passphrase", "no key", "nothing"])
def test_a_key_that_cannot_sign_is_the_users_error(tmp_path, what):
    path = tmp_path / "key.pem"
    if what == "rsa":
        make_key(path, "RSA")
    elif what == "passphrase":
        make_key(path, "ed25519", "-aes256", "-pass", "pass:words")
    elif what == "no key":
        path.write_text("no key")
    with pytest.raises(ConfigError, match=r"key\.pem cannot sign"):
        open_signer(path)


@pytest.mark.parametrize("kind", range(5))
def test_the_verifier_decodes_rows_of_every_filter(kind):
    pixels = np.random.default_rng(kind).integers(0, 256, (9, 7, 3), np.uint8)
    flags = [cv2.IMWRITE_PNG_FILTER, 1 << (kind + 3)]
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), flags)
    found = decode_png(data.tobytes(), (7, 9))
    assert (found.width, found.height, found.rgb) == (7, 9, pixels.tobytes())


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_the_verifier_takes_no_other_kind_of_png(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match="8-bit RGB"):
        decode_png((tmp_path / "other.png").read_bytes(), (4, 4))


@pytest.mark.parametrize("size", [(5, 4), (4, 5), (8000, 8000)])
def test_the_verifier_reads_only_the_header_of_a_picture_of_another_size(size):
    header_alone = black_png(*size)[:33]
    with pytest.raises(ValueError, match=rf"another size than the campaign's, {size[0]} x"):
        decode_png(header_alone, (4, 4))


@pytest.mark.parametrize("tiles", [1, 2, 4, 5])
def test_the_verifier_has_the_distances_of_the_analysis(tiles):
    a, b = np.random.default_rng(tiles).integers(0, 256, (2, SIDE, SIDE + 1, 3), np.uint8)
    one, other = (decode_png(encode_png(each), (SIDE + 1, SIDE)) for each in (a, b))
    assert l2(one, other) == pytest.approx(float(l2_to_all(a, b[None])[0]), abs=1e-12)
    assert tiled_l2(one, other, tiles) == pytest.approx(tiled_to(a, b, tiles), abs=1e-12)


def test_records_in_a_bundle_are_those_of_the_store(made):
    folder = made.bundle("records")
    assert load(folder, "results.json") == [
        result.model_dump(mode="json")
        for result in sorted(made.results, key=lambda r: (not r.flagged, r.mean_distance or 0))
    ]


def test_the_digest_of_our_code_covers_every_room_and_changes_with_each_file(tmp_path, monkeypatch):
    copied = tmp_path / "seedsweep"
    shutil.copytree(ROOT / "seedsweep", copied, ignore=shutil.ignore_patterns("__pycache__"))
    whole = versions.code_digest()
    monkeypatch.setattr(versions, "files", lambda package: copied)
    assert versions.code_digest() == whole
    for name in (
        "pipelines.py",
        "cli/main.py",
        "audit/report/templates/report.html",
        "scheduler/environment.py",
        "storage/ledger.lua",
        "workers/analysis/cliques.py",
    ):
        before = (copied / name).read_bytes()
        (copied / name).write_bytes(before + b"\n")
        assert versions.code_digest() != whole, name
        (copied / name).write_bytes(before)
    assert versions.code_digest() == whole


@pytest.mark.parametrize(
    "more", [{}, {"controls": "/c"}, {"column": "photo"}, {"column": "photo", "folder": "/f"}]
)
def test_the_checker_names_an_analysis_as_the_analysis_does(more):
    verification = Verification(training_set="/t", fingerprint="f", **more)
    settings = AnalysisSettings(verification=verification)
    stored = settings.model_dump(mode="json")
    assert verify_bundle._analysis_id(settings.algorithm, stored) == settings.analysis_id
