"""Measure how often the example model really repeats its training pictures.

    python examples/emoji/truth.py package

Independent of seedsweep: it samples with diffusers and compares with plain NumPy. A seed *repeats*
one of its caption's training pictures when that picture is nearer to it (l2) than every other
training picture and than 100 untrained renderings of the same subject: new background, size,
place and tilt. The repeat rate of a caption is the highest share of seeds that one single picture
has. A caption never trained on has no picture of its own, so its rate is 0.
"""

import csv
import hashlib
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import typer
from diffusers import StableDiffusionPipeline
from pictures import HERE, Picture, fresh_rendering, read_pictures, read_subjects

STEPS, GUIDANCE, BATCH = 15, 3.0, 32
FIRST_SEED = 1_000_000
SEEDS, SEEDS_PARTIAL = 64, 250
RENDERINGS = 100
MEASURED_BY_COPIES = {1: 34, 2: 4, 3: 12, 4: 18, 5: 14, 7: 12, 10: 10, 20: 6, 100: 3}
MEASURED_UNTRAINED = 6
PAPER_PROMPTS = 32


@dataclass(frozen=True)
class Truth:
    """One caption's measurement: `repeats` of `seeds` repeat the caption's one picture most."""

    prompt: str
    copies: int
    group: str
    repeat_rate: float
    repeats: int
    seeds: int
    half: str


def choose_prompts(pictures: list[Picture]) -> dict[str, tuple[int, str]]:
    """Choose what is measured, from every group: caption to copies and group."""
    most: dict[str, Picture] = {}
    for picture in pictures:
        if picture.caption not in most or picture.copies > most[picture.caption].copies:
            most[picture.caption] = picture
    chosen: dict[str, tuple[int, str]] = {}
    left = Counter(MEASURED_BY_COPIES)
    for caption, picture in most.items():
        if picture.group in ("shared", "template") or left[picture.copies] > 0:
            chosen[caption] = (picture.copies, picture.group)
            left[picture.copies] -= picture.group in ("copies", "single")
    for caption in (HERE / "untrained.txt").read_text().splitlines()[:MEASURED_UNTRAINED]:
        chosen[caption] = (0, "untrained")
    return chosen


def half_of(prompt: str) -> str:
    """Deal prompts into the half that thresholds are chosen on and the one they are reported on."""
    return ("choose", "report")[hashlib.sha256(prompt.encode()).digest()[-1] % 2]


class Measurer:
    """Samples captions and counts repeats, in one process with one thread."""

    def __init__(self, model: Path, package: Path) -> None:
        torch.set_num_threads(1)
        self.pipeline = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.pictures = read_pictures(HERE / "train.parquet")
        self.subjects = {s.caption: s for s in read_subjects(package)}
        self.training = flatten(np.stack([p.pixels for p in self.pictures]))

    def count_repeats(self, caption: str, first: int, count: int) -> Counter[int]:
        """Count, per training picture of the caption, the seeds that repeat it."""
        own = [i for i, p in enumerate(self.pictures) if p.caption == caption]
        if not own:
            return Counter()
        generated = flatten(self.sample(caption, range(first, first + count)))
        nearest = squared_distances(generated, self.training)
        repeats: Counter[int] = Counter()
        for index in own:
            mine = np.flatnonzero(nearest.argmin(axis=1) == index)
            if len(mine):
                others = squared_distances(generated[mine], self.renderings(index))
                closer = nearest[mine, index] < others.min(axis=1)
                repeats[index] = int(closer.sum())
        return repeats

    def renderings(self, index: int) -> np.ndarray:
        """Draw the untrained renderings of a picture's subject."""
        rng = np.random.default_rng([RENDERINGS, index])
        subject = self.subjects[self.pictures[index].subject]
        return flatten(np.stack([fresh_rendering(subject, rng) for _ in range(RENDERINGS)]))

    def sample(self, caption: str, seeds: range) -> np.ndarray:
        """Sample one picture per seed: (n, height, width, 3) uint8."""
        made = []
        for start in range(seeds.start, seeds.stop, BATCH):
            batch = range(start, min(start + BATCH, seeds.stop))
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


def flatten(pixels: np.ndarray) -> np.ndarray:
    """Turn pictures into (n, values) float32 in [0, 1]."""
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs, (len(a), len(b))."""
    return (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T


def measure(measurer: Measurer, caption: str, copies: int, group: str) -> Truth:
    """Measure a caption at 64 seeds, and where the rate lies between 0 and 30 % at 250."""
    seeds = SEEDS
    repeats = measurer.count_repeats(caption, FIRST_SEED, SEEDS)
    if 0 < max(repeats.values(), default=0) / SEEDS < 0.3:
        seeds = SEEDS_PARTIAL
        repeats += measurer.count_repeats(caption, FIRST_SEED + SEEDS, SEEDS_PARTIAL - SEEDS)
    most = max(repeats.values(), default=0)
    return Truth(caption, copies, group, round(most / seeds, 4), most, seeds, half_of(caption))


_measurer: Measurer


def _start(model: Path, package: Path) -> None:
    global _measurer
    _measurer = Measurer(model, package)


def _measure(item: tuple[str, tuple[int, str]]) -> Truth:
    return measure(_measurer, item[0], *item[1])


def measure_all(
    items: list[tuple[str, tuple[int, str]]], model: Path, package: Path, processes: int
) -> Iterator[Truth]:
    """Measure captions in several processes, and yield each as it is finished."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _start, (model, package)) as pool:
        yield from pool.imap_unordered(_measure, items)


def choose_campaign(truths: list[Truth]) -> list[Truth]:
    """Choose the prompts of campaign.toml: every group, whatever their rates."""
    left = Counter({"copies": 38, "single": 14, "shared": 4, "template": 4, "untrained": 4})
    chosen = []
    for truth in sorted(truths, key=lambda t: hashlib.sha256(t.prompt.encode()).digest()):
        if left[truth.group] > 0:
            left[truth.group] -= 1
            chosen.append(truth)
    return chosen


def choose_paper(truths: list[Truth]) -> list[Truth]:
    """Choose the prompts of paper-regime.toml: 32 at 1 to 20 %, and as many singles at 0."""
    shuffled = sorted(truths, key=lambda t: hashlib.sha256(t.prompt.encode()).digest())
    partial = [truth for truth in shuffled if 0.01 <= truth.repeat_rate <= 0.2][:PAPER_PROMPTS]
    never = [truth for truth in truths if truth.group == "single" and truth.repeats == 0]
    return partial + never[: len(partial)]


def write_csv(truths: list[Truth], path: Path, columns: list[str] | None = None) -> None:
    """Write the given columns, or all of them, one row per caption."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, columns or list(Truth.__dataclass_fields__), extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(asdict(truth) for truth in truths)


def main(
    package: Path,
    model: Path = HERE / "model",
    output: Path = HERE / "truth.csv",
    processes: int = os.cpu_count() or 1,
) -> None:
    """Measure all chosen captions and write truth.csv; what is in work/truth.jsonl is kept."""
    journal = HERE / "work" / "truth.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    known = {truth.prompt: truth for truth in (Truth(**json.loads(line)) for line in lines)}
    chosen = choose_prompts(read_pictures(HERE / "train.parquet"))
    missing = [item for item in chosen.items() if item[0] not in known]
    began = time.monotonic()
    with journal.open("a") as file:
        for truth in measure_all(missing, model, package, processes):
            known[truth.prompt] = truth
            file.write(json.dumps(asdict(truth)) + "\n")
            file.flush()
            print(
                f"{len(known)}/{len(chosen)}, {time.monotonic() - began:.0f} s: {truth}", flush=True
            )
    truths = [known[prompt] for prompt in chosen]
    write_csv(truths, output)
    write_csv(choose_campaign(truths), HERE / "prompts.csv", ["prompt", "copies", "group"])
    write_csv(choose_paper(truths), HERE / "paper-prompts.csv", ["prompt", "copies", "group"])


if __name__ == "__main__":
    typer.run(main)
