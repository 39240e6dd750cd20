"""How several `seedsweep run`s get on that are started at once on one machine.

    python -m benchmarks.side_by_side [--runs 8] [--seeds 40]

Prints for each how it ended, after how long, and what it said if it did not end well; and the load.
Exit code 1 if one ended neither well nor with a sentence.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.machine import machine, span

CAMPAIGN = """
name = "run-{number}"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = {seeds}
width = 64
height = 64
images_per_unit = 10
[analysis]
min_clique_size = 5
"""
LIMIT_SECONDS = 1800


def start(folder, number, seeds):
    """Start a run in a folder of its own."""
    place = folder / str(number)
    place.mkdir()
    (place / "campaign.toml").write_text(CAMPAIGN.format(number=number, seeds=seeds))
    (place / "prompts.txt").write_text("a cat\na dog\na cow\nan owl\n")
    return subprocess.Popen(
        [sys.executable, "-m", "seedsweep.cli", "run", "campaign.toml"],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def follow(process, began, ended):
    """Wait for a run; adds its seconds, exit code and what it said."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        _, said = process.communicate(timeout=LIMIT_SECONDS)
        ended[process] = time.monotonic() - began, process.returncode, said.splitlines()
    process.kill()


def main():
    """Start all at once, and tell how each ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=40)
    given = parser.parse_args()
    print(machine("torch", "celery", "ray", "redis"), end="\n\n", flush=True)
    ended, began, loads = {}, time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="seedsweep-benchmark-") as folder:
        runs = [start(Path(folder), number, given.seeds) for number in range(given.runs)]
        threads = [threading.Thread(target=follow, args=(run, began, ended)) for run in runs]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            loads.append(os.getloadavg()[0])
            threads[0].join(1)
            time.sleep(1)
    for number, run in enumerate(runs):
        seconds, code, said = ended.get(run, (LIMIT_SECONDS, None, []))
        waited = [line for line in said if line.startswith("Ray is not ready")]
        last = "; ".join(said[-3:]) if code else f"{len(waited)} times that Ray is waited for"
        print(f"run {number}: exit {code} after {seconds:.0f} s, {last}")
    well = [each[0] for each in ended.values() if each[1] == 0]
    print(f"\n{len(well)} of {given.runs} ended well, load up to {max(loads):.1f}.")
    if well:
        print(f"Seconds: {span(well, 1)}")
    sentences = all(code == 0 or said for _, code, said in ended.values())
    tracebacks = any("Traceback" in line for _, _, said in ended.values() for line in said)
    sys.exit(len(ended) < given.runs or not sentences or tracebacks)


if __name__ == "__main__":
    main()
