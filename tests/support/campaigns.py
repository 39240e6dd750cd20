"""Campaigns as tests need them: as records, as files, and in a store with their images."""

import json

import numpy as np

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import store_parked
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.live_state import Restored
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Parked, Submission
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, Sampling
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline


def noise_model(path=""):
    """The model of noise; a path makes it another one."""
    return Model(pipeline="noise", path=path, fingerprint=f"noise:{path}")


def make_campaign(
    name="small",
    *,
    prompts=2,
    keep="all",
    model=None,
    analysis=None,
    verification=None,
    stages=(),
    missed_sample=0.0,
    **sampling,
):
    """A noise campaign of so many prompts: six seeds, three a unit, 16 px, or as changed."""
    usual = {"seeds": 6, "width": 16, "height": 16, "batch_size": 4, "images_per_unit": 3}
    return Campaign(
        name=name,
        keep=keep,
        model=model or noise_model(),
        prompts=PromptList(file="prompts.txt", count=prompts),
        sampling=Sampling(**usual | sampling),
        stages=stages,
        **({"missed_sample": missed_sample} if stages else {}),
        analysis=analysis or Analysis(),
        verification=verification,
    )


def make_submission(campaign, cuts=None, at="2026-01-01T00:00:00+00:00"):
    """The campaign as submitted; without `cuts`, all its seeds are one unit."""
    cuts = cuts or (SeedRange(first=campaign.seeds[0], last=campaign.seeds[-1]),)
    return Submission(campaign=campaign, cuts=cuts, submitted_at=at, versions="v")


def campaign_text(name="small", keep="all", stages=(), missed_sample=None, **tables):
    """The text of a campaign file: noise, prompts of `prompts.txt`, and these tables or others.

    Of few seeds, all together make a clique.
    """
    usual = {"model": {"pipeline": "noise"}, "prompts": {"file": "prompts.txt"}}
    seeds = tables.get("sampling", {}).get("seeds", 500)
    if seeds < 10 and "min_clique_size" not in tables.get("analysis", {}):
        tables["analysis"] = {"min_clique_size": seeds, **tables.get("analysis", {})}
    lines = [f'name = "{name}"', f'keep = "{keep}"']
    lines += [] if missed_sample is None else [f"missed_sample = {missed_sample}"]
    titled = [(f"[{table}]", values) for table, values in (usual | tables).items()]
    for title, values in [*titled, *(("[[stages]]", stage) for stage in stages)]:
        lines += [title, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join([*lines, ""])


def small_sampling(seeds, side, **changes):
    """A campaign file's sampling of square images, and what else it is to say."""
    return {"seeds": seeds, "width": side, "height": side, **changes}


def campaign_file(file, texts, name="small", **tables):
    """Write a campaign file, and its prompts beside it; returns its path."""
    (file.parent / "prompts.txt").write_text("\n".join(texts))
    file.write_text(campaign_text(name, **tables))
    return file


def submit_pairs(store):
    """Store a campaign of 30 prompts with two units each; returns its plan."""
    cuts = (SeedRange(first=0, last=4), SeedRange(first=5, last=9))
    campaign = make_campaign(prompts=30, seeds=10, images_per_unit=5)
    plan = Plan(campaign, [f"prompt {i}" for i in range(30)], cuts)
    submit_campaign(store, plan)
    return plan


def submit_file(store, file):
    """Submit a campaign file as the command line does; returns the stored plan."""
    plan = plan_campaign(store, *read_campaign(file))
    return load_plan(store, submit_campaign(store, plan))


def make_images(store, plan, indexes=None):
    """Generate and store the units of these indexes, or all."""
    indexes = list(range(len(plan)) if indexes is None else indexes)
    if not indexes:
        return
    made_with = plan.campaign.of(plan.settings_of(indexes[0] // len(plan.cuts)))
    pipeline = load_pipeline(store, made_with, "cpu", 1)
    for unit in map(plan.unit, indexes):
        if unit.generation_id != made_with.generation_id:
            made_with = plan.campaign.of(unit.settings)
            pipeline = pipeline.with_sampling(made_with.sampling)
        images = pipeline.generate(unit.prompt, range(unit.seeds.first, unit.seeds.last + 1))
        store.create(unit_shard(unit), encode_unit(unit, images))


def park_unit(store, plan, index, reason="no luck"):
    """Store that the unit was given up."""
    unit = plan.unit(index)
    parked = Parked(index=index, prompt_id=unit.prompt_id, seeds=unit.seeds, reason=reason)
    store_parked(store, plan.campaign.campaign_id, parked)


def nothing_done(prompts, per_prompt=1, **changes):
    """What the ledger is told of an active campaign of which nothing is done, or as changed."""
    usual = {
        "per_prompt": per_prompt,
        "done": np.zeros(prompts * per_prompt, dtype=np.bool_),
        "parked": frozenset(),
        "ready": (),
        "analysed": np.zeros(prompts, dtype=np.bool_),
        "flagged": frozenset(),
        "state": "active",
    }
    return Restored(**usual | changes)
