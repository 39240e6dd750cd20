"""A campaign whose prompts repeat a part of the picture, and training pictures that show some."""

import contextlib

import cv2
import numpy as np
import pytest

from seedsweep.audit.findings import verification
from seedsweep.audit.findings.verification import SearchOptions, verify_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results
from seedsweep.workers.analysts.part_masks import store_masks
from seedsweep.workers.analysts.prompt_result import analyse_stored
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Generation
from tests.support.campaigns import campaign_file, make_submission, small_sampling, submit_file
from tests.support.pictures import data_of, write_parquet
from tests.support.searchers import Here
from tests.support.templates import noise, template

SEEDS, SIDE = 6, 32
CAMERA, BICYCLE, HARBOUR, LAMP = (
    "a camera with flash",
    "one red bicycle",
    "the old harbour",
    "lamp, framed",
)
BOX = slice(8, 24), slice(8, 32)
TABLES = {
    "sampling": small_sampling(SEEDS, SIDE, images_per_unit=SEEDS),
    "analysis": {"tiles": 2, "min_clique_size": 3, "partial": True},
    "analysis.parts": {"grid": 4, "least": 3},
}


MOVING = TABLES | {"analysis.parts": {"grid": 4, "least": 3, "shift": 0.08, "mirror": True}}
"""The camera's part lies elsewhere in each picture, and in the mirror in every third."""

SCALED = TABLES | {"analysis.parts": {"grid": 4, "least": 3, "shift": 0.08, "scale": 0.1}}
"""The camera's part is larger or smaller in most pictures."""

SIZES = (1000, 915, 1080, 930, 1000, 1090)
"""Thousandths of its size."""

SHIFTS = ((0, 0), (2, -1), (-1, 0), (1, 0), (-2, -2), (0, -2))
WHOLE = {"sampling": TABLES["sampling"], "analysis": {"tiles": 2, "min_clique_size": 3}}


def on_other_backgrounds(rng, picture, count):
    """Pictures that show what is in the box of this one, each tinted anew."""
    made = noise(rng, count, SIDE)
    for each in made:
        each[BOX] = np.clip(picture[BOX].astype(int) + rng.integers(-9, 10, 3), 0, 255)
    return made


def moving(pictures):
    """The pictures, each moved as of `SHIFTS`, and every third mirrored then."""
    moved = [np.roll(each, shift, (0, 1)) for each, shift in zip(pictures, SHIFTS, strict=True)]
    return np.stack([each[:, ::-1] if n % 3 == 2 else each for n, each in enumerate(moved)])


def enlarged(picture, thousandths):
    """The picture about its middle, with what is beside it black."""
    middle, scale = (SIDE - 1) / 2, thousandths / 1000
    way = np.array([[scale, 0, middle * (1 - scale)], [0, scale, middle * (1 - scale)]])
    return cv2.warpAffine(picture, way, (SIDE, SIDE), flags=cv2.INTER_CUBIC)


def submit_pictures(folder, store, name, pictures, tables):
    """Store a campaign of these pictures, by prompt, and its results: its plan, its submission and
    the results."""
    plan = submit_file(store, campaign_file(folder / f"{name}.toml", [*pictures], name, **tables))
    campaign = plan.campaign
    submission = make_submission(campaign, plan.cuts)
    [made] = load_pipeline(store, campaign, "cpu", 1).generate(CAMERA, [0])
    for unit in map(plan.unit, range(len(plan))):
        shown = pictures[unit.prompt]
        generated = [Generation(seed, shown[seed], None, made.provenance) for seed in range(SEEDS)]
        store.create(unit_shard(unit), encode_unit(unit, generated))
    results = [
        analyse_stored(store, submission, text, campaign.settings, None)[0] for text in pictures
    ]
    store_results(store, campaign.analysis_id, campaign.campaign_id, results)
    return plan, submission, results


class PartCampaign:
    """Four prompts repeat a part. Three training pictures show the camera's, of captions that speak
    of a camera; two the bicycle's, one of which is called otherwise; none the harbour's. The lamp's
    is the harbour's."""

    def __init__(self, folder, tables=TABLES):
        self.folder, self.store = folder, FolderStore(folder / "seedsweep-data")
        rng = np.random.default_rng(0)
        pictures = {prompt: template(rng, SEEDS, *BOX, SIDE) for prompt in (CAMERA, BICYCLE)}
        if tables is MOVING:
            pictures[CAMERA] = moving(pictures[CAMERA])
        if tables is SCALED:
            sizes = zip(pictures[CAMERA], SIZES, strict=True)
            pictures[CAMERA] = np.stack([enlarged(*each) for each in sizes])
        pictures[HARBOUR] = template(rng, SEEDS, *BOX, SIDE)
        pictures[LAMP] = on_other_backgrounds(rng, pictures[HARBOUR][0], SEEDS)
        self.plan, self.submission, self.results = submit_pictures(
            folder, self.store, "parts", pictures, tables
        )
        self.pictures, self.id = pictures, self.plan.campaign.campaign_id
        cameras = on_other_backgrounds(rng, pictures[CAMERA][0], 3)
        if tables is MOVING:
            cameras = np.roll(cameras, SHIFTS[1], (1, 2))
        if tables is SCALED:
            cameras = np.stack([enlarged(camera, SIZES[1]) for camera in cameras])
        bicycles = on_other_backgrounds(rng, pictures[BICYCLE][0], 2)
        training = [*noise(rng, 20, SIDE), *cameras, *bicycles]
        captions = ["nothing"] * 20 + ["camera", "Flash at night", "big CAMERA"]
        captions += ["my bicycle", "a frame"]
        files = [data_of(picture) for picture in training]
        write_parquet(folder / "train.parquet", files, rows=7, caption=captions)
        controls = [*noise(rng, 5, SIDE), on_other_backgrounds(rng, pictures[CAMERA][0], 1)[0]]
        write_parquet(folder / "strangers.parquet", [data_of(p) for p in controls[:5]])
        write_parquet(folder / "leaked.parquet", [data_of(p) for p in controls])

    def store_results(self, results):
        """Have these be the results of the analysis."""
        drop_results(self.store, self.id, {result.prompt_id for result in self.results})
        store_results(self.store, self.plan.campaign.analysis_id, self.id, results)

    def store_masks(self):
        """Store the masks of all parts."""
        campaign = self.plan.campaign
        whose, rule = (campaign.analysis_id, self.id), campaign.settings.analysis.parts
        for result in self.results:
            prompt = read_prompt(self.store, self.submission, result.prompt)
            store_masks(self.store, whose, prompt, result, rule)


def part_search(made, **options):
    """Search the campaign's training set, in this process."""
    chosen = SearchOptions(training_set=made.folder / "train.parquet", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "searchers", lambda actors: contextlib.nullcontext(Here()))
        return verify_campaign(made.store, made.id, chosen, Actors(1), lambda done, total: None)
