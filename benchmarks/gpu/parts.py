"""The parts of the GPU benchmark: each yields lines as soon as their figures are there."""

import contextlib
import csv
import itertools
import math
import multiprocessing
import os
import signal
import statistics
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.bench import PROMPTS, Busy
from benchmarks.machine import cpu_of, span
from benchmarks.pictures import pink
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS
from seedsweep.storage.shards import decode_shard
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.descriptors import describe
from seedsweep.workers.analysis.distances import l2_to_all, tile_grid, tiled_pairs
from seedsweep.workers.analysis.inner_products import TorchProducts
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.generation.replay import make_again, read_recorded
from seedsweep.workers.generation.shard_writer import Writer, encode_unit
from seedsweep.workers.images import decode_png, digest_pixels, encode_png
from seedsweep.workers.monitoring.gpu_collector import DeviceCollector
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Generation

EXAMPLE = Path(__file__).parents[2] / "examples" / "emoji"
MARK = 0.97
WRITER_MARK = 40
WRITER_SIDE = 512
"""The writer is a CPU's work, and so measured at the size of real pictures everywhere."""

SPED_UP = {"compile": True, "channels_last": True}


def generate(bench):
    """Images/s of a worker with ledger, store and writer ÷ the bare diffusers loop's, in turn."""
    first, *others = bench.scale.batch_sizes
    for batch_size, options in ((first, {}), *((size, {}) for size in others), (first, SPED_UP)):
        yield _compare_with_bare(bench, batch_size, options)


def _compare_with_bare(bench, batch_size, options):
    scale, per_round = bench.scale, bench.scale.batches // 2 + 1
    units_wanted = 1 + scale.rounds * per_round
    per_unit = 2 * batch_size
    plan = bench.submit(
        per_unit * math.ceil(units_wanted / len(PROMPTS)), batch_size, per_unit, **options
    )
    units, workers, bares, idle = bench.issue(plan), [], [], []
    with bench.renderer() as worker:
        # Loads the model, compiles it, and fills the caches.
        worker.render_all([next(units)])
        for _ in range(scale.rounds):
            before = _bare_rate(worker.pipeline, batch_size, scale.batches // 2, bench.device)
            with Busy(bench.device) as busy:
                worker.render_all(itertools.islice(units, per_round))
            # From one unit handed to the writer to another: it works beside all the while, as in a
            # campaign. From one stored to another, the last would be encoded beside nothing.
            took = worker.handed_at[-1] - worker.handed_at[-per_round]
            workers.append((per_round - 1) * per_unit / took)
            after = _bare_rate(worker.pipeline, batch_size, scale.batches // 2, bench.device)
            bares.append(2 / (1 / before + 1 / after))
            idle.append(busy.idle)
    ratios = [one / other for one, other in zip(workers, bares, strict=True)]
    known = [share for share in idle if share is not None]
    return (
        f"batch {batch_size}{', compile, channels_last' if options else ''}: worker "
        f"{span(workers)} images/s ÷ bare {span(bares)} = {span(ratios, 3)}; GPU idle "
        f"{f'{statistics.median(known):.1%}' if known else 'not known'}; {_verdict(ratios, MARK)}"
    )


def _bare_rate(loaded, batch_size, batches, device):
    """Images/s of a plain loop over the very pipeline that the worker has loaded."""
    pipeline, arguments = loaded._pipeline, loaded._arguments
    _wait_for(device)
    began = time.perf_counter()
    with torch.inference_mode():
        for batch in range(batches):
            seeds = range(10**6 + batch * batch_size, 10**6 + (batch + 1) * batch_size)
            pipeline(
                prompt=PROMPTS[0],
                num_images_per_prompt=batch_size,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
                **arguments,
            )
    _wait_for(device)
    return batches * batch_size / (time.perf_counter() - began)


def _verdict(values, mark):
    """Whether every round met the mark; between the two nothing is shown."""
    if min(values) >= mark:
        return f"mark {mark} met in all {len(values)} rounds"
    if max(values) < mark:
        return f"mark {mark} MISSED in all {len(values)} rounds"
    return f"mark {mark} not shown (n = {len(values)})"


def _wait_for(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def writer(bench):
    """Images/s that one writer encodes, describes and stores, alone and beside a busy generator."""
    pictures, count = pink(16, WRITER_SIDE), bench.scale.pictures
    yield "; ".join(f"{name} {took:.1f} ms" for name, took in _profile(pictures)) + " of a core"
    plan = bench.submit(4, bench.scale.batch_sizes[0], 4)
    pipeline = load_pipeline(bench.store, plan.campaign, bench.device, 1)
    provenance = pipeline.generate(PROMPTS[0], range(1))[0].provenance
    ready = [Generation(seed, picture, None, provenance) for seed, picture in enumerate(pictures)]
    alone = [_written_rate(bench, ready, count) for _ in range(bench.scale.rounds)]
    yield f"alone: {span(alone, 1)} images/s of {WRITER_SIDE} px"
    stopped, made = threading.Event(), itertools.count()

    def keep_busy():
        while not stopped.is_set():
            pipeline.generate(PROMPTS[0], range(bench.scale.batch_sizes[0]))
            next(made)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        beside = [_written_rate(bench, ready, count) for _ in range(bench.scale.rounds)]
    finally:
        stopped.set()
        thread.join()
    yield (
        f"beside a thread that generated {next(made)} batches: {span(beside, 1)} images/s, cores: "
        f"{len(os.sched_getaffinity(0))}; {_verdict(beside, WRITER_MARK)}"
    )


def _profile(pictures):
    """What the writer does with a picture, in ms of CPU."""
    work = {
        "encoded": encode_png,
        "described": lambda picture: describe(picture, DEFAULT_BLOCKS),
        "hashed": digest_pixels,
    }
    for name, call in work.items():
        call(pictures[0])
        spent = cpu_of(lambda call=call: [call(picture) for picture in pictures])
        yield name, 1000 * spent / len(pictures)


def _written_rate(bench, ready, count):
    """Hand units of these generations to the worker's writer as fast as it takes them."""
    store, done, failed = bench.fresh_store(), threading.Semaphore(0), []
    plan = bench.submit(len(ready), len(ready), len(ready), store=store)

    def fail(unit, error):
        failed.append(error)
        done.release()

    written = Writer(store, lambda unit: done.release(), fail)
    began = time.perf_counter()
    units = count // len(ready)
    for number in range(units):
        prompt = f"{PROMPTS[number % len(PROMPTS)]} {number}"
        unit = plan.unit(0).model_copy(update={"prompt": prompt})
        written.put(unit, unit_shard(unit), partial(encode_unit, unit, ready))
    for _ in range(units):
        done.acquire()
    took = time.perf_counter() - began
    written.close()
    if failed:
        raise failed[0]
    return units * len(ready) / took


def equal(bench):
    """Whether a unit's pixels are the same however it comes to be made; how far other settings
    move them."""
    batch_size = bench.scale.batch_sizes[0]
    per_unit, seeds = batch_size, 2 * batch_size

    def made(per_unit=per_unit, batch_size=batch_size, turned=False, **options):
        store = bench.fresh_store()
        plan = bench.submit(seeds, batch_size, per_unit, PROMPTS[:2], store, **options)
        units = list(bench.issue(plan))
        with bench.renderer(store) as worker:
            worker.render_all(units[::-1] if turned else units)
        return _pixels(store, plan)

    once = made()
    promised = {
        "made twice": made,
        "in other order": lambda: made(turned=True),
        "with other seeds beside them, in padded batches": lambda: made(per_unit=batch_size - 1),
        "after a killed worker": lambda: _after_a_kill(bench, seeds, batch_size),
    }
    broken = []
    for way, again in promised.items():
        images = again()
        yield f"{way}: {_apart(once, images)}"
        if any(not np.array_equal(once[name], images[name]) for name in once):
            broken.append(way)
    other = bench.scale.batch_sizes[1]
    apart = _apart(once, made(batch_size=other))
    yield f"in batches of {other}, not {batch_size}: {apart}"
    yield f"compiled, channels_last: {_apart(once, made(**SPED_UP))}"
    assert not broken, f"other pixels {broken}"


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


def distances(bench):
    """The device's exact distance matrix beside the CPU's and torch.cdist."""
    side, count = bench.scale.side, bench.scale.matrix
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    images[1] = images[0] // 2 + 60
    inner = TorchProducts(bench.device)
    tiled_pairs(images[:8], 4, 0.1, inner)
    seconds, found = {}, {}
    sides = {
        "ours": lambda: tiled_pairs(images, 4, 0.1, inner).distances,
        "cpu": lambda: tiled_pairs(images, 4, 0.1).distances,
        "torch.cdist": lambda: _by_cdist(images, bench.device),
    }
    for name, call in sides.items():
        began = time.perf_counter()
        found[name] = call()
        seconds[name] = time.perf_counter() - began
    ours = found["ours"]
    is_equal = np.array_equal(ours, found["cpu"])
    error = float(np.abs(found["torch.cdist"] - ours).max())
    yield (
        f"{count} images of {side} px on {bench.device}: {seconds['ours']:.2f} s, "
        f"{'bit-equal to' if is_equal else 'OTHER THAN'} the CPU's "
        f"({seconds['cpu']:.2f} s on one thread); torch.cdist "
        f"{seconds['torch.cdist']:.2f} s, off by up to {error:.0e}; ours ÷ cdist "
        f"{seconds['ours'] / seconds['torch.cdist']:.2f}"
    )
    assert is_equal, "the device's distances are other ones than the CPU's"


def _by_cdist(images, device):
    worst = torch.zeros(len(images), len(images), device=device)
    for tile in tile_grid(*images.shape[1:3], 4):
        rows = torch.from_numpy(images[:, *tile].reshape(len(images), -1)).to(device).float() / 255
        worst = torch.maximum(worst, torch.cdist(rows, rows) / math.sqrt(rows.shape[1]))
    _wait_for(device)
    return worst.cpu().numpy()


def memory(bench):
    """A batch that does not fit is halved, the images say so, and the next unit starts there."""
    batch_size = bench.scale.batch_sizes[-1]
    store = bench.fresh_store()
    plan = bench.submit(batch_size, batch_size, batch_size, PROMPTS[:2], store)
    units = bench.issue(plan)
    pipeline = load_pipeline(store, plan.campaign, bench.device, 1)
    with bench.renderer(store) as worker, _too_little_memory(bench, pipeline) as (limit, batches):
        # The worker loads the model itself: what was loaded to measure with is what it is given.
        worker._loaded = plan.campaign, pipeline
        worker.render_all([next(units)])
        first = list(batches)
        batches.clear()
        worker.render_all([next(units)])
        second = list(batches)
    sizes = {
        image.provenance.batch_size
        for index in range(2)
        for image in bench.images(plan, index, store).values()
    }
    is_right = len(first) > len(second) and max(sizes) < batch_size == first[0] > second[0]
    yield (
        f"{limit}: a unit of {batch_size} was tried in batches of {first}, the next of {second}; "
        f"the images say {sorted(sizes)}: "
        f"{'halved, recorded, remembered' if is_right else 'WRONG'}"
    )
    assert is_right, "a batch that did not fit was not halved, recorded and remembered"


@contextlib.contextmanager
def _too_little_memory(bench, pipeline):
    """Have the largest batch not fit; yields how, and the list of the batches that are tried."""
    batches, call, largest = [], pipeline._batch, bench.scale.batch_sizes[-1]

    def noting(prompt, seeds, batch_size):
        batches.append(batch_size)
        if not bench.is_gpu and batch_size == largest:
            raise torch.OutOfMemoryError("as if the device were full")
        return call(prompt, seeds, batch_size)

    pipeline._batch = noting
    if not bench.is_gpu:
        yield "a stand-in for a full device, since a CPU has no such limit", batches
        return
    peaks = []
    for size in (largest // 2, largest):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
        call(PROMPTS[0], range(size), size)
        peaks.append(torch.cuda.max_memory_reserved(bench.device))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(bench.device).total_memory
    share = (peaks[0] + peaks[1]) / 2 / total
    torch.cuda.set_per_process_memory_fraction(share, torch.device(bench.device))
    try:
        yield f"{share * total / 2**30:.1f} GiB of {total / 2**30:.0f}", batches
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, torch.device(bench.device))


def metrics(bench):
    """What a worker shows Prometheus of its GPU."""
    if bench.is_gpu:
        torch.zeros(1, device=bench.device)
    shown = [s for family in DeviceCollector(bench.device).collect() for s in family.samples]
    if not bench.is_gpu:
        yield f"{len(shown)} series of a CPU, as it should be; not examined without a GPU"
        return
    for sample in shown:
        yield f"{sample.name} {sample.labels} {sample.value:g}"
    assert len(shown) == 3, "NVML does not show used and total memory and the utilisation"


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


PARTS = {
    part.__name__: part
    for part in (generate, writer, equal, distances, memory, metrics, example, replay)
}
