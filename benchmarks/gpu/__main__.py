"""What a GPU makes of seedsweep, part by part; on a CPU the same code on tiny shapes.

    python -m benchmarks.gpu [PART …] [--device cuda:0] [--tiny]

The model has random weights: Stable Diffusion 1.5's sizes (860 million parameters in its denoiser,
512 px, float16) on a GPU, a small one on a CPU. It needs neither network nor Ray. A worker is the
product's renderer in this process, with ledger, store and writer, fed unit by unit as Celery feeds
it; what Celery itself costs is in `benchmarks.orchestration`. Every part prints its lines as soon
as their figures are there. Exits with 1 if a part failed, or measured nothing.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

import diffusers
import torch
import transformers

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.scale import LARGE, TINY
from benchmarks.machine import machine
from deploy.local.ports import free_ports
from seedsweep.workers.devices import visible_devices


def run_part(name, bench):
    """Print a part's lines; returns whether it ended and said something."""
    began, lines = time.monotonic(), 0
    try:
        for line in PARTS[name](bench):
            print(f"{name}: {line}", flush=True)
            lines += 1
    except Exception:
        traceback.print_exc()
        return False
    if not lines:
        print(f"{name}: MEASURED NOTHING", flush=True)
    print(f"[{name}: {time.monotonic() - began:.0f} s]", file=sys.stderr, flush=True)
    return lines > 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=" ".join(PARTS)
    )
    parser.add_argument("--device", default=visible_devices()[0])
    parser.add_argument("--tiny", action="store_true", help="small shapes on a GPU too")
    asked = parser.parse_args()
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    is_gpu = torch.device(asked.device).type == "cuda"
    scale = LARGE if is_gpu and not asked.tiny else TINY
    print(machine("torch", "diffusers", "numpy"), end="; ")
    print(torch.cuda.get_device_name(asked.device) if is_gpu else "no GPU", flush=True)
    with tempfile.TemporaryDirectory(prefix="seedsweep-gpu-") as folder:
        bench = Bench(Path(folder), scale, asked.device, free_ports(1)[0])
        try:
            print(f"model: {bench.parameters / 1e6:.0f} million parameters", flush=True)
            done = [run_part(name, bench) for name in asked.parts or PARTS]
        finally:
            bench.close()
    sys.exit(not all(done))


if __name__ == "__main__":
    main()
