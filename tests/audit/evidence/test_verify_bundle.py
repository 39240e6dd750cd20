import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seedsweep.audit.evidence import bundle, verify_bundle
from seedsweep.audit.evidence.signature import open_signer
from seedsweep.audit.evidence.verify_bundle import decode_png, l2, tiled_l2
from seedsweep.audit.findings.counts import count_results
from seedsweep.storage.campaigns import store_verification
from seedsweep.storage.settings.analysis import AnalysisSettings, Verification
from seedsweep.workers.analysis.distances import l2_to_all, tiled_to
from seedsweep.workers.images import encode_png
from tests.support.bundle_checks import alter, contents, faults, load, make_key, verify
from tests.support.bundles import SIDE, seal_anew
from tests.support.pictures import black_png

WRONG_COUNTS = "The denominators in manifest.json do not follow from the results."


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


def test_a_folder_that_is_not_there_is_said_to_be_missing_and_no_other_bundle(signed):
    for folder in (signed / "gone", signed / "manifest.json"):
        finished = verify(signed, folder)
        assert (finished.returncode, finished.stdout) == (2, "")
        said = f"There is no folder {folder}; name that of a bundle."
        assert finished.stderr.endswith(f"error: {said}\n")


def test_how_far_a_slow_check_is_is_said_now_and_then(signed, capsys, monkeypatch):
    times = iter([0.0, 4.0, 5.0])
    monkeypatch.setattr(verify_bundle, "_told", [0.0])
    monkeypatch.setattr(verify_bundle, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert not faults(signed, distances=True)
    assert capsys.readouterr().err == "Prompts whose pictures were checked: 2 of 3\n"


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


@pytest.fixture(scope="module")
def sound(signed):
    """The signed bundle, in which nothing is found while nothing is changed."""
    assert not faults(signed)
    return signed


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_byte_of_any_file_can_change_unseen(sound, data):
    files = sorted(contents(sound))
    file = sound / data.draw(st.sampled_from(files))
    before = file.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    change = data.draw(st.integers(1, 255))
    try:
        file.write_bytes(before[:place] + bytes([before[place] ^ change]) + before[place + 1 :])
        assert faults(sound)
    finally:
        file.write_bytes(before)


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


def repaint(path):
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    path.write_bytes(encode_png(pixels))


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


@pytest.mark.parametrize(
    "more", [{}, {"controls": "/c"}, {"column": "photo"}, {"column": "photo", "folder": "/f"}]
)
def test_the_checker_names_an_analysis_as_the_analysis_does(more):
    verification = Verification(training_set="/t", fingerprint="f", **more)
    settings = AnalysisSettings(verification=verification)
    stored = settings.model_dump(mode="json")
    assert verify_bundle._analysis_id(settings.algorithm, stored) == settings.analysis_id
