"""What the device's memory, counters and kernel of distances do."""

import contextlib
import math
import time

import numpy as np
import torch

from benchmarks.gpu.bench import PROMPTS, wait_for
from seedsweep.workers.analysis.distances import tile_grid, tiled_pairs
from seedsweep.workers.analysis.inner_products import TorchProducts
from seedsweep.workers.monitoring.gpu_collector import DeviceCollector
from seedsweep.workers.pipelines.loading import load_pipeline


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
    wait_for(device)
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
        worker._models._loaded = {plan.campaign.model.model_id: (plan.campaign, pipeline)}
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
