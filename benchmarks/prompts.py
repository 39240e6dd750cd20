"""What judging a stored prompt costs: by descriptors first, beside all pixels and a plain loop.

    .venv/bin/python -m benchmarks.prompts [--seeds 500] [--side 512] [--rounds 3]
    .venv/bin/python -m benchmarks.prompts --only {whole,parts}

Each set of pictures is stored as one prompt, in shards of 50 in a folder, and judged from there,
reading included, in CPU seconds: `pruned` as campaigns do by default, `full` as with
`matrix = "full"`, which decodes every picture and computes the exact matrix of all pairs. Both
must give the same result, field by field. "Rejected" are the pairs that descriptors alone prove
to be no edges, "decoded" the images that are left once cliques of the wanted size are asked for.
`naive` decodes every picture and loops over pairs in
float64; some pairs are measured and all reckoned from them.

A second table has what it costs to look for parts of the picture as well: `off` is `pruned` above,
`on` the same with parts, `shift` with parts that may be 8 % elsewhere, `scale` with such that may
also be 8 % larger or smaller, and `full` as `on` with `matrix = "full"`. `decode` is what reading
and decoding all pictures takes alone. Set OPENBLAS_NUM_THREADS=1: threads that wait for one another
count as well.
"""

import argparse
import tempfile
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from benchmarks.machine import cpu_of, interleaved, machine, ratios, span
from benchmarks.pictures import example_pictures, photographs, pink, same_layout, with_copies
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Provenance, Submission, WorkUnit
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, Sampling
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysts.prompt_result import analyse_prompt, possible_edges
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.protocol import Generation

PER_SHARD = 50
MADE = Provenance(
    batch_size=1, threads=1, device="cpu", dtype="uint8", versions="benchmark", recipe="{}"
)
HEADER = """\
| pictures | edge | flagged | pairs rejected | decoded | pruned s | full ÷ pruned | naive ÷ pruned |
|---|---|---|---|---|---|---|---|"""

PARTS_HEADER = """\
| pictures | showing the part | decoded | off s | on s | shift s | scale s | decode s | full ÷ on |
|---|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class StoredPictures:
    """One prompt in a store."""

    store: Store
    submission: Submission
    text: str

    def read(self):
        return read_prompt(self.store, self.submission, self.text)

    def decode(self):
        """Read and decode all pictures."""
        self.read().pixels(range(self.submission.campaign.sampling.seeds))

    def analyse(self, analysis):
        return analyse_prompt(self.read(), AnalysisSettings(analysis=analysis), None)


def submission_of(count, height, width, prompts=1):
    """A campaign of so many seeds of that size, as it would be submitted."""
    campaign = Campaign(
        name="benchmark",
        model=Model(pipeline="noise", fingerprint="noise:"),
        prompts=PromptList(file="prompts.txt", count=prompts),
        sampling=Sampling(seeds=count, width=width, height=height),
    )
    firsts = range(0, count, PER_SHARD)
    cuts = tuple(SeedRange(first=at, last=min(at + PER_SHARD, count) - 1) for at in firsts)
    return Submission(campaign=campaign, cuts=cuts, submitted_at="", versions="")


def store_pictures(store, pictures, text, submission=None):
    """Store (n, height, width, 3) pictures as a prompt of seeds 0 to n - 1."""
    submission = submission or submission_of(*pictures.shape[:3])
    for cut in submission.cuts:
        unit = WorkUnit(
            campaign_id=submission.campaign.campaign_id,
            generation_id=submission.campaign.generation_id,
            index=0,
            prompt=text,
            seeds=cut,
        )
        seeds = range(cut.first, cut.last + 1)
        made = [Generation(seed, pictures[seed], None, MADE) for seed in seeds]
        store.create(unit_shard(unit), encode_unit(unit, made))
    return StoredPictures(store, submission, text)


def compare(name, stored, analysis, rounds):
    """One row of the table of `HEADER`."""
    full = analysis.model_copy(update={"matrix": "full"})
    result = stored.analyse(full)
    assert stored.analyse(analysis) == result
    found = interleaved(
        {"pruned": lambda: stored.analyse(analysis), "full": lambda: stored.analyse(full)}, rounds
    )
    prompt = stored.read()
    everything = range(len(prompt.images))
    pairs = len(everything) * (len(everything) - 1) / 2
    any_pair = analysis.model_copy(update={"min_clique_size": 2})
    rejected = 1 - possible_edges(prompt, everything, any_pair).sum() / 2 / pairs
    survivors = possible_edges(prompt, everything, analysis).any(axis=1).sum()
    naive = [naive_seconds(prompt, analysis.tiles) / seconds for seconds in found["pruned"]]
    return (
        f"| {name} | {analysis.edge_threshold} | {'yes' if result.flagged else 'no'} "
        f"({result.clique_size}) | {rejected:.2%} | {survivors} of {len(everything)} "
        f"| {span(found['pruned'], 3)} | **{span(ratios(found['full'], found['pruned']), 1)}** "
        f"| {span(naive, 0)} |"
    )


def compare_parts(name, stored, rounds):
    """One row of the table of `PARTS_HEADER`."""
    off, on = Analysis(), Analysis(partial=True)
    full = on.model_copy(update={"matrix": "full"})
    shift = Analysis(partial=True, parts=PartRule(shift=0.08))
    scale = Analysis(partial=True, parts=PartRule(shift=0.08, scale=0.08))
    result = stored.analyse(full)
    assert stored.analyse(on) == result
    found = interleaved(
        {
            "off": lambda: stored.analyse(off),
            "on": lambda: stored.analyse(on),
            "shift": lambda: stored.analyse(shift),
            "scale": lambda: stored.analyse(scale),
            "decode": stored.decode,
            "full": lambda: stored.analyse(full),
        },
        rounds,
    )
    prompt = stored.read()
    analyse_prompt(prompt, AnalysisSettings(analysis=on), None)
    shown = max((len(part.seeds) for part in result.parts), default=0)
    return (
        f"| {name} | {shown} | {prompt.tally.decoded} of {len(prompt.images)} "
        f"| {span(found['off'], 3)} | {span(found['on'], 3)} | {span(found['shift'], 2)} "
        f"| {span(found['scale'], 2)} | {span(found['decode'], 2)} "
        f"| **{span(ratios(found['full'], found['on']), 1)}** |"
    )


def naive_seconds(prompt, tiles, measured=60):
    """Seconds of CPU to decode all and loop over all pairs, the latter from so many of them."""
    count = len(prompt.images)
    few = range(min(count, 20))
    decoding = cpu_of(lambda: prompt.pixels(few)) / len(few) * count
    pixels = prompt.pixels(few)
    chosen = list(islice(combinations(few, 2), measured))

    def loop():
        for i, j in chosen:
            naive_distance(pixels[i], pixels[j], tiles)

    return decoding + cpu_of(loop) / len(chosen) * count * (count - 1) / 2


def naive_distance(first, second, tiles):
    """Tiled l2 as published, one pair at a time."""
    height, width, _ = first.shape
    a, b = first / 255.0, second / 255.0
    return max(
        np.sqrt(np.mean((a[tile] - b[tile]) ** 2)) for tile in tile_grid(height, width, tiles)
    )


def picture_sets(seeds, side):
    """Name, pictures and edge threshold of each set."""
    tenth = max(seeds // 10, 12)
    yield "photographs", photographs(seeds, side), 0.1
    yield "1/f", pink(seeds, side), 0.1
    yield "example's training pictures, upscaled", example_pictures(seeds, side), 0.1
    yield "same layout", same_layout(seeds, side), 0.1
    yield "same layout", same_layout(seeds, side), 0.15
    copies, _ = with_copies(photographs(seeds, side), tenth, 0.05)
    yield f"photographs, {tenth} near-copies", copies, 0.1
    near, _ = with_copies(photographs(seeds, side), tenth, 0.1)
    yield f"photographs, {tenth} copies about 0.1 apart", near, 0.1
    half, _ = with_copies(photographs(seeds, side), seeds // 2, 0.05)
    yield f"photographs, {seeds // 2} near-copies", half, 0.1


def templates(seeds, side, count):
    """Photographs, of which so many show the first one's middle: (seeds, side, side, 3) uint8."""
    pictures = photographs(seeds, side).copy()
    box = slice(side // 4, 3 * side // 4)
    pictures[:count, box, box] = pictures[0, box, box]
    return pictures


def part_sets(seeds, side):
    """Name and pictures of each set."""
    yield "photographs", photographs(seeds, side)
    yield "1/f", pink(seeds, side)
    yield "same layout", same_layout(seeds, side)
    yield f"photographs, {seeds // 10} with one part", templates(seeds, side, seeds // 10)
    yield "photographs, all with one part", templates(seeds, side, seeds)


def main(seeds, side, rounds, only):
    print(machine("numpy", "opencv-python-headless", "pyarrow"), end="\n\n")
    print(f"{seeds} generations of {side} px, {rounds} rounds; CPU seconds and ratios:\n")
    if only != "parts":
        whole_table(seeds, side, rounds)
    if only != "whole":
        parts_table(seeds, side, rounds)


def whole_table(seeds, side, rounds):
    print(HEADER, flush=True)
    for number, (name, pictures, threshold) in enumerate(picture_sets(seeds, side)):
        with tempfile.TemporaryDirectory() as folder:
            stored = store_pictures(FolderStore(Path(folder)), pictures, f"set {number}")
            print(compare(name, stored, Analysis(edge_threshold=threshold), rounds), flush=True)
    print()


def parts_table(seeds, side, rounds):
    print(PARTS_HEADER, flush=True)
    for number, (name, pictures) in enumerate(part_sets(seeds, side)):
        with tempfile.TemporaryDirectory() as folder:
            stored = store_pictures(FolderStore(Path(folder)), pictures, f"part set {number}")
            print(compare_parts(name, stored, rounds), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["whole", "parts"])
    main(**vars(parser.parse_args()))
