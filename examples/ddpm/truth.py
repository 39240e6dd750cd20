"""Say which generations of a campaign repeat a training picture, independently of seedsweep.

    python -m examples.ddpm.truth package emoji-ddpm emoji-ddpm-deduplicated

The rule is that of `examples/emoji/closeness.py`, fixed before any campaign was run.
Distances are plain NumPy's, of the stored pictures' pixels. `truth.csv` holds for each training
picture how many generations of each campaign repeat it, `repeats.parquet` which.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from examples.ddpm.pictures import HERE, small_rendering
from examples.emoji.closeness import NEAR, RENDERINGS, distances, flatten, is_nearer
from examples.emoji.drawing import Subject, read_subjects
from examples.emoji.picture_files import Picture, as_stored, read_pictures
from seedsweep.scheduler.campaign.lookup import find_campaign
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysts.stored_prompt import read_prompt

AT_ONCE = 500
"""So many generations are compared at once."""


@dataclass(frozen=True)
class Repeat:
    """A seed of a campaign, the `original` that it repeats, and how far that is."""

    campaign: str
    seed: int
    original: int
    l2: float


class Judge:
    """The training pictures, and renderings of the same emoji that nobody was trained on."""

    def __init__(self, pictures: list[Picture], subjects: list[Subject]) -> None:
        self._pictures, self._subjects = pictures, {s.caption: s for s in subjects}
        self._training = flatten(np.stack([p.pixels for p in pictures]))
        self._rendered: dict[str, np.ndarray] = {}

    def repeats(self, campaign: str, seeds: list[int], pixels: np.ndarray) -> Iterator[Repeat]:
        """Those of the generations that repeat a training picture by the rule."""
        for first in range(0, len(seeds), AT_ONCE):
            some = flatten(pixels[first : first + AT_ONCE])
            l2 = distances(some, self._training)
            for place, nearest in enumerate(l2.argmin(axis=1)):
                far, picture = float(l2[place, nearest]), self._pictures[nearest]
                if far <= NEAR:
                    rendered = self._renderings(picture.caption)
                    if is_nearer(far, float(distances(some[place][None], rendered).min())):
                        seed = seeds[first + place]
                        yield Repeat(campaign, seed, picture.original, round(far, 4))

    def _renderings(self, caption: str) -> np.ndarray:
        if caption not in self._rendered:
            rng = np.random.default_rng([RENDERINGS, *caption.encode()])
            subject = self._subjects[caption]
            drawn = [as_stored(small_rendering(subject, rng)) for _ in range(RENDERINGS)]
            self._rendered[caption] = flatten(np.stack(drawn))
        return self._rendered[caption]


def repeats_of(judge: Judge, store: Store, submission: Submission) -> list[Repeat]:
    """Judge all generations of a campaign without prompts."""
    stored = read_prompt(store, submission, "")
    seeds = [image.seed for image in stored.images]
    pixels = stored.pixels(range(len(seeds)))
    return list(judge.repeats(submission.campaign.name, seeds, pixels))


def write_truth(
    pictures: list[Picture], repeats: list[Repeat], names: list[str], path: Path
) -> None:
    """A row for each training picture, and a column for each campaign."""
    counted = Counter((repeat.campaign, repeat.original) for repeat in repeats)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["original", "caption", "copies", *names])
        for each in pictures:
            counts = [counted[name, each.original] for name in names]
            writer.writerow([each.original, each.caption, each.copies, *counts])


def write_repeats(repeats: list[Repeat], path: Path) -> None:
    columns = {
        "campaign": pa.array([each.campaign for each in repeats]).dictionary_encode(),
        "seed": pa.array([each.seed for each in repeats], pa.int32()),
        "original": pa.array([each.original for each in repeats], pa.int32()),
        "l2": pa.array([each.l2 for each in repeats], pa.float32()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def main(
    package: Path,
    campaign_ids: list[str],
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE,
    store: str = "file:./seedsweep-data",
) -> None:
    """Judge the generations of these campaigns, and write `truth.csv` and `repeats.parquet`."""
    opened, pictures = open_store(store), read_pictures(HERE / "train.parquet")
    judge = Judge(pictures, read_subjects(package))
    asked = [load_campaign(opened, find_campaign(opened, one)) for one in campaign_ids]
    repeats = [each for submission in asked for each in repeats_of(judge, opened, submission)]
    names = [submission.campaign.name for submission in asked]
    write_truth(pictures, repeats, names, output / "truth.csv")
    write_repeats(repeats, output / "repeats.parquet")
    for name in names:
        own = [each.original for each in repeats if each.campaign == name]
        print(f"{name}: {len(own)} generations repeat {len(set(own))} training pictures")


if __name__ == "__main__":
    typer.run(main)
