"""What a bundle of evidence has for a reviewer to look at: pairs of pictures, of their parts, or
of a training picture and the best generation that extracts it."""

import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.evidence.verify_bundle import MANIFEST
from seedsweep.audit.findings.people import item_of, picture_id
from seedsweep.audit.report.parts_section import highlight
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import Part, Shift
from seedsweep.storage.verification_results import PartMatch
from seedsweep.workers.analysis.moved_pictures import moved, moved_back
from seedsweep.workers.images import decode_png, encode_png

PIXEL_ART_SIDE = 128
MORE = 4
"""Beside a picture of a part so many others that show it are seen at most."""

MIDDLE_OF = 8
"""The middle picture of a part is that of so many generations at most."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture of the page: a file of the bundle, as it is or `mirrored`; or, with a part's
    `mask`, its pixels with all but the part dimmed, at the shift of the picture. Of several files
    the middle one of each value, each at its shift. A mask alone is the mask."""

    files: tuple[str, ...]
    shifts: tuple[Shift, ...] = ()
    mask: str = ""
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two pictures that may be the same, in the order they are shown: the representative of a
    flagged prompt's largest clique and its training picture; or the best generation that extracts
    a training picture, and that; or, of a part, that of the part and the training picture that it
    matches, each with others that show the part, and the part's mask.

    `part_id` is of an extraction the `picture_id`, and empty of a clique. `digests` are of the
    pixels of the generated and of the training picture, as the bundle's files have them."""

    prompt_id: str
    part_id: str
    digests: tuple[str, str]
    left: tuple[Drawing, ...]
    right: tuple[Drawing, ...]
    mask: Drawing | None = None

    @property
    def item(self) -> str:
        """Names it."""
        return item_of(self.prompt_id, self.part_id)


class PairedPictures:
    """The pairs of a bundle as this reviewer is to see them: cliques, then extractions, then parts.
    Order and sides follow from the reviewer's name alone.

    Raises `ConfigError` if the folder is not there or no bundle, or its pictures are not what its
    manifest says.
    Parts of bundles that an earlier version wrote are left out: their checker knows no labels of
    these.
    """

    def __init__(self, folder: Path, reviewer: str) -> None:
        self._folder = folder
        _check_is_bundle(folder)
        with _as_made(folder):
            self._files: Mapping[str, Any] = json.loads((folder / MANIFEST).read_bytes())["files"]
            sampling = self._json("campaign.json")["campaign"]["sampling"]
            self._size = sampling["width"], sampling["height"]
            results = self._json("results.json")
            whole = [*self._whole(results)]
            there = "extractions.json" in self._files
            extractions = [*self._of_extractions(results)] if there else []
            parts = [*self._of_parts(results)] if "parts.json" in self._files else []
            for pair in (*whole, *extractions, *parts):
                for drawing in (*pair.left, *pair.right, *((pair.mask,) if pair.mask else ())):
                    for name in (*drawing.files, *((drawing.mask,) if drawing.mask else ())):
                        self._read(name)
        self.pairs = (
            *_shuffled(whole, f"pairs of {reviewer}"),
            *_shuffled(extractions, f"extractions of {reviewer}"),
            *_shuffled(parts, f"parts of {reviewer}"),
        )
        self.has_part_ids = bool(extractions or parts)
        self.pixel_art = max(self._size) <= PIXEL_ART_SIDE

    def draw(self, drawing: Drawing) -> bytes:
        """The PNG of a picture of the page; raises `ConfigError` if its file was changed since."""
        with _as_made(self._folder):
            if not drawing.mask and drawing.mirrored:
                return encode_png(np.ascontiguousarray(self._pixels(drawing.files[0])[:, ::-1]))
            if not drawing.mask:
                return self._read(drawing.files[0])
            mask = self._pixels(drawing.mask)[..., 0] > 127
            laid = [
                moved(self._pixels(name), shift)
                for name, shift in zip(drawing.files, drawing.shifts, strict=True)
            ]
            if len(laid) == 1:
                [name], [shift] = drawing.files, drawing.shifts
                return encode_png(highlight(self._pixels(name), moved_back(mask, shift)))
            middle = np.sort(np.stack(laid), axis=0)[(len(laid) - 1) // 2]
            return encode_png(highlight(middle, mask))

    def _read(self, name: str) -> bytes:
        data = (self._folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != self._files[name]["sha256"]:
            raise ValueError(f"{name} was changed")
        return data

    def _json(self, name: str) -> Any:
        return json.loads(self._read(name))

    def _pixels(self, name: str) -> NDArray[np.uint8]:
        return decode_png(self._read(name), *self._size)

    def _whole(self, results: Any) -> Iterator[LabelledPair]:
        training = {each["training_id"]: each for each in self._json("training.json")["pictures"]}
        digests = {
            (prompt["prompt_id"], image["seed"]): image["sha256"]
            for prompt in self._json("images.json")["prompts"]
            for image in prompt["images"]
        }
        for result in (result for result in results if result["match"]):
            prompt_id, seed = _checked_id(result["prompt_id"]), result["representative_seed"]
            generated = f"images/{prompt_id}/{seed}.png"
            matched = training.get(result["match"]["training_id"])
            if matched and matched["file"] and generated in self._files:
                yield LabelledPair(
                    prompt_id=prompt_id,
                    part_id="",
                    digests=(digests[prompt_id, seed], matched["sha256"]),
                    left=(Drawing((generated,)),),
                    right=(Drawing((matched["file"],), mirrored=_is_mirrored(result["match"])),),
                )

    def _of_extractions(self, results: Any) -> Iterator[LabelledPair]:
        [prompt_id] = [_checked_id(result["prompt_id"]) for result in results]
        for picture in self._json("extractions.json")["pictures"]:
            generated, trained = picture["generation"], picture["training"]
            if generated["file"] and trained["file"]:
                yield LabelledPair(
                    prompt_id=prompt_id,
                    part_id=picture_id(picture["training_id"]),
                    digests=(generated["sha256"], trained["sha256"]),
                    left=(Drawing((generated["file"],)),),
                    right=(Drawing((trained["file"],), mirrored=picture["flip"]),),
                )

    def _of_parts(self, results: Any) -> Iterator[LabelledPair]:
        parts = {
            (result["prompt_id"], number): Part.model_validate(part)
            for result in results
            for number, part in enumerate(result["parts"])
        }
        searches = self._json("verifications.json") if "verifications.json" in self._files else []
        matches = {
            item_of(part["prompt_id"], part["part_id"]): PartMatch.model_validate(part["match"])
            for part in (searches[0].get("parts", ()) if searches else ())
        }
        for entry in self._json("parts.json")["parts"]:
            part = parts[entry["prompt_id"], entry["number"]]
            match = matches.get(item_of(entry["prompt_id"], part.part_id))
            files = {image["seed"]: image for image in entry["images"]}
            own, mask = files[part.representative_seed], entry["mask"]["file"]
            pictures = own["file"], mask, entry["training"] and entry["training"]["file"]
            if "part_id" not in entry or match is None or not all(pictures):
                continue

            def drawing(*shown: tuple[str, Shift], mask: str = mask) -> Drawing:
                return Drawing(tuple(f for f, _ in shown), tuple(s for _, s in shown), mask)

            others = [seed for seed in part.whole_seeds if seed != part.representative_seed]
            generated = [
                (files[seed]["file"], part.shift(seed))
                for seed in (part.representative_seed, *others)
                if files[seed]["file"]
            ]
            shared = [
                (each["file"], Shift.model_validate(each["shift"]))
                for each in entry["shared"]
                if each["file"]
            ]
            trained = (entry["training"]["file"], match.shift), *shared[:MORE]
            middle = drawing(*generated[:MIDDLE_OF])
            yield LabelledPair(
                prompt_id=_checked_id(entry["prompt_id"]),
                part_id=part.part_id,
                digests=(own["sha256"], entry["training"]["sha256"]),
                left=(drawing(generated[0]), middle, *map(drawing, generated[1:MORE])),
                right=tuple(map(drawing, trained)),
                mask=Drawing((mask,)),
            )


def _check_is_bundle(folder: Path) -> None:
    """Raise `ConfigError` for what cannot be a bundle, whatever it holds."""
    makes = "`seedsweep evidence ID -o DIR` makes a bundle"
    if folder.is_file():
        meant = "name the folder that it lies in" if (folder.parent / MANIFEST).is_file() else makes
        raise ConfigError(f"{folder} is a file, and a bundle of evidence is a folder; {meant}.")
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}; check the path, or {makes}.")
    if not (folder / MANIFEST).exists():
        raise ConfigError(
            f"The folder {folder} has no {MANIFEST}, so it is no bundle of evidence; name one, or "
            f"{makes}."
        )


@contextmanager
def _as_made(folder: Path) -> Iterator[None]:
    """Raises `ConfigError` for what a bundle does not hold if it is as it was made."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder} is not a bundle of evidence as it was made ({type(error).__name__}: "
            f"{error}); `seedsweep evidence` makes it again in a new folder."
        ) from error


def _checked_id(prompt_id: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{16}", prompt_id):
        raise ValueError(f"{prompt_id!r} is no prompt's id")
    return prompt_id


def _is_mirrored(match: Any) -> bool:
    return bool(match["transform"] and match["transform"].get("flip"))


def _shuffled(pairs: Sequence[LabelledPair], lot: str) -> tuple[LabelledPair, ...]:
    generator = random.Random(lot)  # noqa: S311 - it is no secret
    drawn = [*pairs]
    generator.shuffle(drawn)
    seen = []
    for pair in drawn:
        sides = [pair.left, pair.right]
        generator.shuffle(sides)
        seen.append(replace(pair, left=sides[0], right=sides[1]))
    return tuple(seen)
