"""How fast a worker makes pictures, and how fast one process writes them."""

import itertools
import math
import os
import statistics
import threading
import time
from functools import partial

import torch

from benchmarks.gpu.bench import PROMPTS, SPED_UP, Busy, wait_for
from benchmarks.machine import cpu_of, span
from benchmarks.pictures import pink
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS
from seedsweep.workers.analysis.descriptors import describe
from seedsweep.workers.generation.shard_writer import Writer, encode_unit
from seedsweep.workers.images import digest_pixels, encode_png
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Generation

MARK = 0.97
WRITER_MARK = 40
WRITER_SIDE = 512
"""The writer is a CPU's work, and so measured at the size of real pictures everywhere."""


def generate(bench):
    """Images/s of a worker with ledger, store and writer ÷ the bare diffusers loop's, in turn."""
    for batch_size in bench.scale.batch_sizes:
        yield _compare_with_bare(bench, batch_size)


def generate_compiled(bench):
    """The same with `compile` and `channels_last`, which both sides have."""
    yield _compare_with_bare(bench, bench.scale.batch_sizes[0], **SPED_UP)


def _compare_with_bare(bench, batch_size, **options):
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
        bare = partial(
            _bare_rate,
            worker.pipeline(plan.campaign),
            batch_size,
            scale.batches // 2,
            bench.device,
        )
        for _ in range(scale.rounds):
            before = bare()
            with Busy(bench.device) as busy:
                worker.render_all(itertools.islice(units, per_round))
            # From one unit handed to the writer to another: it works beside all the while, as in a
            # campaign. From one stored to another, the last would be encoded beside nothing.
            took = worker.handed_at[-1] - worker.handed_at[-per_round]
            workers.append((per_round - 1) * per_unit / took)
            after = bare()
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
    wait_for(device)
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
    wait_for(device)
    return batches * batch_size / (time.perf_counter() - began)


def _verdict(values, mark):
    """Whether every round met the mark; between the two nothing is shown."""
    if min(values) >= mark:
        return f"mark {mark} met in all {len(values)} rounds"
    if max(values) < mark:
        return f"mark {mark} MISSED in all {len(values)} rounds"
    return f"mark {mark} not shown (n = {len(values)})"


def writer(bench):
    """Images/s that one writer encodes, describes and stores, alone and beside a busy generator."""
    count = bench.scale.pictures
    pictures = pink(min(16, count), WRITER_SIDE)
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

    written = Writer(store, fail)
    began = time.perf_counter()
    units = count // len(ready)
    for number in range(units):
        prompt = f"{PROMPTS[number % len(PROMPTS)]} {number}"
        unit = plan.unit(0).model_copy(update={"prompt": prompt})
        encode = partial(encode_unit, unit, ready)
        written.put(unit, unit_shard(unit), encode, lambda unit: done.release())
    for _ in range(units):
        done.acquire()
    took = time.perf_counter() - began
    written.close()
    if failed:
        raise failed[0]
    return units * len(ready) / took
