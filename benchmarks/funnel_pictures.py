"""The pictures that `funnel_replay` replays: the campaigns that make them, and what is stored."""

import csv
import tomllib
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.funnel import has_clique
from benchmarks.funnel_curve import DEFAULT, FLAG, NEAR, RARE, SAMPLING, finds_of
from benchmarks.screens import EMOJI, marked
from seedsweep.scheduler.campaign.file import parse_campaign
from seedsweep.storage import keys
from seedsweep.storage.campaigns import list_campaigns, load_campaign
from seedsweep.storage.record import digest
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.shards import list_shards
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.distances import tiled_edges
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.stored_images import decode_pixels, read_images

EDGE, TILES = 0.1, 4
AFTER_IT, MORE, ATTACK, SELDOM = 32, 64, 500, 40

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

    def first(self, seeds):
        """The same prompt, as if no more pictures were stored."""
        return Pictures(self.prompt, self.edges[:seeds, :seeds])


def reached(policy, prompt, lacking):
    """Which stages the prompt passes, one after the other; `lacking` where nobody knows."""
    passed, goes_on = [], True
    for seeds, size in policy:
        told = prompt.passes(seeds, size)
        goes_on = goes_on and (lacking if told is None else told)
        passed.append(goes_on)
    return passed


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


@cache
def controls():
    """The controls that are no find."""
    finds = {find.prompt for find in finds_of(EMOJI / "distances.parquet")}
    return tuple(prompt for prompt in marked()[1] if prompt not in finds)


def generation_of(model):
    """The campaign files' generation id with this folder's model, and the model's fingerprint."""
    raw = tomllib.loads(TEMPLATE.format(name="any", model=model, seeds=ATTACK))
    campaign = parse_campaign(raw, model)
    known = campaign.model.model_copy(update={"fingerprint": fingerprint_model(campaign.model)})
    return campaign.model_copy(update={"model": known}).generation_id, known.fingerprint


def require_one_model(store, model):
    """The id of the store's only generation; ends in a sentence if this model makes another."""
    wanted, fingerprint = generation_of(model)
    for campaign in (load_campaign(store, each).campaign for each in list_campaigns(store)):
        if campaign.generation_id != wanted:
            raise SystemExit(
                f"{store.url} holds pictures of generation {campaign.generation_id}, by the model "
                f"{campaign.model.path} ({campaign.model.fingerprint}), and the model {model} "
                f"({fingerprint}) makes generation {wanted}: name the model that made them with "
                "--model, or take another folder."
            )
    return wanted


def pictures_of(store, generation_id):
    """The shards of each prompt by its id and their first seed."""
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


def attacked(known):
    """The controls that pass the default's stages and show no clique of `FLAG` in the pictures that
    these want: what the full attack says of them, no stored picture tells."""
    looked = [known[p].first(MORE) for p in controls() if p in known]
    return [
        each.prompt
        for each in looked
        if each.stored == MORE
        and all(reached(DEFAULT, each, lacking=False))
        and not has_clique(each.edges, FLAG)
    ]


def write_campaigns(folder, known, model):
    """The files of the campaigns; `more` and `attacked` once there is what they go by."""
    finds = {find.prompt for find in finds_of(EMOJI / "distances.parquet")}
    lists = {
        "first": ({*finds, *controls(), *seldom()}, AFTER_IT, STAGE),
        "rare": (seldom(), ATTACK, ""),
        "more": (
            [p for p in known if known[p].stored == AFTER_IT
             and not (p in finds and has_clique(known[p].edges, FLAG))], MORE, "",
        ),
        "attacked": (attacked(known), ATTACK, ""),
    }  # fmt: skip
    for name, (prompts, seeds, stages) in lists.items():
        if prompts:
            with (folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(
                    [["prompt"], *([p] for p in sorted(prompts, key=digest))]
                )
            text = TEMPLATE.format(name=name, model=model, seeds=seeds)
            (folder / f"{name}.toml").write_text(text + stages)


def known_pictures(folder, model):
    """What the store in the folder has of finds, controls and prompts of seldom repeats, by prompt,
    in the order of a hash. Ends in a sentence if another model made it."""
    if not (folder / "store").exists():
        return {}
    store = open_store(f"file:{(folder / 'store').absolute()}")
    stored = pictures_of(store, require_one_model(store, model))
    finds = [find.prompt for find in finds_of(EMOJI / "distances.parquet")]
    shards = {
        text: stored.get(prompt_id_of(text), {})
        for text in sorted({*finds, *marked()[1], *seldom()}, key=digest)
    }
    return {
        text: Pictures(text, edges_of(store, each)) for text, each in shards.items() if 0 in each
    }
