"""What planning, submitting and showing a campaign of the paper's size costs in time and memory.

    .venv/bin/python -m benchmarks.submission [ROUNDS]

350,000 prompts of about 75 characters × 500 seeds (3.5 million units) into an empty folder store,
each command a process of its own. Printed are seconds and peak memory: the median over the rounds,
the lowest and the highest. The same of a campaign of 350 prompts is beside it.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine

CAMPAIGN = """
name = "size"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = 500
"""
COMMANDS = {
    "plan": ("plan", "campaign.toml", "--images-per-second", "100"),
    "submit": ("submit", "campaign.toml"),
    "status, without a broker": ("status",),
}
SIZES = (350, 350_000)


def write_prompts(file, count):
    random.seed(1)
    words = ["".join(random.choices("aeiounrstlmd", k=random.randint(2, 9))) for _ in range(4000)]
    lines = (f"{i} {' '.join(random.choices(words, k=11))}\n" for i in range(count))
    file.write_text("".join(lines))


def measure(folder, arguments):
    """Seconds and peak megabytes of one command in a process of its own."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("SEEDSWEEP_")}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "seedsweep.cli", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def campaign_round(count):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "campaign.toml").write_text(CAMPAIGN)
        write_prompts(folder / "prompts.txt", count)
        return {about: measure(folder, arguments) for about, arguments in COMMANDS.items()}


def main(rounds=5):
    print(machine("pyarrow", "pydantic"), f"{rounds} rounds", sep="; ", end="\n\n")
    print("| prompts | command | s | lowest | highest | MB | lowest | highest |")
    print("|---|---|---|---|---|---|---|---|")
    for count in SIZES:
        found = [campaign_round(count) for _ in range(rounds)]
        for about in COMMANDS:
            cells = []
            for values in zip(*(each[about] for each in found), strict=True):
                cells += [statistics.median(values), min(values), max(values)]
            seconds, memory = cells[:3], cells[3:]
            words = [f"{v:.1f}" for v in seconds] + [f"{v:.0f}" for v in memory]
            print(f"| {count:,} | {about} | {' | '.join(words)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
