"""Measure how often the example model really repeats its training pictures.

    python examples/emoji/truth.py package
    python examples/emoji/truth.py package --controls flagged.txt

Independent of seedsweep: it samples with diffusers and compares with plain NumPy, at seeds that no
campaign has. The rule was fixed before any campaign was scored:

- A seed *repeats* a training picture that is within an l2 of 0.1 of it, if that picture is nearer
  to it than every other training picture, whatever its caption, and than 100 renderings of the same
  emoji that nobody was trained on. Versions of one picture count as one.
- The *repeat rate* of a caption is the highest share of seeds that a single picture has.
- A seed repeats a template's *part*, which is what the caption's training pictures have in common
  (pixels of a standard deviation of at most 0.03), by the same distances, taken over the part.

Every planted caption is measured at 32 seeds, and where 1 to 12 of these repeat, at 250. Controls
are measured if a campaign flags them: those of a list. `distances.parquet` holds what was measured
of each seed, `truth.csv` the rates. A measurement that was cut goes on.
"""

import csv
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from closeness import NEAR, RENDERINGS, distances, flatten, is_nearer
from diffusers import StableDiffusionPipeline
from drawing import fresh_rendering, read_subjects
from picture_files import Picture, as_stored, read_pictures
from pictures import HERE, by_caption, copies_of, group_of

STEPS, GUIDANCE, BATCH = 12, 3.0, 32
"""How the example's campaigns sample."""

FIRST_SEED = 1_000_000
SEEDS, SEEDS_PARTIAL = 32, 250
FEW = 12
"""So many repeats of 32, and not none, are too few to tell the rate: then it takes 250 seeds."""

COMMON_STD = 0.03


@dataclass(frozen=True)
class Seed:
    """What was measured of one seed: its nearest picture, by the number of its `original`, how far
    that is, and where that is near how far the nearest rendering of the same emoji is; likewise of
    the part, if any."""

    prompt: str
    seed: int
    original: int
    l2: float
    rendering_l2: float | None
    part_l2: float | None = None
    part_rendering_l2: float | None = None

    @property
    def repeats(self) -> bool:
        return is_nearer(self.l2, self.rendering_l2)

    @property
    def repeats_part(self) -> bool:
        return self.part_l2 is not None and is_nearer(self.part_l2, self.part_rendering_l2)


@dataclass(frozen=True)
class Truth:
    """One caption's rates: `repeats` of `seeds` repeat one picture, `second` of them another one;
    `part_repeats` repeat its part, which has that share of a picture (0: there is none)."""

    prompt: str
    copies: int
    group: str
    seeds: int
    repeats: int
    repeat_rate: float
    second: int
    part_repeats: int
    part_share: float


def rounded(l2: float) -> float:
    """To the digits that are kept."""
    return round(float(l2), 4)


def common_part(pictures: list[Picture]) -> np.ndarray:
    """Which of the flattened values hardly differ between the pictures."""
    spread = np.stack([p.pixels for p in pictures]).astype(np.float32).std(axis=0) / 255
    same = (spread <= COMMON_STD).all(axis=-1, keepdims=True)
    return np.broadcast_to(same, spread.shape).reshape(-1)


class Measurer:
    """Samples captions and measures seeds, in one process with one thread."""

    def __init__(self, model: Path, package: Path) -> None:
        torch.set_num_threads(1)
        self.pipeline = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.pictures = read_pictures(HERE / "train.parquet")
        self.by_caption = by_caption(self.pictures)
        self.subjects = {s.caption: s for s in read_subjects(package)}
        self.training = flatten(np.stack([p.pixels for p in self.pictures]))
        self._rendered: dict[str, np.ndarray] = {}

    def measure(self, caption: str) -> list[Seed]:
        """Measure a caption at 32 seeds, and if that does not tell the rate, at 250."""
        found = self.measure_seeds(caption, range(FIRST_SEED, FIRST_SEED + SEEDS))
        if 0 < most_repeated(found)[0] <= FEW:
            rest = range(FIRST_SEED + SEEDS, FIRST_SEED + SEEDS_PARTIAL)
            found += self.measure_seeds(caption, rest)
        return found

    def measure_seeds(self, caption: str, seeds: range) -> list[Seed]:
        generated = flatten(self.sample(caption, seeds))
        l2 = distances(generated, self.training)
        found = []
        for place, nearest in enumerate(l2.argmin(axis=1)):
            far, picture, beside = float(l2[place, nearest]), self.pictures[nearest], None
            if far <= NEAR:
                renderings = self.renderings(picture.caption)
                beside = rounded(distances(generated[place][None], renderings).min())
            found.append(Seed(caption, seeds[place], picture.original, rounded(far), beside))
        own = self.by_caption.get(caption, [])
        if group_of(own) != "template":
            return found
        part = common_part(own)
        picture = flatten(np.stack([p.pixels for p in own])).mean(axis=0)[None, part]
        near = distances(generated[:, part], picture)[:, 0]
        others = distances(generated[:, part], self.renderings(caption)[:, part]).min(axis=1)
        return [
            replace(each, part_l2=rounded(mine), part_rendering_l2=rounded(theirs))
            for each, mine, theirs in zip(found, near, others, strict=True)
        ]

    def renderings(self, caption: str) -> np.ndarray:
        """The renderings of an emoji that nobody was trained on."""
        if caption not in self._rendered:
            rng = np.random.default_rng([RENDERINGS, *caption.encode()])
            subject = self.subjects[caption]
            drawn = [as_stored(fresh_rendering(subject, rng)) for _ in range(RENDERINGS)]
            self._rendered = {caption: flatten(np.stack(drawn))}
        return self._rendered[caption]

    def sample(self, caption: str, seeds: range) -> np.ndarray:
        """Sample one picture per seed: (n, height, width, 3) uint8."""
        made = []
        for start in range(0, len(seeds), BATCH):
            batch = seeds[start : start + BATCH]
            images = self.pipeline(
                caption,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                num_images_per_prompt=len(batch),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in batch],
                output_type="np",
            ).images
            made.append((images * 255).round().astype(np.uint8))
        return np.concatenate(made)


def most_repeated(found: list[Seed]) -> tuple[int, int]:
    """How many seeds repeat the picture that is repeated most, and the next one."""
    counts = Counter(each.original for each in found if each.repeats).most_common(2)
    first, second = [*(count for _, count in counts), 0, 0][:2]
    return first, second


_measurer: Measurer


def _start(model: Path, package: Path) -> None:
    global _measurer
    _measurer = Measurer(model, package)


def _measure(caption: str) -> list[Seed]:
    return _measurer.measure(caption)


def measure_all(
    captions: list[str], model: Path, package: Path, processes: int
) -> Iterator[list[Seed]]:
    """Measure captions in several processes, and yield each as it is finished."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _start, (model, package)) as pool:
        yield from pool.imap_unordered(_measure, captions)


def read_journal(journal: Path) -> dict[str, list[Seed]]:
    """What was measured, by caption; a line that was cut short counts for nothing."""
    known: dict[str, list[Seed]] = {}
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    for line in lines:
        if line.endswith("\n"):
            seeds = [Seed(**each) for each in json.loads(line)]
            known[seeds[0].prompt] = seeds
    return known


def rates(caption: str, pictures: list[Picture], found: list[Seed]) -> Truth:
    """Count what the rule says of a caption's seeds, whose training pictures these are."""
    most, second = most_repeated(found)
    group = group_of(pictures)
    part = common_part(pictures).mean() if group == "template" else 0
    return Truth(
        prompt=caption,
        copies=copies_of(pictures),
        group=group,
        seeds=len(found),
        repeats=most,
        repeat_rate=round(most / len(found), 4),
        second=second,
        part_repeats=sum(each.repeats_part for each in found),
        part_share=round(float(part), 3),
    )


def write_truth(truths: Iterable[Truth], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Truth.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(truth) for truth in truths)


def write_distances(found: Iterable[Seed], path: Path) -> None:
    table = pa.Table.from_pylist([asdict(each) for each in found])
    pq.write_table(table, path, compression="zstd")


def main(
    package: Path,
    model: Path = HERE / "model",
    output: Path = HERE,
    controls: Path | None = None,
    processes: int = os.cpu_count() or 1,
) -> None:
    """Measure every planted caption, and the controls of a list, one a line."""
    journal = HERE / "work" / f"truth-{model.name}.jsonl"
    journal.parent.mkdir(exist_ok=True)
    known = read_journal(journal)
    trained = by_caption(read_pictures(HERE / "train.parquet"))
    planted = [caption for caption, own in trained.items() if group_of(own) != "once"]
    also = controls.read_text().splitlines() if controls else []
    chosen = list(dict.fromkeys([*planted, *also, *known]))
    missing = [caption for caption in chosen if caption not in known]
    began = time.monotonic()
    with journal.open("a") as file:
        for done, found in enumerate(measure_all(missing, model, package, processes), 1):
            known[found[0].prompt] = found
            file.write(json.dumps([asdict(each) for each in found]) + "\n")
            file.flush()
            if done % 10 == 0 or done == len(missing):
                print(f"{done}/{len(missing)}, {time.monotonic() - began:.0f} s", flush=True)
    write_truth((rates(c, trained.get(c, []), known[c]) for c in chosen), output / "truth.csv")
    write_distances((each for c in chosen for each in known[c]), output / "distances.parquet")


if __name__ == "__main__":
    typer.run(main)
