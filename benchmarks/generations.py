"""How much descriptors spare on real generations: those of the example model, upscaled or not.

    .venv/bin/python -m benchmarks.generations [--prompts 8] [--seeds 250] [--rounds 3]

Makes the seeds of evenly spread prompts of examples/emoji/campaign.toml with its model, stores each
prompt as it is (64 px) and enlarged (512 px), and judges it from there: by descriptors first, and
by the full matrix, whose result must be the same. Generating takes about 12 images a second on a
core.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.pictures import upscaled
from benchmarks.prompts import HEADER, compare, store_pictures
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.workers.pipelines.loading import load_pipeline

EXAMPLE = Path(__file__).parents[1] / "examples" / "emoji" / "campaign.toml"
EDGES = (0.1, 0.2)


def main(prompts, seeds, rounds):
    print(machine("torch", "diffusers", "numpy", "opencv-python-headless"), end="\n\n")
    campaign, texts, _ = read_campaign(EXAMPLE)
    chosen = texts[:: max(1, len(texts) // prompts)][:prompts]
    print(f"{seeds} generations of each prompt, {rounds} rounds; CPU seconds and ratios:\n")
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        pipeline = load_pipeline(store, campaign, "cpu", 1)
        for text in chosen:
            small = np.stack([made.pixels for made in pipeline.generate(text, range(seeds))])
            for pictures in (small, upscaled(small)):
                stored = store_pictures(store, pictures, text)
                for edge in EDGES:
                    name = f"{text}, {pictures.shape[1]} px"
                    analysis = campaign.analysis.model_copy(
                        update={"edge_threshold": edge, "min_clique_size": max(2, seeds // 50)}
                    )
                    print(compare(name, stored, analysis, rounds), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
