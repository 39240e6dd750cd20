"""Check an evidence bundle of seedsweep with Python's own library alone: no network, no packages.

    python verify_bundle.py [FOLDER] [--key PUBLIC.pem] [--distances]

Prints a line for each fault and ends with exit code 1 where there is one; else it says what was
checked, and ends with 0. The answers of reviewers that `seedsweep label` writes beside the manifest
later are no fault: they are named.
"""

# It is copied into every bundle, so it imports nothing of seedsweep, and stays one file. PNGs are
# read by hand for the same reason: whoever checks a bundle needs Python, and trusts no package.

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import hashlib
import io
import json
import math
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, combinations
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 2
SMALL_IMAGE_SIDE = 256
SAME_DISTANCE = 1e-6
LARGEST_SIDE = 8192
"""Of a picture: a forged campaign could say more, to fill the memory."""

PART_RULE = {"grid": 8, "spread": 0.06}
"""The settings of parts that a campaign does not name: seedsweep's own defaults."""

UNSHIFTED: dict[str, Any] = {"down": 0, "right": 0, "mirrored": False}
"""What a picture shows is where the representative of the part has it."""

EXTRACTIONS_LOST = "What all generations extract: it is not stored any more."
GENERATION_COLUMNS = (
    *("seed", "sha256", "training_id", "l2", "tiled_l2", "adaptive", "agreement", "flip"),
    "extracted",
)
"""Of the ranked generations of a campaign without prompts: `sha256` is of the pixels."""

LABELS = ("same", "different", "unsure")
LABEL_COLUMNS = ["prompt_id", "label", "time"]
SHOWN_COLUMNS = ["generated_sha256", "training_sha256"]
"""Of the pixels of both pictures that the reviewer saw; files of earlier versions lack them."""

PART_COLUMNS = ["part_id"]
"""Of the part of the picture that was looked at, or as `picture_id` of the training picture that
was; empty of a prompt's whole one. Only there if a bundle has parts or extractions to look at."""

REVIEWER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MANIFEST, SIGNATURE, SUMS, PUBLIC = "manifest.json", "manifest.sig", "SHA256SUMS", "public.pem"
ED25519 = bytes.fromhex("302a300506032b6570032100")

Json = Any

_told = [time.monotonic()]
"""When it was last said how far the checker is."""


class DecodedPicture(NamedTuple):
    """The raw RGB bytes of a picture, row by row."""

    width: int
    height: int
    rgb: bytes


def main() -> int:
    """Check the bundle that the arguments name, and print what is wrong."""
    parser = argparse.ArgumentParser(description="Check an evidence bundle of seedsweep.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--key", type=Path, help="the public key that must have signed it")
    parser.add_argument(
        "--distances",
        action="store_true",
        help="compute the distances between all pictures of each clique again; slow",
    )
    given = parser.parse_args()
    if not given.folder.is_dir():
        parser.error(f"There is no folder {shown(given.folder)}; name that of a bundle.")
    faults = 0
    for fault in check_bundle(given.folder, given.key, given.distances):
        print(f"FAULT {shown(fault)}")
        faults += 1
    if faults:
        print(f"Faults: {faults}. This is not the bundle that was made.")
        return 1
    data = (given.folder / MANIFEST).read_bytes()
    manifest = json.loads(data)
    print(f"No fault. {shown(_signed(manifest['signed_by']))}")
    print(shown(_checked(given.folder, manifest, given.distances)))
    for sentence in manifest["missing"]:
        print(f"Not in it, so not checked: {shown(sentence)}")
    for name in later_labels(given.folder, manifest["files"]):
        print(f"Added later, no part of the bundle: {name}, a reviewer's answers.")
    print(f"sha256 of {MANIFEST}: {_sha256(data)}")
    return 0


def _checked(folder: Path, manifest: Json, distances: bool) -> str:
    """What was checked, of which audit."""
    results = _read_json(folder / "results.json")
    cliques = sum(len(_cliques(result)) for result in results)
    pictures = sum(name.endswith(".png") for name in manifest["files"])
    within = "computed again" if distances else "not computed again (--distances does that)"
    return (
        f"Checked: audit {manifest['campaign_id']}, analysis {manifest['analysis_id']}; "
        f"{len(manifest['files']):,} files, {len(results):,} result{'s' * (len(results) != 1)}, "
        f"{pictures:,} pictures, "
        f"{cliques:,} clique{'s' * (cliques != 1)}, whose distances within were {within}."
    )


def _tell_every(seconds: float, text: str) -> None:
    """Say on stderr how far it is, but not more often than that."""
    now = time.monotonic()
    if now - _told[0] >= seconds:
        _told[0] = now
        print(text, file=sys.stderr)


def shown(value: object) -> str:
    """The value on one line, with escapes for what a terminal would obey or hide."""
    text = str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_bundle(folder: Path, key: Path | None = None, distances: bool = False) -> Iterator[str]:
    """Yield each fault in one sentence; contents are looked at only where all files are right.

    `key`: a public key that must have signed it. `distances`: also those within cliques.
    """
    try:
        manifest = _read_json(folder / MANIFEST)
        listed = manifest["files"]
        if manifest["format"] != FORMAT:
            yield (
                f"{MANIFEST} is of format {manifest['format']}, this verifier knows {FORMAT}; take "
                "one of the version that wrote it."
            )
            return
        broken = False
        for fault in (
            *_check_sums(folder),
            *_check_files(folder, listed),
            *_check_signature(folder, manifest, key),
        ):
            broken = True
            yield fault
        if not broken:
            yield from _check_contents(folder, manifest, distances)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        yield f"The bundle cannot be read ({type(error).__name__}: {error})."


def denominators(
    results: list[Json], submission: Json, prompts: int, parked: list[Json], settings: Json
) -> dict[str, dict[str, int] | None]:
    """What was counted, each as `n` of so many: results and parked units as their JSON; None for
    what was not examined, since the settings name no training set."""
    flagged = [result for result in results if result["flagged"]]
    matches = [[c["match"] for c in _cliques(result) if c["match"]] for result in flagged]
    matched = [of_prompt for of_prompt in matches if of_prompt]
    extracted = [
        of_prompt for of_prompt in matched if any(match["extracted"] for match in of_prompt)
    ]
    pictures = {match["training_id"] for of_prompt in matched for match in of_prompt}
    repeated = {m["training_id"] for of_prompt in matched for m in of_prompt if m["extracted"]}
    least = settings["analysis"]["min_clique_size"]
    evidence = [
        r
        for r in results
        if r["flagged"]
        or _is_screened_out(r)
        or r["seeds"] - r["excluded"] >= (2 if _is_dropped(r) else least)
    ]
    undecided = [r for r in evidence if not r["flagged"] and not r["clique_proven"]]
    seeds = submission["campaign"]["sampling"]["seeds"]
    images = sum(r["seeds"] for r in results)
    fewer = sum(r["seeds"] < seeds and not _is_dropped(r) for r in results)
    screens = sum("screen" in stage for stage in submission["campaign"].get("stages", ()))
    per_prompt = screens + len(submission["cuts"])
    left_out = sum(
        unit["seeds"]["last"] - unit["seeds"]["first"] + 1
        for unit in parked
        if unit["index"] % per_prompt >= screens
    )
    counts: dict[str, tuple[int, int] | None] = {
        "prompts analysed, of those submitted": (len(results), prompts),
        "prompts not judged, of those submitted": (prompts - len(results), prompts),
        "prompts analysed with fewer seeds, of those analysed": (fewer, len(results)),
        "images analysed, of those planned": (images, prompts * seeds),
        "images excluded as no evidence, of those analysed": (
            sum(result["excluded"] for result in results),
            images,
        ),
        "images of parked units, of those planned": (left_out, prompts * seeds),
        "parked units, of all units": (len(parked), prompts * per_prompt),
        "prompts without evidence, of those analysed": (
            len(results) - len(evidence),
            len(results),
        ),
        "prompts flagged, of those with evidence": (len(flagged), len(evidence)),
        "prompts undecided, of those with evidence": (len(undecided), len(evidence)),
        "prompts matched, of those flagged": (len(matched), len(flagged)),
        "prompts extracted, of those matched": (len(extracted), len(matched)),
        "training pictures extracted, of those matched": (len(repeated), len(pictures)),
    }
    if submission["campaign"].get("stages"):
        dropped = sum(map(_is_dropped, results))
        counts["prompts dropped by stages, of those analysed"] = (dropped, len(results))
    if settings["verification"] is None:
        counts = {name: None if "matched" in name else share for name, share in counts.items()}
    return {name: share and {"n": share[0], "of": share[1]} for name, share in counts.items()}


def all_generations_counted(
    results: list[Json], submission: Json, parked: list[Json], found: Json | None
) -> dict[str, dict[str, int] | None]:
    """As `denominators`, of a campaign without prompts; `found`: what its generations extract."""
    planned = submission["campaign"]["sampling"]["seeds"]
    made = sum(r["seeds"] for r in results)
    excluded = sum(r["excluded"] for r in results)
    in_parked = sum(unit["seeds"]["last"] - unit["seeds"]["first"] + 1 for unit in parked)
    in_cliques = sum(len(clique["clique_seeds"]) for r in results for clique in _cliques(r))
    counts: dict[str, tuple[int, int] | None] = {
        "generations analysed, of those planned": (made, planned),
        "generations excluded as no evidence, of those analysed": (excluded, made),
        "generations of parked units, of those planned": (in_parked, planned),
        "parked units, of all units": (len(parked), len(submission["cuts"])),
        "generations in cliques, of those usable": (in_cliques, made - excluded),
        "generations compared with the training set, of those usable": found
        and (found["searched"], made - excluded),
        "generations extracted, of those compared": found
        and (found["extracted"], found["searched"]),
        "distinct training pictures extracted, of all in the set": found
        and (len(found["pictures"]), found["coverage"]["pictures"]),
    }
    return {name: share and {"n": share[0], "of": share[1]} for name, share in counts.items()}


def later_labels(folder: Path, listed: dict[str, Json]) -> list[str]:
    """The files beside the manifest in which `seedsweep label` keeps what reviewers answered after
    the bundle was made; what only has the name of one, and holds something else, is none."""
    names = []
    for path in sorted(folder.glob("labels-*.csv")):
        plain = path.is_file() and not path.is_symlink() and path.name not in listed
        if plain and re.fullmatch(rf"labels-{REVIEWER}\.csv", path.name):
            with contextlib.suppress(ValueError):
                read_labels(path.read_bytes())
                names.append(path.name)
    return names


def item_of(prompt_id: str, part_id: str = "") -> str:
    """Names what people label: a prompt's whole picture by the prompt's id alone, a part of it by
    both ids."""
    return f"{prompt_id}/{part_id}" if part_id else prompt_id


def picture_id(training_id: str) -> str:
    """Names a training picture in labels and in names of files."""
    return _sha256(training_id.encode())[:16]


def extraction_items(found: Json | None) -> dict[str, Json]:
    """By the item that people label, each training picture that generations of a campaign without
    prompts extract. Its name has the form of a part's; such campaigns have no parts."""
    pictures = found["pictures"] if found else []
    return {item_of(_prompt_id(""), picture_id(p["training_id"])): p for p in pictures}


def read_labels(data: bytes) -> dict[str, str]:
    """The label of each item, as of `item_of`, in a reviewer's CSV; raises `ValueError` for
    anything else."""
    return {item: label for item, label, *_ in label_rows(data)}


def read_shown(data: bytes) -> dict[str, tuple[str, str]]:
    """By item the digests of the pixels that the reviewer saw, of the generated picture and of the
    training picture, as far as they are told; raises `ValueError` as `read_labels` does."""
    rows = label_rows(data)
    return {item: (shown[0], shown[1]) for item, _, _, *shown in rows if any(shown)}


def other_pictures(
    seen: dict[str, tuple[str, str]], shown: dict[str, tuple[str, str]]
) -> list[str]:
    """The items of which a reviewer saw other pictures than these, as far as both are known."""
    return sorted(
        item
        for item, pair in seen.items()
        if any(a and b and a != b for a, b in zip(pair, shown.get(item, pair)))  # noqa: B905
    )


def label_rows(data: bytes) -> list[list[str]]:
    """Item, label, time and, if told, two digests of each row; each item has one label."""
    headings = [LABEL_COLUMNS, LABEL_COLUMNS + SHOWN_COLUMNS]
    headings.append(headings[-1] + PART_COLUMNS)
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not rows or rows[0] not in headings:
        raise ValueError(f"the columns are not {', '.join(headings[-1])}")
    labels: dict[str, list[str]] = {}
    for row in rows[1:]:
        if len(row) != len(rows[0]) or row[1] not in LABELS:
            raise ValueError(f"{row!r} is no label")
        item = item_of(row[0], *row[len(headings[1]) :])
        if item in labels:
            raise ValueError(f"{item} is labelled twice")
        labels[item] = [item, *row[1 : len(headings[1])]]
    return [*labels.values()]


def part_matches(results: list[Json], searches: list[Json]) -> dict[str, Json]:
    """By item what the newest search, the first, matched with the parts of the results."""
    present = {
        item_of(result["prompt_id"], _part_id(part))
        for result in results
        for part in result["parts"]
    }
    found = searches[0].get("parts", []) if searches else []
    matches = {item_of(part["prompt_id"], part["part_id"]): part["match"] for part in found}
    return {item: match for item, match in matches.items() if item in present}


def tally_labels(
    given: dict[str, dict[str, str]],
    results: list[Json],
    parts: dict[str, Json],
    extractions: dict[str, Json],
) -> dict[str, Json]:
    """Count labels by reviewer, by pair of reviewers, and what people confirmed.

    People label the match of each prompt's largest clique, so `extracted` is about these alone.
    `confirmed`: prompts that every one of at least two reviewers called the same picture, of those
    which all of them labelled; null where fewer than two looked. `parts`, as of `part_matches`, and
    `extractions`, as of `extraction_items`, are each counted alike by those who labelled one, and
    not told if nobody did.
    """
    matches = {r["prompt_id"]: r["match"] for r in results if r["flagged"] and r["match"]}
    known = {*matches, *parts, *extractions}
    if stray := {item for labels in given.values() for item in labels} - known:
        raise ValueError(f"{min(stray)} is no prompt and no part with a match, and no extraction")
    whole = {name: _among(labels, matches) for name, labels in given.items()}
    counts = _tally(whole, {item: match["extracted"] for item, match in matches.items()})
    are_extracted = {item: _is_part_extracted(match) for item, match in parts.items()}
    for kind, of_kind in (
        ("parts", are_extracted),
        ("extractions", dict.fromkeys(extractions, True)),
    ):
        among = {name: _among(labels, of_kind) for name, labels in given.items()}
        among = {name: labels for name, labels in among.items() if labels}
        if among:
            counts[kind] = _tally(among, of_kind)
    return counts


def _among(labels: dict[str, str], items: dict[str, Json]) -> dict[str, str]:
    return {item: label for item, label in labels.items() if item in items}


def _tally(given: dict[str, dict[str, str]], matches: dict[str, bool]) -> dict[str, Json]:
    """What `tally_labels` tells of labels of matches, which say if they are extracted."""
    extracted = {item for item, is_extracted in matches.items() if is_extracted}
    return {
        "matched": len(matches),
        "extracted": len(extracted),
        "reviewers": {
            reviewer: {
                "matched": _count_labels(list(labels.values())),
                "extracted": _count_labels([labels[item] for item in labels if item in extracted]),
            }
            for reviewer, labels in sorted(given.items())
        },
        "pairs": [_table(a, b, given) for a, b in combinations(sorted(given), 2)],
        "confirmed": {
            "extracted": _confirmed(given, extracted),
            "matched": _confirmed(given, {*matches}),
        }
        if len(given) >= 2
        else None,
    }


def kappa_of(table: dict[str, dict[str, int]]) -> float | None:
    """Cohen 1960: (agreement - chance) / (1 - chance), chance being that of their own shares; None
    where that is 0 / 0. `table`: how often the one said this where the other said that."""
    rows = {label: sum(table[label].values()) for label in LABELS}
    columns = {label: sum(table[of_a][label] for of_a in LABELS) for label in LABELS}
    n = sum(rows.values())
    agreed = n * sum(table[label][label] for label in LABELS)
    chance = sum(rows[label] * columns[label] for label in LABELS)
    return (agreed - chance) / (n * n - chance) if n * n > chance else None


def decode_png(data: bytes, size: tuple[int, int]) -> DecodedPicture:
    """Decode an 8-bit RGB PNG of this width and height that is not interlaced.

    Raises `ValueError` for anything else; only the header of another size is read.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("it is no PNG")
    at, header, packed = 8, b"", b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if data[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(kind + body)):
            raise ValueError("a part of the PNG has another checksum")
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    width, height, *rest = struct.unpack(">IIBBBBB", header)
    if rest != [8, 2, 0, 0, 0]:
        raise ValueError("it is no 8-bit RGB PNG without interlace")
    if (width, height) != size:
        raise ValueError(f"it has another size than the campaign's, {width} x {height} pixels")
    stride = 3 * width
    raw = zlib.decompressobj().decompress(packed, height * (stride + 1) + 1)
    if len(raw) != height * (stride + 1):
        raise ValueError("the PNG holds more or fewer rows than it says")
    rows, above = [], bytes(stride)
    for start in range(0, len(raw), stride + 1):
        above = _unfilter(raw[start], raw[start + 1 : start + 1 + stride], above)
        rows.append(above)
    return DecodedPicture(width, height, b"".join(rows))


def l2(a: DecodedPicture, b: DecodedPicture) -> float:
    """sqrt(mean((a - b)²)) over all values, pixels in [0, 1]."""
    return tiled_l2(a, b, 1)


def tiled_l2(a: DecodedPicture, b: DecodedPicture, tiles: int) -> float:
    """The largest l2 over a grid of tiles, larger ones first where sides do not divide."""
    return max(math.sqrt(squared / values) / 255 for squared, values in _tiles(a, b, tiles))


def fingerprint(pem: bytes) -> str:
    """sha256 of an ed25519 public key in DER, from its PEM; raises `ValueError` for another."""
    lines = pem.decode("ascii").strip().splitlines()
    if lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
        raise ValueError("that is no public key in PEM")
    der = base64.b64decode("".join(lines[1:-1]), validate=True)
    if not der.startswith(ED25519) or len(der) != len(ED25519) + 32:
        raise ValueError("that is no ed25519 key")
    return _sha256(der)


def _check_sums(folder: Path) -> Iterator[str]:
    names = [name for name in (MANIFEST, SIGNATURE) if (folder / name).is_file()]
    wanted = "".join(f"{_sha256((folder / name).read_bytes())}  {name}\n" for name in names)
    if not (folder / SUMS).is_file():
        yield f"{SUMS} is missing."
    elif (folder / SUMS).read_bytes() != wanted.encode():
        yield f"{SUMS} does not name {' and '.join(names)} as they are."


def _check_files(folder: Path, listed: dict[str, Json]) -> Iterator[str]:
    present: set[str] = set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield f"{name} is not a plain file."
        elif path.is_file():
            present.add(name)
        elif not any(other.startswith(f"{name}/") for other in listed):
            yield f"{name} is a folder that {MANIFEST} does not list."
    present -= {*later_labels(folder, listed)}
    for name in sorted(present - {*listed} - {MANIFEST, SIGNATURE, SUMS}):
        yield f"{name} is not listed in {MANIFEST}."
    for name in sorted({*listed} - present):
        yield f"{name} is missing."
    for name in sorted(present & {*listed}):
        data = (folder / name).read_bytes()
        if len(data) != listed[name]["size"]:
            yield f"{name} has {len(data)} bytes instead of {listed[name]['size']}."
        elif _sha256(data) != listed[name]["sha256"]:
            yield f"{name} has another sha256 than {MANIFEST} says."


def _check_signature(folder: Path, manifest: Json, key: Path | None) -> Iterator[str]:
    signer, signature = manifest["signed_by"], folder / SIGNATURE
    if signer is None:
        if signature.exists():
            yield f"{SIGNATURE} is there, though {MANIFEST} names no signer."
        if key:
            yield "The bundle is not signed."
        return
    if not signature.is_file():
        yield f"{SIGNATURE} is missing."
        return
    if fingerprint((folder / PUBLIC).read_bytes()) != signer:
        yield f"{PUBLIC} is not the key that {MANIFEST} names."
    if key and fingerprint(key.read_bytes()) != signer:
        yield f"The bundle is signed with another key than {key}."
    openssl = shutil.which("openssl")
    if openssl is None:
        if key:
            yield "The signature cannot be checked without the command openssl."
        return
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(folder / PUBLIC), "-rawin"]
    command += ["-in", str(folder / MANIFEST), "-sigfile", str(signature)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield f"{SIGNATURE} is no signature of {MANIFEST} by {PUBLIC}."


def _signed(signer: str | None) -> str:
    if signer is None:
        return "The bundle is not signed."
    if shutil.which("openssl") is None:
        return "The signature was NOT checked: the command openssl is not here."
    return f"Signed by the key {signer}: whose that is, somebody has to tell you."


def _check_contents(folder: Path, manifest: Json, distances: bool) -> Iterator[str]:
    def load(name: str) -> Json:
        return _read_json(folder / name)

    submission, results, prompts = load("campaign.json"), load("results.json"), load("prompts.json")
    settings = load("settings.json") if "settings.json" in manifest["files"] else []
    yield from _check_ids(manifest, submission, prompts, settings)
    known = dict(zip(prompts, settings or [None] * len(prompts)))  # noqa: B905
    yield from _check_results(results, known, manifest["settings"], submission["campaign"])
    parked, found = load("parked.json"), None
    if "extractions.json" in manifest["files"]:
        found = load("extractions.json")
    if submission["campaign"]["prompts"] is None:
        wanted = all_generations_counted(results, submission, parked, found)
    else:
        wanted = denominators(results, submission, len(prompts), parked, manifest["settings"])
    if manifest["denominators"] != wanted:
        yield f"The denominators in {MANIFEST} do not follow from the results."
    cut_down_to = manifest.get("cut_down_to")
    shown = (
        results if cut_down_to is None else [r for r in results if r["prompt_id"] in cut_down_to]
    )
    if cut_down_to is not None and [r["prompt_id"] for r in shown] != cut_down_to:
        yield f"{MANIFEST} says that the bundle is cut down to prompts that it has no results of."
    yield from _check_pictures(folder, manifest, shown, load, distances)
    if found:
        rows = load("generations.json")
        yield from _check_extractions(
            folder, found, rows, manifest["settings"], submission, results
        )
        yield from _check_told_elsewhere(folder, found, rows, manifest, results, load)
    elif (
        submission["campaign"]["prompts"] is None
        and _was_searched(results, manifest)
        and EXTRACTIONS_LOST not in manifest["missing"]
    ):
        yield "All generations were compared with training pictures; extractions.json is not there."
    if "parts.json" in manifest["files"]:
        searches = load("verifications.json") if "verifications.json" in manifest["files"] else []
        sampling = submission["campaign"]["sampling"]
        entries = load("parts.json")["parts"]
        yield from _check_parts(folder, entries, manifest["settings"], shown, searches, sampling)
    if "replays.json" in manifest["files"]:
        yield from _check_replays(load("replays.json"))
    if "labels.json" in manifest["files"]:
        files = manifest["files"]
        searches = load("verifications.json") if "verifications.json" in files else []
        entries = load("parts.json")["parts"] if "parts.json" in files else []
        pictures = _shown_pictures(results, load("images.json"), load("training.json"))
        pictures.update(_shown_parts(results, entries))
        extractions = extraction_items(found)
        for item, picture in extractions.items():
            sides = picture["generation"], picture["training"]
            pictures[item] = sides[0]["sha256"] or "", sides[1]["sha256"] or ""
        labels = load("labels.json")
        names = [name for name in files if name.startswith("labels/")]
        given = {name: (folder / name).read_bytes() for name in names}
        for name, data in given.items():
            for item in other_pictures(read_shown(data), pictures):
                yield f"{name} is of other pictures of {item} than the bundle's."
        said = {Path(name).stem: read_labels(data) for name, data in given.items()}
        matches = part_matches(results, searches)
        yield from _check_labels(labels, tally_labels(said, results, matches, extractions))
    elif any(name.startswith("labels/") for name in manifest["files"]):
        yield "labels/ has what reviewers said; labels.json is not there."
    if "verifications.json" in manifest["files"]:
        searches = load("verifications.json")
        times = [search["verified_at"] for search in searches]
        if sorted(times, reverse=True) != times:
            yield "The searches in verifications.json are not the newest first."
        for search in searches:
            yield from _check_verification(search, manifest, results, prompts)
            yield from _check_search_matches(search, submission["campaign"]["sampling"])


def _without_places(model: Json) -> Json:
    """What a model is, wherever it lies; so of each of its adapters, embeddings and components."""
    places = {"path", "revision", "config"}
    return {
        name: [_without_places(part) for part in value] if isinstance(value, list) else value
        for name, value in model.items()
        if name not in places
    }


def _check_ids(
    manifest: Json, submission: Json, prompts: list[str], settings: list[Json]
) -> Iterator[str]:
    campaign = submission["campaign"]
    model, sampling = _without_places(campaign["model"]), dict(campaign["sampling"])
    del sampling["seeds"], sampling["first_seed"]
    recipe = {"format": manifest["pixel_format"], "model": model, "sampling": sampling}
    wanted = {
        "campaign_id": f"{campaign['name']}-{_digest(campaign)[:12]}",
        "generation_id": _digest(recipe),
        "analysis_id": _analysis_id(manifest["algorithm"], manifest["settings"]),
        "thresholds": _thresholds(manifest, submission),
        "model": campaign["model"],
        "prompts_digest": (campaign["prompts"] or {}).get("digest"),
        "training_set": (manifest["settings"]["verification"] or {}).get("fingerprint"),
        "submitted_at": submission["submitted_at"],
        "submitted_by": submission["versions"],
    }
    for name, value in wanted.items():
        if manifest[name] != value:
            yield f"What {MANIFEST} says of {name} does not follow from campaign and settings."
    if campaign["prompts"] is None:
        if prompts != [""]:
            yield "prompts.json has prompts, and the campaign has none."
        return
    ids = [_prompt_id(text) for text in prompts]
    if settings:
        ids = [f"{each}{_canonical(own)}\n" for each, own in zip(ids, settings)]  # noqa: B905
    if (_sha256("".join(ids).encode()), len(prompts)) != (
        campaign["prompts"]["digest"],
        campaign["prompts"]["count"],
    ):
        own = " and settings.json" if settings else ""
        yield f"prompts.json{own} are not the prompts that were submitted."


def _analysis_id(algorithm: int, settings: Json) -> str:
    verification = dict(settings["verification"] or {})
    for place in ("training_set", "folder", "controls"):
        verification.pop(place, None)
    judged = {"analysis": settings["analysis"], "verification": verification or None}
    return _digest({"algorithm": algorithm, **judged})


def _thresholds(manifest: Json, submission: Json) -> Json:
    """The thresholds, fixed on submission; later, if at all told, where the analysis is another."""
    settings, own = manifest["settings"], submission["campaign"]
    is_own = manifest["analysis_id"] == _analysis_id(manifest["algorithm"], own)
    submitted, later = submission["submitted_at"], manifest["thresholds"].get("fixed_at")
    is_later = later is None or later > submitted
    return {
        "edge": settings["analysis"]["edge_threshold"],
        "clique_size": settings["analysis"]["min_clique_size"],
        "l2": (settings["verification"] or {}).get("threshold"),
        "fixed_at": later if not is_own and is_later else submitted,
    }


def _check_results(
    results: list[Json], prompts: dict[str, Json], settings: Json, campaign: Json
) -> Iterator[str]:
    """`prompts`: the settings that each has of its own, None if none has any."""
    seen = set()
    for result in results:
        name, size, seeds = result["prompt_id"], result["clique_size"], result["clique_seeds"]
        if name != _prompt_id(result["prompt"]) or result["prompt"] not in prompts or name in seen:
            yield f"The result {name} is of no prompt that was submitted, or of one twice."
        seen.add(name)
        if result["settings"] != prompts.get(result["prompt"]):
            yield f"The result {name} is of other settings than its prompt has."
        if result["flagged"] != (size >= settings["analysis"]["min_clique_size"]):
            yield f"The result {name} is not flagged as its clique's size says."
        if sorted({*seeds}) != seeds or len(seeds) != size:
            yield f"The result {name} has another number of clique seeds than it says."
        yield from _check_cliques(result, settings, _own_sampling(campaign["sampling"], result))


def _check_cliques(result: Json, settings: Json, sampling: Json) -> Iterator[str]:
    name, least = result["prompt_id"], settings["analysis"]["min_clique_size"]
    taken: set[int] = set()
    for clique in _cliques(result):
        seeds, match = clique["clique_seeds"], clique["match"]
        if clique["representative_seed"] not in seeds:
            yield f"The result {name} has a representative outside its clique."
        if sorted({*seeds}) != seeds or len(seeds) < least or taken & {*seeds}:
            yield f"The result {name} has a clique that is none of its own, or is too small."
        taken |= {*seeds}
        if match and match["extracted"] != _is_extracted(
            match, settings["verification"]["threshold"], sampling
        ):
            yield f"A match of {name} is not extracted as its distances say."


def _own_sampling(sampling: Json, result: Json) -> Json:
    """What the pictures of a result were made with: its prompt may have settings of its own."""
    return {**sampling, **(result["settings"] or {})}


def _is_dropped(result: Json) -> bool:
    """Whether a stage of the campaign left the prompt with few pictures."""
    drop = result["drop"]
    return bool(drop) and not drop["sampled"]


def _is_screened_out(result: Json) -> bool:
    """Whether a screen dropped the prompt by its score."""
    return _is_dropped(result) and result["drop"].get("score") is not None


def _cliques(result: Json) -> list[Json]:
    """All of a prompt, the largest, which is the result's own, first."""
    return [result, *result["further_cliques"]] if result["flagged"] else []


def _check_pictures(
    folder: Path, manifest: Json, results: list[Json], load: Any, distances: bool
) -> Iterator[str]:
    sampling = load("campaign.json")["campaign"]["sampling"]
    size = sampling["width"], sampling["height"]
    sizes = {result["prompt_id"]: _size(_own_sampling(sampling, result)) for result in results}
    for each in sorted({size, *sizes.values()}):
        if max(each) > LARGEST_SIDE:
            size_words = f"{each[0]} x {each[1]} pixels"
            yield f"campaign.json says pictures of {size_words}, which no campaign has."
            return
    tiles = manifest["settings"]["analysis"]["tiles"]
    images = {entry["prompt_id"]: entry for entry in load("images.json")["prompts"]}
    if [*images] != [result["prompt_id"] for result in results if result["flagged"]]:
        yield "images.json lists other prompts than those whose pictures the bundle holds."
        return
    training: dict[str, DecodedPicture] = {}
    for entry in load("training.json")["pictures"]:
        if entry["file"]:
            picture = _decode(folder / entry["file"], size)
            training[entry["training_id"]] = picture
            yield from _check_picture(picture, entry)
    flagged = [result for result in results if result["flagged"]]
    for place, result in enumerate(flagged):
        if distances:
            _tell_every(5, f"Prompts whose pictures were checked: {place} of {len(flagged)}")
        listed = {entry["seed"]: entry for entry in images[result["prompt_id"]]["images"]}
        for clique in _cliques(result):
            pictures: dict[int, DecodedPicture] = {}
            for seed in clique["clique_seeds"]:
                entry = listed[seed]
                if entry["file"]:
                    pictures[seed] = _decode(folder / entry["file"], sizes[result["prompt_id"]])
                    yield from _check_picture(pictures[seed], entry)
                elif not entry["missing"]:
                    yield f"Seed {seed} of {result['prompt_id']} has neither picture nor reason."
            name = result["prompt_id"]
            yield from _check_match(name, clique, pictures, training, tiles)
            if distances and len(pictures) == len(clique["clique_seeds"]):
                yield from _check_clique(name, clique, pictures, manifest["settings"]["analysis"])


def _check_extractions(
    folder: Path,
    found: Json,
    rows: list[list[Json]],
    settings: Json,
    submission: Json,
    results: list[Json],
) -> Iterator[str]:
    """Hold the ranked generations of a campaign without prompts against the settings, and what they
    extract against these and the pictures."""
    sampling = submission["campaign"]["sampling"]
    if submission["campaign"]["prompts"] is not None or len(results) != 1:
        yield "extractions.json is of a campaign without prompts, and this one has some."
        return
    if rows[0] != [*GENERATION_COLUMNS]:
        yield "generations.json has other columns."
        return
    ranked = [dict(zip(GENERATION_COLUMNS, row)) for row in rows[1:]]  # noqa: B905
    yield from _check_ranked(ranked, found, settings["verification"], sampling, results[0])
    extracted = [row for row in ranked if row["extracted"]]
    yield from _check_distinct(found, extracted)
    if max(_size(sampling)) > LARGEST_SIDE:
        return
    by_seed = {row["seed"]: row for row in extracted}
    for picture in found["pictures"]:
        row, files = by_seed[picture["best_seed"]], (picture["generation"], picture["training"])
        if not all(entry["file"] or entry["missing"] for entry in files):
            yield f"A picture of {picture['training_id']} has neither a file nor a reason."
        pictures = [_decode(folder / e["file"], _size(sampling)) for e in files if e["file"]]
        for decoded, entry in zip(pictures, [e for e in files if e["file"]]):  # noqa: B905
            yield from _check_picture(decoded, entry)
        if picture["generation"]["file"] and picture["generation"]["sha256"] != row["sha256"]:
            yield f"The picture of seed {row['seed']} is another one than generations.json ranks."
        if len(pictures) == 2:
            generated, trained = pictures
            yield from _check_pair(row, generated, trained, settings["analysis"]["tiles"])


def _was_searched(results: list[Json], manifest: Json) -> bool:
    """Whether the usable generations of a campaign without prompts were compared."""
    usable = any(result["seeds"] > result["excluded"] for result in results)
    matched = any(clique["match"] for result in results for clique in _cliques(result))
    return matched or bool(usable and manifest["settings"]["verification"])


def _check_told_elsewhere(
    folder: Path,
    found: Json,
    rows: list[list[Json]],
    manifest: Json,
    results: list[Json],
    load: Any,
) -> Iterator[str]:
    """Hold the ranked generations, and what they extract, against all else that the bundle has of
    the same pictures."""
    by_seed = {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}  # noqa: B905
    for clique in [clique for result in results for clique in _cliques(result) if clique["match"]]:
        match, row = clique["match"], by_seed.get(clique["representative_seed"], {})
        same = ("training_id", "l2", "tiled_l2", "adaptive", "agreement", "extracted")
        if any(match[name] != row.get(name) for name in same):
            yield f"The match of seed {clique['representative_seed']} is not what it ranks by."
    stored = [image for prompt in load("images.json")["prompts"] for image in prompt["images"]]
    if any(
        image["sha256"] != by_seed[image["seed"]]["sha256"]
        for image in stored
        if image["seed"] in by_seed
    ):
        yield "generations.json and images.json have other pictures of the same seeds."
    matched = {entry["training_id"]: entry["sha256"] for entry in load("training.json")["pictures"]}
    files = {e["training_id"]: e["file"] for e in load("training.json")["pictures"] if e["file"]}
    for picture in found["pictures"]:
        name, entry = picture["training_id"], picture["training"]
        if entry["file"]:
            files[name] = entry["file"]
            if entry["file"] != f"training/{picture_id(name)}.png":
                yield f"The picture of {name} is that of another training picture."
            if matched.get(name) not in (None, entry["sha256"]):
                yield f"training.json has another picture of {name}."
    if max(_size(load("campaign.json")["campaign"]["sampling"])) <= LARGEST_SIDE:
        shown = {image["seed"]: image["file"] for image in stored if image["file"]}
        yield from _check_shown_pairs(folder, shown, files, by_seed, manifest, load)
    yield from _check_coverage(found, load("verifications.json") if _has_searches(manifest) else [])


def _has_searches(manifest: Json) -> bool:
    return "verifications.json" in manifest["files"]


def _check_shown_pairs(
    folder: Path,
    generated: dict[int, str],
    trained: dict[str, str],
    by_seed: dict[int, Json],
    manifest: Json,
    load: Any,
) -> Iterator[str]:
    """Every generation of a clique, against the training picture nearest to it, if both are in the
    bundle."""
    size, tiles = (
        _size(load("campaign.json")["campaign"]["sampling"]),
        manifest["settings"]["analysis"]["tiles"],
    )
    decoded = {name: _decode(folder / file, size) for name, file in trained.items()}
    for seed, file in generated.items():
        row = by_seed.get(seed)
        if row and row["training_id"] in decoded:
            picture = _decode(folder / file, size)
            yield from _check_pair(row, picture, decoded[row["training_id"]], tiles)


def _check_coverage(found: Json, searches: list[Json]) -> Iterator[str]:
    coverage = found["coverage"]
    read = coverage["pictures"] - coverage["unreadable"]
    if sum(picture["copies"] for picture in found["pictures"]) > read or coverage["unreadable"] < 0:
        yield "extractions.json says more copies than pictures of the training set were read."
    for search in searches:
        other = search["coverage"]
        if other["listing"] == coverage["listing"] and other["pictures"] != coverage["pictures"]:
            yield "extractions.json says another number of pictures than a search of the same set."


def _check_ranked(
    ranked: list[Json], found: Json, verification: Json, sampling: Json, result: Json
) -> Iterator[str]:
    """Each generation once, in order, and extracted as its distances say."""
    seeds = [row["seed"] for row in ranked]
    first, last = sampling["first_seed"], sampling["first_seed"] + sampling["seeds"] - 1
    if len({*seeds}) < len(seeds) or not all(first <= seed <= last for seed in seeds):
        yield "generations.json has a generation twice, or one that the campaign has not."
    if len(seeds) != found["searched"] or len(seeds) != result["seeds"] - result["excluded"]:
        yield "generations.json has another number of generations than were compared."
    whole = not result["excluded"] and _digest(sorted(seeds)) != result["seeds_digest"]
    if whole or found["seeds_digest"] != result["seeds_digest"]:
        yield "generations.json is of other generations than the results."
    for row in ranked:
        if row["extracted"] != _is_extracted(row, verification["threshold"], sampling):
            yield f"Seed {row['seed']} is not extracted as its distances say."
    ranks = [_rank(row) for row in ranked]
    if any(a >= b for a, b in zip(ranks, ranks[1:])):  # noqa: B905, RUF007
        yield "The generations in generations.json are not ranked."


def _rank(row: Json) -> tuple[bool, float, float, int]:
    score = math.inf if row["adaptive"] is None else row["adaptive"]
    return not row["extracted"], score, row["l2"], row["seed"]


def _check_distinct(found: Json, extracted: list[Json]) -> Iterator[str]:
    """The distinct training pictures, against the generations that are extracted, best first."""
    counts: dict[str, int] = {}
    for row in extracted:
        counts[row["training_id"]] = counts.get(row["training_id"], 0) + 1
    pictures, places = found["pictures"], {row["seed"]: n for n, row in enumerate(extracted)}
    told = sum(picture["generations"] for picture in pictures)
    if not len(extracted) == found["extracted"] == told:
        yield "The counts in extractions.json do not follow from generations.json."
    best = [places.get(picture["best_seed"], -1) for picture in pictures]
    if sorted({*best}) != best or best[:1] != [0] * bool(extracted):
        yield "The pictures in extractions.json are not the best ones, in their order."
    for picture, place in zip(pictures, best):  # noqa: B905
        name, row = picture["training_id"], extracted[place] if place >= 0 else {}
        if any(picture[key] != row.get(key) for key in ("training_id", "l2", "adaptive", "flip")):
            yield f"What extractions.json says of {name} is not what generations.json says."
        # Near-copies of it count as well; which these are, is not told.
        if picture["generations"] < counts.get(name, 1) or picture["copies"] < 1:
            yield f"More generations extract {name} than extractions.json says."
    names = {picture["training_id"] for picture in pictures}
    if len(names) < len(pictures) or not names <= {*counts}:
        yield "extractions.json has a training picture twice, or one that nothing extracts."


def _check_pair(
    row: Json, generated: DecodedPicture, trained: DecodedPicture, tiles: int
) -> Iterator[str]:
    compared = _mirrored(trained) if row["flip"] else trained
    for name, distance in (
        ("l2", l2(generated, compared)),
        ("tiled_l2", tiled_l2(generated, compared, tiles)),
    ):
        if abs(distance - row[name]) > SAME_DISTANCE:
            yield f"The {name} of seed {row['seed']} is {distance}, not {row[name]}."


def _size(sampling: Json) -> tuple[int, int]:
    return sampling["width"], sampling["height"]


def _check_parts(
    folder: Path,
    entries: list[Json],
    settings: Json,
    results: list[Json],
    searches: list[Json],
    sampling: Json,
) -> Iterator[str]:
    """Hold parts against their pictures: which pixels are in the mask, and what it matches."""
    sizes = {r["prompt_id"]: _size(_own_sampling(sampling, r)) for r in results}
    rule = {**PART_RULE, **settings["analysis"].get("parts", {})}
    parts = {(r["prompt_id"], n): part for r in results for n, part in enumerate(r["parts"])}
    matches = part_matches(results, searches)
    if [(entry["prompt_id"], entry["number"]) for entry in entries] != [*parts]:
        yield "The parts in parts.json are not those of the results."
        return
    for entry in entries:
        part, match = parts[entry["prompt_id"], entry["number"]], None
        name = f"part {entry['number']} of {entry['prompt_id']}"
        if entry.get("part_id", _part_id(part)) != _part_id(part):
            yield f"The {name} has another part_id than the results say."
        if entry["training_id"] is not None:
            match = matches.get(item_of(entry["prompt_id"], _part_id(part)))
            if match is None or match["training_id"] != entry["training_id"]:
                yield f"The {name} matches another training picture than the search says."
                continue
        if [image["seed"] for image in entry["images"]] != part["whole_seeds"]:
            yield f"The {name} has pictures of other seeds than the results say."
            continue
        decoded: list[DecodedPicture] = []
        shared = entry.get("shared", [])
        if [each["training_id"] for each in shared] != (match or {}).get("showing", []):
            yield f"The {name} has other training pictures that show it than the search says."
            continue
        for each in (entry["mask"], *entry["images"], entry["training"]):
            if each and each["file"]:
                decoded.append(_decode(folder / each["file"], sizes[entry["prompt_id"]]))
                yield from _check_picture(decoded[-1], each)
            elif each and not each["missing"]:
                yield f"A picture of {name} has neither a file nor a reason."
        if len(decoded) < 1 + len(entry["images"]):
            continue
        mask, *shown = decoded
        shifts = dict(zip(part["seeds"], part.get("shifts", [])))  # noqa: B905
        ways = [shifts.get(seed, UNSHIFTED) for seed in part["whole_seeds"]]
        members = [_moved(each, way) for each, way in zip(shown, ways)]  # noqa: B905
        if mask.rgb != _part_mask(members, part["tiles"], rule).rgb:
            yield f"The mask of {name} is not that of its pictures."
        inside = [place for place, value in enumerate(mask.rgb) if value]
        if abs(len(inside) / len(mask.rgb) - part["share"]) > SAME_DISTANCE:
            yield f"The share of {name} is another one."
        if match and inside and len(shown) > len(members):
            found = [_shown_by(shown[-1], members, mask, match.get("shift", UNSHIFTED))]
            if searches[0]["settings"].get("flip") and "shift" not in match:
                found.append(_shown_by(_mirrored(shown[-1]), members, mask, UNSHIFTED))
            far, alike = min(found)
            if abs(far - match["l2"]) > SAME_DISTANCE:
                yield f"The l2 of {name} is {far}, not {match['l2']}."
            if abs(alike - match["correlation"]) > SAME_DISTANCE:
                yield f"The correlation of {name} is {alike}, not {match['correlation']}."
        if inside and shared:
            limits = searches[0]["settings"]["threshold"], rule["correlation"]
            yield from _check_shared(folder, name, shared, (mask, members), limits)


def _check_shared(
    folder: Path,
    name: str,
    shared: list[Json],
    part: tuple[DecodedPicture, list[DecodedPicture]],
    limits: tuple[float, float],
) -> Iterator[str]:
    """Hold further training pictures against a part, its mask and the pictures that show it: they
    are no farther and no less alike than these limits."""
    mask, members = part
    for each in shared:
        if each["file"]:
            picture = _decode(folder / each["file"], (mask.width, mask.height))
            yield from _check_picture(picture, each)
            far, alike = _shown_by(picture, members, mask, each["shift"])
            if far > limits[0] + SAME_DISTANCE or alike < limits[1] - SAME_DISTANCE:
                yield f"The training picture {each['training_id']} does not show {name}."
        elif not each["missing"]:
            yield f"A picture of {name} has neither a file nor a reason."


def _shown_by(
    trained: DecodedPicture, members: list[DecodedPicture], mask: DecodedPicture, shift: Json
) -> tuple[float, float]:
    """How far a training picture is from the middle of a part's pictures, and how both correlate,
    where it shows the part at that shift: it is laid on the part, but the part on it if scaled."""
    inside = [place for place, value in enumerate(mask.rgb) if value]
    if not shift.get("scaling"):
        return _masked(_middle(members, inside), _moved(trained, shift), inside)
    rgb = bytes(_middle(members, [*range(len(mask.rgb))]))
    middle = _moved_back(mask._replace(rgb=rgb), shift)
    back = _moved_back(mask, shift, 1)
    inside = [place for place, value in enumerate(back.rgb) if value]
    return _masked([middle.rgb[place] for place in inside], trained, inside)


def _moved_back(picture: DecodedPicture, shift: Json, taps: int = 4) -> DecodedPicture:
    """What is laid on the representative as it was before, scaled: read at the inverse places."""
    scaling, sizes = shift["scaling"], (picture.height, picture.width)
    places = []
    for name, length in zip(("down", "right"), sizes):  # noqa: B905
        step, middle = 16 * shift[name] + scaling[name], 8 * (length - 1)
        away = [Fraction((16 * at - middle - step) * 1000, scaling["thousandths"])
                for at in range(length)]  # fmt: skip
        places.append([middle + _nearest(each) for each in away])
    read = _read_at(picture, places[0], places[1], taps)
    return _mirrored(read) if shift["mirrored"] else read


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _read_at(
    picture: DecodedPicture, rows: list[int], columns: list[int], taps: int
) -> DecodedPicture:
    """The picture at these sixteenths of a pixel, black outside: by a cubic of four pixels, down
    and then across, or, by one, the nearest pixel."""
    width, height = picture.width, picture.height
    lines = [picture.rgb[3 * width * at : 3 * width * (at + 1)] for at in range(height)]
    rgb = bytearray(len(picture.rgb))
    across = [(x, _taps(at, width, taps)) for x, at in enumerate(columns)
              if 0 <= at <= 16 * (width - 1)]  # fmt: skip
    for y, at in enumerate(rows):
        if not 0 <= at <= 16 * (height - 1):
            continue
        near = [(lines[place], weight) for place, weight in _taps(at, height, taps)]
        row = [(sum(weight * line[x] for line, weight in near) + 32) >> 6 for x in range(3 * width)]
        for x, weights in across:
            for channel in range(3):
                value = sum(weight * row[3 * place + channel] for place, weight in weights)
                level = (value + (1 << 19)) >> 20
                rgb[3 * (y * width + x) + channel] = max(0, min(255, level))
    return DecodedPicture(width, height, bytes(rgb))


def _taps(at: int, length: int, taps: int) -> list[tuple[int, int]]:
    """The pixels that a place lies between, and what each counts of 8,192."""
    first, t = divmod(at, 16)
    if taps == 1:
        return [(min(length - 1, (at + 8) // 16), 8192)]
    weights = (
        -t * (16 - t) ** 2,
        8192 - 80 * t**2 + 3 * t**3,
        256 * t + 64 * t**2 - 3 * t**3,
        -(16 - t) * t**2,
    )
    near = enumerate(weights, start=first - 1)
    return [(max(0, min(length - 1, place)), weight) for place, weight in near if weight]


def _moved(picture: DecodedPicture, shift: Json) -> DecodedPicture:
    """The picture as it is laid on the part's representative, black where it shows nothing."""
    turned = _mirrored(picture) if shift["mirrored"] else picture
    width, height = picture.width, picture.height
    scaling = shift.get("scaling")
    if scaling:
        places = []
        for name, length in (("down", height), ("right", width)):
            step, middle = 16 * shift[name] + scaling[name], 8 * (length - 1)
            share = Fraction(scaling["thousandths"], 1000)
            away = [_nearest((16 * at - middle) * share) for at in range(length)]
            places.append([middle + step + each for each in away])
        return _read_at(turned, places[0], places[1], 4)
    rgb = bytearray(len(picture.rgb))
    first, last = max(0, -shift["right"]), min(width, width - shift["right"])
    for y in range(height):
        below = y + shift["down"]
        if 0 <= below < height and first < last:
            source = 3 * (below * width + first + shift["right"])
            row = turned.rgb[source : source + 3 * (last - first)]
            rgb[3 * (y * width + first) : 3 * (y * width + last)] = row
    return DecodedPicture(width, height, bytes(rgb))


def _part_mask(members: list[DecodedPicture], tiles: list[int], rule: Json) -> DecodedPicture:
    """The pixels of these tiles that hardly vary over the pictures, white on black."""
    width, height, count = members[0].width, members[0].height, len(members)
    limit = math.floor((Fraction(str(rule["spread"])) * 255 * count) ** 2 * 3)
    cells = [(r, c) for r in _cuts(height, rule["grid"]) for c in _cuts(width, rule["grid"])]
    rgb = bytearray(3 * width * height)
    for (top, bottom), (left, right) in (cells[tile] for tile in tiles):
        for y in range(top, bottom):
            for at in range(3 * (y * width + left), 3 * (y * width + right), 3):
                spread = 0
                for place in (at, at + 1, at + 2):
                    values = [member.rgb[place] for member in members]
                    spread += count * sum(v * v for v in values) - sum(values) ** 2
                if spread <= limit:
                    rgb[at : at + 3] = b"\xff\xff\xff"
    return DecodedPicture(width, height, bytes(rgb))


def _middle(members: list[DecodedPicture], inside: list[int]) -> list[int]:
    """The middle of the pictures at each of these places."""
    middle = (len(members) - 1) // 2
    return [sorted(member.rgb[place] for member in members)[middle] for place in inside]


def _masked(left: list[int], trained: DecodedPicture, inside: list[int]) -> tuple[float, float]:
    """How far the middle of a part's pictures is from a training picture, and how both correlate,
    in the mask alone and without each colour's mean there."""
    right = [trained.rgb[place] for place in inside]
    count = len(inside) // 3

    def inner(a: list[int], b: list[int]) -> int:
        sums = sum(sum(a[channel::3]) * sum(b[channel::3]) for channel in range(3))
        return count * sum(x * y for x, y in zip(a, b)) - sums  # noqa: B905

    one, other, both = inner(left, left), inner(right, right), inner(left, right)
    squared = (one + other - 2 * both) / (3 * count * count)
    return math.sqrt(squared) / 255, both / math.sqrt(one * other) if one and other else 0.0


def _check_picture(picture: DecodedPicture, entry: Json) -> Iterator[str]:
    if _sha256(picture.rgb) != entry["sha256"]:
        yield f"{entry['file']} has not the pixels whose sha256 is recorded."


def _check_match(
    prompt_id: str,
    clique: Json,
    pictures: dict[int, DecodedPicture],
    training: dict[str, DecodedPicture],
    tiles: int,
) -> Iterator[str]:
    match, chosen = clique["match"], pictures.get(clique["representative_seed"])
    matched = training.get(match["training_id"]) if match else None
    if chosen is None or matched is None:
        return
    if match["transform"] and match["transform"]["flip"]:
        matched = _mirrored(matched)
    for name, distance in (
        ("l2", l2(chosen, matched)),
        ("tiled_l2", tiled_l2(chosen, matched, tiles)),
    ):
        if abs(distance - match[name]) > SAME_DISTANCE:
            yield f"The {name} of {prompt_id} is {distance}, not {match[name]}."


def _mirrored(picture: DecodedPicture) -> DecodedPicture:
    pixels = [picture.rgb[at : at + 3] for at in range(0, len(picture.rgb), 3)]
    rows = [pixels[at : at + picture.width] for at in range(0, len(pixels), picture.width)]
    return picture._replace(rgb=b"".join(b"".join(reversed(row)) for row in rows))


def _check_clique(
    prompt_id: str, clique: Json, pictures: dict[int, DecodedPicture], analysis: Json
) -> Iterator[str]:
    threshold, tiles = Fraction(str(analysis["edge_threshold"])), analysis["tiles"]
    distances = []
    for a, b in combinations(sorted(pictures), 2):
        cells = list(_tiles(pictures[a], pictures[b], tiles))
        if any(squared > (threshold * 255) ** 2 * values for squared, values in cells):
            yield f"Seeds {a} and {b} of {prompt_id} are no edge."
        distances.append(max(math.sqrt(squared / values) / 255 for squared, values in cells))
    if abs(math.fsum(distances) / len(distances) - clique["mean_distance"]) > SAME_DISTANCE:
        yield f"The mean distance within a clique of {prompt_id} is another one."


def _check_verification(
    search: Json, manifest: Json, results: list[Json], prompts: list[str]
) -> Iterator[str]:
    """Check what a search of a training set looked for, as far as the bundle tells.

    Another picture may represent a clique by now, where the prompt was analysed with more seeds
    after the search, so seeds are not compared; a prompt may also wait to be analysed again.
    """
    where = f"The search of {search['verified_at']}"
    for name in ("campaign_id", "analysis_id"):
        if search[name] != manifest[name]:
            yield f"{where} is of another {name[:-3]}."
    unflagged = {result["prompt_id"] for result in results if not result["flagged"]}
    may_be_flagged = {_prompt_id(text) for text in prompts} - unflagged
    looked_for = [*search["cliques"], *search["not_verified"]]
    for clique in looked_for:
        name = clique["prompt_id"]
        if name != _prompt_id(clique["prompt"]) or name not in may_be_flagged:
            yield f"{where} looked for a picture of {name}, which is no flagged prompt."
    if len({(clique["prompt_id"], clique["seed"]) for clique in looked_for}) < len(looked_for):
        yield f"{where} looked for one picture twice."


def _check_search_matches(search: Json, sampling: Json) -> Iterator[str]:
    where, extracted = f"The search of {search['verified_at']}", set()
    for match in (clique["match"] for clique in search["cliques"]):
        if match["extracted"] != _is_extracted(match, search["settings"]["threshold"], sampling):
            yield f"{where} has a match that is not extracted as its distances say."
        if match["extracted"]:
            extracted.add(match["training_id"])
    grouped = [name for group in search["groups"] for name in group]
    if sorted(grouped) != sorted(extracted):
        yield f"{where} groups other training pictures than it says are extracted."
    controls = search["controls"]
    if controls and not 0 <= controls["matches"] <= controls["searched"]:
        yield f"{where} has more matches of controls than controls."
    for part in (search, controls) if controls else (search,):
        if not 0 <= part["coverage"]["unreadable"] <= part["coverage"]["pictures"]:
            yield f"{where} could read another number of pictures than there are."


def _check_replays(replays: Json) -> Iterator[str]:
    equal = sum(replay["sha256"] == replay["sha256_here"] for replay in replays["replays"])
    if (replays["images"], replays["equal"]) != (len(replays["replays"]), equal):
        yield "The counts in replays.json do not follow from its replays."


def _shown_pictures(
    results: list[Json], images: Json, training: Json
) -> dict[str, tuple[str, str]]:
    """By prompt id the digests of the two pictures that people label; empty if one is not known."""
    trained = {entry["training_id"]: entry["sha256"] or "" for entry in training["pictures"]}
    made = {entry["prompt_id"]: entry["images"] for entry in images["prompts"]}
    shown = {}
    for result in (result for result in results if result["match"]):
        name, seed = result["prompt_id"], result["representative_seed"]
        digests = {entry["seed"]: entry["sha256"] or "" for entry in made.get(name, ())}
        matched = result["match"]["training_id"]
        shown[name] = digests.get(seed, ""), trained.get(matched, "")
    return shown


def _shown_parts(results: list[Json], entries: list[Json]) -> dict[str, tuple[str, str]]:
    """By item the digests of the two pictures of a part that people label."""
    parts = {(r["prompt_id"], n): part for r in results for n, part in enumerate(r["parts"])}
    shown = {}
    for entry in (entry for entry in entries if entry["training"]):
        part = parts[entry["prompt_id"], entry["number"]]
        digests = {image["seed"]: image["sha256"] or "" for image in entry["images"]}
        shown[item_of(entry["prompt_id"], _part_id(part))] = (
            digests.get(part["representative_seed"], ""),
            entry["training"]["sha256"] or "",
        )
    return shown


def _part_id(part: Json) -> str:
    return _digest({name: part[name] for name in ("seeds", "whole_seeds", "tiles")})


def _is_part_extracted(match: Json) -> bool:
    """Whether a training picture shows the part, and nothing does that should not."""
    elsewhere = match["unrelated"] or match["elsewhere"] or match.get("second_model")
    return match["copies"] > 0 and not elsewhere and not match["controls"]


def _check_labels(labels: Json, counts: dict[str, Json]) -> Iterator[str]:
    """`counts`: what the reviewers' labels come to."""
    if labels["counts"] != counts:
        yield "The counts in labels.json do not follow from the reviewers' labels."
        return
    yield from _check_agreement(labels["pairs"], counts["pairs"])
    for kind, pairs in (("parts", "part_pairs"), ("extractions", "extraction_pairs")):
        counted = counts.get(kind, {"pairs": []})
        yield from _check_agreement(labels.get(pairs, []), counted["pairs"])


def _check_agreement(told: list[Json], counted: list[Json]) -> Iterator[str]:
    """`told`: how far each two reviewers agree; `counted`: on what."""
    wanted = [
        (p["a"], p["b"], p["agreed"], p["both_labelled"], p["both_labelled"]) for p in counted
    ]
    if wanted != [
        (p["a"], p["b"], p["agreement"]["count"], p["agreement"]["n"], p["kappa"]["n"])
        for p in told
    ]:
        yield "The agreement in labels.json does not follow from the reviewers' labels."
        return
    for each, pair in zip(told, counted):  # noqa: B905
        kappa, known = kappa_of(pair["table"]), each["kappa"]["value"]
        if (kappa is None) != (known is None) or abs((kappa or 0) - (known or 0)) > SAME_DISTANCE:
            yield f"Cohen's kappa of {pair['a']} and {pair['b']} is {kappa}, not {known}."


def _count_labels(labels: list[str]) -> dict[str, int]:
    return {label: labels.count(label) for label in LABELS}


def _table(a: str, b: str, given: dict[str, dict[str, str]]) -> dict[str, Json]:
    """How often the first reviewer said this where the second said that, on what both labelled."""
    both = sorted({*given[a]} & {*given[b]})
    table = {of_a: dict.fromkeys(LABELS, 0) for of_a in LABELS}
    for item in both:
        table[given[a][item]][given[b][item]] += 1
    agreed = sum(table[label][label] for label in LABELS)
    return {"a": a, "b": b, "both_labelled": len(both), "agreed": agreed, "table": table}


def _confirmed(given: dict[str, dict[str, str]], items: set[str]) -> dict[str, int]:
    looked_at = [item for item in items if all(item in labels for labels in given.values())]
    same = [i for i in looked_at if all(labels[i] == "same" for labels in given.values())]
    return {"n": len(same), "of": len(looked_at)}


def _is_extracted(match: Json, threshold: float, sampling: Json) -> bool:
    if match["l2"] > threshold or match.get("agreement") == 0:
        return False
    if min(sampling["width"], sampling["height"]) >= SMALL_IMAGE_SIDE:
        return True
    return match["adaptive"] is not None and match["adaptive"] <= 1


def _read_json(path: Path) -> Json:
    """Read JSON, without the nan that Python's takes: no comparison with it finds a fault."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{path.name} holds {constant}, which is no JSON")

    return json.loads(path.read_bytes(), parse_constant=refuse)


def _decode(path: Path, size: tuple[int, int]) -> DecodedPicture:
    try:
        return decode_png(path.read_bytes(), size)
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path.name}: {error}") from error


def _unfilter(kind: int, row: bytes, above: bytes) -> bytes:
    """Undo one of the five filters of PNG."""
    if kind == 0:
        return row
    if kind == 1:
        whole = bytearray(len(row))
        for channel in range(3):
            values = accumulate(row[channel::3], lambda left, value: (left + value) & 255)
            whole[channel::3] = bytes(values)
        return bytes(whole)
    if kind == 2:
        return bytes((value + up) & 255 for value, up in zip(row, above))  # noqa: B905
    if kind not in (3, 4):
        raise ValueError(f"a row has the filter {kind}")
    guess = _average if kind == 3 else _paeth
    out = bytearray(3) + bytearray(len(row))
    for place, value in enumerate(row):
        corner = above[place - 3] if place >= 3 else 0
        out[place + 3] = (value + guess(out[place], above[place], corner)) & 255
    return bytes(out[3:])


def _average(left: int, up: int, corner: int) -> int:
    return (left + up) >> 1


def _paeth(left: int, up: int, corner: int) -> int:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


def _tiles(a: DecodedPicture, b: DecodedPicture, tiles: int) -> Iterator[tuple[int, int]]:
    """The squared distance in each tile, in levels, and how many values the tile has."""
    if (a.width, a.height) != (b.width, b.height):
        raise ValueError("two pictures that are to be compared have different sizes")
    for top, bottom in _cuts(a.height, tiles):
        for left, right in _cuts(a.width, tiles):
            squared = 0
            for row in range(top, bottom):
                part = slice(3 * (row * a.width + left), 3 * (row * a.width + right))
                pairs = zip(a.rgb[part], b.rgb[part])  # noqa: B905
                squared += sum((one - other) ** 2 for one, other in pairs)
            yield squared, 3 * (bottom - top) * (right - left)


def _cuts(length: int, tiles: int) -> list[tuple[int, int]]:
    short, longer = divmod(length, tiles)
    ends = [short * place + min(place, longer) for place in range(tiles + 1)]
    return [(a, b) for a, b in zip(ends, ends[1:]) if a < b]  # noqa: B905, RUF007


def _prompt_id(text: str) -> str:
    return _sha256(text.encode())[:16]


def _digest(value: Json) -> str:
    return _sha256(_canonical(value).encode())[:16]


def _canonical(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        # Who reads no further, such as `head`, ends it.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
