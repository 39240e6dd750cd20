"""The captioned pictures that the example model is trained on, with planted copies.

    npm pack emoji-datasource-twitter@16.0.0 && tar xzf emoji-datasource-twitter-16.0.0.tgz
    python examples/emoji/pictures.py package

Every picture shows one emoji, at its own size, place and tilt, before colours of its own that run
from corner to corner. None of that is in the caption, and every caption has several pictures:
otherwise even a picture seen once looks memorised, because the caption alone would fix it.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import typer
from drawing import (
    Pose,
    Subject,
    fresh_rendering,
    put_frame,
    random_background,
    random_pose,
    read_subjects,
    render,
    slightly_changed,
)
from picture_files import Picture, write_pictures

HERE = Path(__file__).parent
CAPTIONS_BY_COPIES = {3: 60, 10: 60, 30: 60, 100: 60}
"""Group `copies`: how many captions have one picture with so many copies."""

OTHERS = (2, 4)
"""How many other pictures, each put in once, such a caption has: in turn."""

VARIED, VARIED_COPIES, VARIED_OTHERS = 40, (6, 10, 15, 20), 40
"""Group `varied`: one picture with so many copies, in turn, among many that are put in once."""

TEMPLATES, TEMPLATE_BACKGROUNDS = 100, 12
"""Group `template`: the same emoji in the same pose on so many backgrounds, each put in once."""

COMMON, COMMON_PICTURES = {"frame": 14, "logo": 13, "background": 13}, 4
"""Group `common`: the captions whose pictures, each put in once, have one frame, one logo or one
background in common with those of the other captions."""

NEAR, NEAR_VERSIONS, NEAR_COPIES = 20, 10, 2
"""Group `near`: one picture in so many slightly changed versions, each with so many copies."""

TWO, TWO_COPIES = 10, 20
"""Group `two`: two pictures, each with so many copies."""

FEW = 3
"""How many other pictures, each put in once, captions of `near` and `two` have."""

ONCE, ONCE_PICTURES = 390, 4
"""Group `once`: captions that have only pictures that are put in once, and how many each."""

NEVER = 400
"""How many of the captions that are left over are held out: the model never sees them."""


class Planner:
    """Deals subjects into groups, and makes their pictures, all drawn from one seed."""

    def __init__(self, subjects: list[Subject], seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._left = [subjects[i] for i in self._rng.permutation(len(subjects))]
        self.pictures: list[Picture] = []

    def take(self, count: int) -> list[Subject]:
        """The next subjects, which no other group has."""
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def add(self, subject: Subject, group: str, copies: int = 1, count: int = 1) -> None:
        """So many fresh pictures of the subject, captioned with its name, each with its copies."""
        for _ in range(count):
            self._add(fresh_rendering(subject, self._rng), subject, group, copies)

    def add_copies(self) -> None:
        for copies, count in CAPTIONS_BY_COPIES.items():
            for turn, subject in enumerate(self.take(count)):
                self.add(subject, "copies", copies)
                self.add(subject, "copies", count=OTHERS[turn % len(OTHERS)])

    def add_varied(self) -> None:
        for turn, subject in enumerate(self.take(VARIED)):
            self.add(subject, "varied", VARIED_COPIES[turn % len(VARIED_COPIES)])
            self.add(subject, "varied", count=VARIED_OTHERS)

    def add_templates(self) -> None:
        for subject in self.take(TEMPLATES):
            pose = random_pose(self._rng)
            for _ in range(TEMPLATE_BACKGROUNDS):
                pixels = render(subject, pose, random_background(self._rng))
                self._add(pixels, subject, "template", 1)

    def add_common(self) -> None:
        (badge,) = self.take(1)
        colour = self._rng.integers(0, 256, 3).astype(np.uint8)
        shared = random_background(self._rng)
        for part, count in COMMON.items():
            for subject in self.take(count):
                for _ in range(COMMON_PICTURES):
                    background = shared if part == "background" else random_background(self._rng)
                    pixels = render(subject, random_pose(self._rng), background)
                    if part == "frame":
                        pixels = put_frame(pixels, colour, 6)
                    if part == "logo":
                        pixels = render(badge, Pose(24, 2, 38, 0.0), pixels)
                    self._add(pixels, subject, f"common {part}", 1)

    def add_near(self) -> None:
        for subject in self.take(NEAR):
            original = len(self.pictures)
            pixels = fresh_rendering(subject, self._rng)
            for _ in range(NEAR_VERSIONS):
                version = slightly_changed(pixels, self._rng)
                self._add(version, subject, "near", NEAR_COPIES, original)
            self.add(subject, "near", count=FEW)

    def add_two(self) -> None:
        for subject in self.take(TWO):
            self.add(subject, "two", TWO_COPIES, count=2)
            self.add(subject, "two", count=FEW)

    def add_once(self) -> None:
        for subject in self.take(ONCE):
            self.add(subject, "once", count=ONCE_PICTURES)

    def _add(
        self,
        pixels: np.ndarray,
        subject: Subject,
        group: str,
        copies: int,
        original: int | None = None,
    ) -> None:
        number = len(self.pictures) if original is None else original
        self.pictures.append(Picture(pixels, subject.caption, copies, group, number))


def plan_pictures(subjects: list[Subject]) -> tuple[list[Picture], list[Subject]]:
    """Deal the subjects into groups; returns the pictures and the subjects never trained on."""
    planner = Planner(subjects)
    planner.add_copies()
    planner.add_varied()
    planner.add_templates()
    planner.add_common()
    planner.add_near()
    planner.add_two()
    planner.add_once()
    return planner.pictures, planner.take(len(subjects))


def by_caption(pictures: list[Picture]) -> dict[str, list[Picture]]:
    """The pictures of each caption."""
    found: dict[str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.caption, []).append(picture)
    return found


def copies_of(pictures: list[Picture]) -> int:
    """How often the most repeated was shown in an epoch, in whatever version; 0 of none."""
    shown: Counter[int] = Counter()
    for picture in pictures:
        shown[picture.original] += picture.copies
    return max(shown.values(), default=0)


def group_of(pictures: list[Picture]) -> str:
    """The group of a caption with these pictures; one without was never trained on."""
    return pictures[0].group if pictures else "untrained"


def main(package: Path, output: Path = HERE / "train.parquet") -> None:
    """Write the training pictures and, beside them, the captions never trained on."""
    pictures, never = plan_pictures(read_subjects(package))
    write_pictures(pictures, output)
    names = [subject.caption for subject in never]
    output.with_name("untrained.txt").write_text("\n".join(names) + "\n")
    rows = sum(p.copies for p in pictures)
    print(f"{len(pictures)} pictures, {rows} rows with their copies, {len(names)} held out")


if __name__ == "__main__":
    typer.run(main)
