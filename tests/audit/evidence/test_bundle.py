"""A bundle of evidence: what is in it, and that nothing in it can change unseen."""

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.evidence import versions
from seedsweep.audit.evidence.signature import open_signer
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
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings
from tests.support.bundle_checks import alter, contents, faults, load, make_key, verify
from tests.support.bundles import EVIL, SEEDS, SIDE, Audit, seal_anew
from tests.support.campaigns import park_unit
from tests.support.checkout import ROOT


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


def test_equal_stores_give_equal_bytes(made, key, signed):
    replays = replay_some(made.store, made.id, 3, 1, ReplayOptions(), lambda done, of: None)
    again = made.bundle("again", replays=replays, sample_seed=1, signer=open_signer(key))
    assert contents(again) == contents(signed)


def test_replays_are_told_with_what_came_of_them(signed):
    replays = load(signed, "replays.json")
    assert (replays["images"], replays["equal"], replays["sample_seed"]) == (3, 3, 1)
    assert len(replays["replays"]) == 3


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
