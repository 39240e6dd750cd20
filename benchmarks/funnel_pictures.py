"""The pictures that `funnel_replay` replays: the campaigns that make them, and what is stored."""

import csv
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.funnel import has_clique
from benchmarks.funnel_curve import FLAG, NEAR, RARE, SAMPLING, finds_of
from benchmarks.screens import EMOJI, marked
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.record import digest
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.shards import list_shards
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.distances import tiled_edges
from seedsweep.workers.stored_images import decode_pixels, read_images

EDGE, TILES = 0.1, 4
AFTER_IT, MORE, SELDOM = 32, 64, 40

TEMPLATE = """name = "funnel-{name}"

[model]
path = "{model}"

[prompts]
file = "{name}.csv"
column = "prompt"

[sampling]
seeds = {seeds}
steps = 12
guidance_scale = 3.0
width = 64
height = 64
batch_size = 16
images_per_unit = 16
"""
STAGE = "\n[[stages]]\nseeds = 16\nmin_clique_size = 2\n"


@dataclass(frozen=True)
class Pictures:
    """Which pairs of a prompt's stored pictures, from seed 0 on, are edges: (n, n) bool."""

    prompt: str
    edges: NDArray[np.bool_]

    @property
    def stored(self):
        return len(self.edges)

    def passes(self, seeds, size):
        """Whether so many first pictures hold a clique of that size; None if nobody knows."""
        known = has_clique(self.edges[:seeds, :seeds], size)
        return known if known or self.stored >= seeds else None


def seldom():
    """The prompts that repeat a picture least, but for those below, by measured seeds."""
    shown, seeds = {}, {}
    for row in pq.read_table(EMOJI / "distances.parquet").to_pylist():
        seeds.setdefault(row["prompt"], set()).add(row["seed"])
        if row["l2"] <= NEAR and row["l2"] < (row["rendering_l2"] or 0):
            shown.setdefault(row["prompt"], {}).setdefault(row["original"], set()).add(row["seed"])
    rates = {
        prompt: max(map(len, pictures.values())) / len(seeds[prompt])
        for prompt, pictures in shown.items()
    }
    found = sorted(((rates[p], p) for p in rates if rates[p] <= RARE), reverse=True)[:SELDOM]
    return {prompt: share for share, prompt in found}


def pictures_of(store, ids):
    """The shards of each prompt by its id and their first seed."""
    (generation_id,) = {load_campaign(store, each).campaign.generation_id for each in ids}
    stored = {}
    for key in list_shards(store, generation_id):
        prompt_id, seeds = keys.parse_shard(key)
        stored.setdefault(prompt_id, {})[seeds.first] = key
    return stored


def edges_of(store, shards):
    """The edges of the pictures from seed 0 on, until one is missing."""
    pixels, seed = [], 0
    while seed in shards:
        images = read_images(store, shards[seed])
        pixels += [decode_pixels(image, SAMPLING) for image in images if image.flaw is None]
        seed += len(images)
    return tiled_edges(np.stack(pixels), TILES, EDGE)


def write_campaigns(folder, known):
    """The files of the campaigns; `more` once something is stored."""
    finds = [find.prompt for find in finds_of(EMOJI / "distances.parquet")]
    clean = [prompt for prompt in marked()[1] if prompt not in finds]
    lists = {
        "first": ({*finds, *clean, *seldom()}, AFTER_IT, STAGE),
        "rare": (seldom(), 500, ""),
        "more": (
            [p for p in known if known[p].stored == AFTER_IT
             and not (p in finds and has_clique(known[p].edges, FLAG))], MORE, "",
        ),
    }  # fmt: skip
    for name, (prompts, seeds, stages) in lists.items():
        if prompts:
            with (folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(
                    [["prompt"], *([p] for p in sorted(prompts, key=digest))]
                )
            text = TEMPLATE.format(name=name, model=EMOJI / "model", seeds=seeds)
            (folder / f"{name}.toml").write_text(text + stages)


def known_pictures(folder):
    """What the store in the folder has of finds, controls and prompts of seldom repeats, by prompt,
    in the order of a hash."""
    if not (folder / "store").exists():
        return {}
    store = open_store(f"file:{(folder / 'store').absolute()}")
    ids = [key.split("/")[1] for key in store.list("campaigns/") if key.endswith("campaign.json")]
    stored = pictures_of(store, ids)
    finds = [find.prompt for find in finds_of(EMOJI / "distances.parquet")]
    shards = {
        text: stored.get(prompt_id_of(text), {})
        for text in sorted({*finds, *marked()[1], *seldom()}, key=digest)
    }
    return {
        text: Pictures(text, edges_of(store, each)) for text, each in shards.items() if 0 in each
    }
