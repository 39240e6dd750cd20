"""How the analysis grows with Ray actors: prompts per second of two beside one.

    .venv/bin/python -m benchmarks.actors [--prompts 40] [--seeds 250] [--side 256] [--rounds 4]

Photographs, a tenth of the prompts with near-copies among them, lie in a folder and are analysed as
`seedsweep analyse` does. In every round one actor and two take all prompts `TIMES` times, by turns
first; the first time warms up, so that the start of Ray and its actors is outside the figure. A
plain loop in this process, without Ray, shows what Ray itself costs, and the CPU of the driver how
many actors one could keep busy.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.machine import interleaved, machine, ratios, span
from benchmarks.pictures import photographs, with_copies
from benchmarks.prompts import store_pictures, submission_of
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.workers.analysts.actor import AnalysisRequest
from seedsweep.workers.analysts.actor_pool import analyse
from seedsweep.workers.analysts.prompt_result import analyse_stored
from seedsweep.workers.cluster.ray_cluster import Actors

TIMES = 10


def store_prompts(store, prompts, seeds, side):
    """Store a campaign with all its images."""
    submission = submission_of(seeds, side, side, prompts)
    texts = [f"prompt {number}" for number in range(prompts)]
    ordinary = photographs(seeds, side)
    flagged, _ = with_copies(ordinary, max(seeds // 5, 12), 0.05)
    for number, text in enumerate(texts):
        store_pictures(store, ordinary if number % 10 else flagged, text, submission)
    store_campaign(store, submission, texts)
    return submission, texts


def by_actors(store, submission, texts, count, spent):
    """Prompts per second once all were analysed for the first time; notes in `spent` how many
    milliseconds of CPU this process, the driver, took for each."""
    campaign_id, settings = submission.campaign.campaign_id, AnalysisSettings()
    requests = [AnalysisRequest(campaign_id, text, settings) for text in texts] * TIMES
    times = [
        (time.perf_counter(), time.process_time())
        for analysed in analyse(iter(requests), store.url, Actors(count))
        if analysed is not None and analysed.value
    ]
    assert len(times) == len(requests)
    (began, busy_before), (ended, busy_after) = times[len(texts)], times[-1]
    prompts = len(times) - len(texts) - 1
    spent.append(1000 * (busy_after - busy_before) / prompts)
    return prompts / (ended - began)


def by_loop(store, submission, texts):
    """Prompts per second of a loop without Ray."""
    begun = time.perf_counter()
    for text in texts * 2:
        analyse_stored(store, submission, text, AnalysisSettings(), None)
    return 2 * len(texts) / (time.perf_counter() - begun)


def main(prompts, seeds, side, rounds):
    print(machine("ray", "numpy", "opencv-python-headless", "pyarrow"), end="\n\n")
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        submission, texts = store_prompts(store, prompts, seeds, side)
        sides = {
            "one actor": lambda: by_actors(store, submission, texts, 1, spent),
            "two actors": lambda: by_actors(store, submission, texts, 2, spent),
            "a loop without Ray": lambda: by_loop(store, submission, texts),
        }
        found = interleaved(sides, rounds, measure=lambda call: call())
    print(f"{prompts} prompts of {seeds} generations of {side} px, {rounds} rounds:\n")
    print("| | prompts/s | ÷ one actor |\n|---|---|---|")
    for name, rates in found.items():
        print(f"| {name} | {span(rates)} | **{span(ratios(rates, found['one actor']))}** |")
    print(f"\nThe driver's CPU: {span(spent)} ms a prompt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=250)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    main(**vars(parser.parse_args()))
