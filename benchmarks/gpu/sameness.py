"""Whether a picture made again is the same: on the device, after a crash, and on a CPU."""

import csv
import itertools
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.gpu.bench import PROMPTS, SPED_UP
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.shards import decode_shard
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.distances import l2_to_all
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.generation.replay import make_again, read_recorded
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.images import decode_png
from seedsweep.workers.pipelines.loading import load_pipeline

EXAMPLE = Path(__file__).parents[2] / "examples" / "emoji"


def equal(bench):
    """Whether a unit's pixels are the same however it comes to be made; how far other settings
    move them."""
    batch_size, other = bench.scale.batch_sizes[:2]
    made = partial(_made, bench, 2 * batch_size)
    once = made(batch_size)
    promised = {
        "made twice": lambda: made(batch_size),
        "in other order": lambda: made(batch_size, turned=True),
        "with other seeds beside them, in padded batches": lambda: made(batch_size, batch_size - 1),
        "after a killed worker": lambda: _after_a_kill(bench, 2 * batch_size, batch_size),
    }
    broken = []
    for way, again in promised.items():
        images = again()
        yield f"{way}: {_apart(once, images)}"
        if any(not np.array_equal(once[name], images[name]) for name in once):
            broken.append(way)
    apart = _apart(once, made(other, batch_size))
    yield f"in batches of {other}, not {batch_size}: {apart}"
    assert not broken, f"other pixels {broken}"


def compiled(bench):
    """How far compiling moves a unit's pixels."""
    batch_size = bench.scale.batch_sizes[0]
    plain, sped_up = (_made(bench, batch_size, batch_size, **options) for options in ({}, SPED_UP))
    yield f"compiled, channels_last: {_apart(plain, sped_up)}"


def _made(bench, seeds, batch_size, per_unit=None, turned=False, **options):
    """The pixels of so many seeds of two prompts, as a worker makes them into a fresh store."""
    store = bench.fresh_store()
    per_unit = per_unit or batch_size
    plan = bench.submit(seeds, batch_size, per_unit, PROMPTS[:2], store, **options)
    units = list(bench.issue(plan))
    with bench.renderer(store) as worker:
        worker.render_all(units[::-1] if turned else units)
    return _pixels(store, plan)


def _after_a_kill(bench, seeds, batch_size):
    """Have a process of its own make units until the first is stored, kill it, make the rest."""
    store = bench.fresh_store()
    plan = bench.submit(seeds, batch_size, batch_size, PROMPTS[:2], store)
    child = multiprocessing.get_context("spawn").Process(
        target=_generate_for_ever, args=(store.url, plan.campaign.campaign_id, bench.device)
    )
    child.start()
    while not any(store.list("shards/")):
        assert child.is_alive(), "the worker that is to be killed ended by itself"
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    again = bench.submit(seeds, batch_size, batch_size, PROMPTS[:2], store)
    with bench.renderer(store) as worker:
        worker.render_all(unit for unit in bench.issue(again))
    return _pixels(store, again)


def _generate_for_ever(url, campaign_id, device):
    store = open_store(url)
    plan = load_plan(store, load_campaign(store, campaign_id))
    pipeline = load_pipeline(store, plan.campaign, device, 1)
    for index in itertools.cycle(range(len(plan))):
        unit = plan.unit(index)
        made = pipeline.generate(unit.prompt, range(unit.seeds.first, unit.seeds.last + 1))
        store.create(unit_shard(unit), encode_unit(unit, made))


def _pixels(store, plan):
    """(prompt, seed) → pixels of all of a campaign's images."""
    found, sampling = {}, plan.campaign.sampling
    for index in range(len(plan)):
        unit = plan.unit(index)
        key = unit_shard(unit)
        for image in decode_shard(store.read(key), key):
            pixels = decode_png(image.png, sampling.width, sampling.height)
            found[unit.prompt, image.seed] = pixels
    return found


def _apart(some, others):
    """In words, how far two sets of equal images are apart."""
    assert some.keys() == others.keys()
    pairs = [(some[name], others[name]) for name in some]
    alike = sum(np.array_equal(a, b) for a, b in pairs)
    if alike == len(pairs):
        return f"{alike} of {alike} images bit-equal"
    levels = max(int(np.abs(a.astype(np.int16) - b).max()) for a, b in pairs)
    l2 = max(float(l2_to_all(a, b[None])[0]) for a, b in pairs)
    return f"{alike} of {len(pairs)} bit-equal; at most {levels} levels, l2 {l2:.5f}"


def example(bench):
    """Prompts of the example made on the device and on the CPU: the same ones flagged?"""
    with (EXAMPLE / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    always = [row["prompt"] for row in rows if float(row["repeat_rate"]) > 0.9]
    never = (EXAMPLE / "untrained.txt").read_text().splitlines()
    half = bench.scale.prompts // 2
    found = {}
    for device in dict.fromkeys((bench.device, "cpu")):
        found[device] = _run_example(bench, [*always[:half], *never[:half]], device)
    flagged, pixels = found[bench.device]
    on_cpu, cpu_pixels = found["cpu"]
    same = "the same" if flagged == on_cpu else "OTHERS"
    yield (
        f"{2 * half} prompts of {bench.scale.seeds} seeds: {len(flagged)} flagged on "
        f"{bench.device}, {len(on_cpu)} on the CPU, {same}; pixels: {_apart(pixels, cpu_pixels)}"
    )
    assert flagged == on_cpu, f"flagged on one of the two alone: {flagged ^ on_cpu}"


def _run_example(bench, prompts, device):
    """Make these prompts' images and judge them: the flagged prompts, and all pixels."""
    folder = bench.folder / f"example-{device.replace(':', '-')}"
    folder.mkdir()
    for name in ("model", "train.parquet"):
        (folder / name).symlink_to(EXAMPLE / name)
    text, seeds = (EXAMPLE / "campaign.toml").read_text(), f" = {bench.scale.seeds}\n"
    for key in ("seeds", "images_per_unit"):
        assert f"\n{key} = 32\n" in text
        text = text.replace(f"\n{key} = 32\n", f"\n{key}{seeds}")
    (folder / "campaign.toml").write_text(text)
    (folder / "prompts.csv").write_text("\n".join(["prompt", *prompts]))
    store = FolderStore(folder / "store")
    made = plan_campaign(store, *read_campaign(folder / "campaign.toml"))
    plan = load_plan(store, submit_campaign(store, made))
    pipeline = load_pipeline(store, plan.campaign, device, 1)
    for unit in map(plan.unit, range(len(plan))):
        images = pipeline.generate(unit.prompt, range(unit.seeds.first, unit.seeds.last + 1))
        store.create(unit_shard(unit), encode_unit(unit, images))
    settings = AnalysisSettings(analysis=plan.campaign.analysis)
    analyst, flagged = AnalysisActor(store.url), set()
    for prompt in prompts:
        request = AnalysisRequest(plan.campaign.campaign_id, prompt, settings)
        if analyst.analyse(request).value.flagged:
            flagged.add(prompt)
    return flagged, _pixels(store, plan)


def replay(bench):
    """Images made again from their records, on the same device."""
    count, batch_size = bench.scale.replayed, bench.scale.batch_sizes[0]
    store = bench.fresh_store()
    plan = bench.submit(count, batch_size, count, PROMPTS[:1], store)
    with bench.renderer(store) as worker:
        worker.render_all(bench.issue(plan))
    images = read_recorded(store, plan.campaign, plan.unit(0), range(count))
    again = list(make_again(store, plan.campaign, images, bench.device))
    alike = sum(replayed.sha256 == replayed.sha256_here for replayed in again)
    yield f"{alike} of {count} images bit-equal"
    assert alike == count == len(again), "not all replayed images are equal"
