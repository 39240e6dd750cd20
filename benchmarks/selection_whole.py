"""A whole `seedsweep select` of pictures in files, as people run it: what it takes and finds.

    .venv/bin/python -m benchmarks.selection_whole [--training N] [--actors N] [--folder FOLDER]

The set is that of `benchmarks.selection`: strangers and a tenth of edited copies, in files of ten
thousand that are made one by one. With `--folder` they stay, and a run that was cut goes on. The
command chooses all prompts of pictures with copies, 100 outliers and 100 others. CPU and memory are
those of its processes, looked up once a second: CPU so far, and the most memory of one, with and
without pages of files, which the system takes back if it needs them. A prompt says how many copies
its picture has, not which: by edit are told those of pictures with one planted copy, of all
together how many are missing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.machine import machine
from benchmarks.selection import EDITS, FILE_ROWS, write_file
from seedsweep.audit.findings.intervals import rate

ANOTHER = list(EDITS)[-1]
"""The edit that makes another picture by the rule."""

DRIVER, ACTOR, OTHERS = "driver", "actor", "Ray's own processes"


def write_missing(folder, count):
    """The set's files, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, start in enumerate(range(0, count, FILE_ROWS)):
        files.append(folder / f"{number:05}.parquet")
        if not files[-1].exists():
            write_file(folder, number, min(FILE_ROWS, count - start), 0.0)
    return files


def role(process, driver):
    if process.pid == driver:
        return DRIVER
    return ACTOR if "Describer" in " ".join(process.cmdline()) else OTHERS


def memory_of(process):
    """The most memory that the process has had, and what it has now without pages of files."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    parts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if " kB" in line}
    return parts.get("VmHWM", 0), parts.get("RssAnon", 0) + parts.get("RssShmem", 0)


def watched(command):
    """Run it: wall seconds, and by role the CPU seconds of all and the most memory of one, with and
    without pages of files. Processes are known as actors once they have said so."""
    roles, spent, most, own_most = {}, Counter(), Counter(), Counter()
    began = time.perf_counter()
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            try:
                own = psutil.Process(child.pid)
                for each in (own, *own.children(recursive=True)):
                    if roles.get(each.pid) != ACTOR:
                        roles[each.pid] = role(each, child.pid)
                    spent[each.pid] = sum(each.cpu_times()[:2])
                    whole, without = memory_of(each)
                    most[each.pid] = max(most[each.pid], whole)
                    own_most[each.pid] = max(own_most[each.pid], without)
            except (psutil.Error, OSError):
                pass  # One has just ended.
            time.sleep(min(1, (time.perf_counter() - began) / 100))
    if child.returncode:
        sys.exit(f"The command ended with {child.returncode}.")
    took = time.perf_counter() - began
    taken = {}
    for what in (DRIVER, ACTOR, OTHERS):
        pids = [pid for pid in roles if roles[pid] == what]
        taken[what] = (
            sum(spent[pid] for pid in pids),
            *(max((each[pid] for pid in pids), default=0) for each in (most, own_most)),
        )
    return took, taken


def print_found(files, output):
    """Planted copies that are counted with their picture, by edit, and what is counted too much."""
    chosen = pq.read_table(output).to_pylist()
    copies = {row["prompt"]: row["copies"] for row in chosen}
    met, found = Counter(), Counter()
    planted = missing = beyond = 0
    for file in files:
        of = defaultdict(list)
        table = pq.read_table(file, columns=["caption", "edit"]).to_pylist()
        for row in table:
            edits = of[row["caption"]]
            if row["edit"]:
                edits.append(row["edit"])
        for caption, edits in of.items():
            count, wanted = copies.get(caption, 1) - 1, sum(each != ANOTHER for each in edits)
            planted += wanted
            missing += max(0, wanted - count)
            beyond += max(0, count - wanted)
            if len(edits) == 1:
                met[edits[0]] += 1
                found[edits[0]] += count > 0
    print("\n| planted copies, by edit, each the only one of its picture | counted |\n|---|---|")
    for edit in sorted(met):
        print(f"| {edit} | {rate(found[edit], met[edit])} |")
    print(f"| all, of any number (but for the last) | {rate(planted - missing, planted)} |")
    print(f"\n{len(chosen):,} prompts; {beyond:,} copies are counted that were not planted or are "
          "other pictures by the rule")  # fmt: skip


def measure(folder, count, actors):
    files, output = write_missing(folder / "set", count), folder / "chosen.parquet"
    output.unlink(missing_ok=True)
    took, taken = watched(
        [
            *(sys.executable, "-m", "seedsweep.cli", "select", str(folder / "set")),
            *("-o", str(output), "--most-duplicated", str(count)),
            *("--outliers", "100", "--random", "100", "--actors", str(actors)),
        ]
    )
    size = sum(file.stat().st_size for file in files)
    print(f"{count:,} pictures of {size / 1e9:.2f} GB: {took:.1f} s, {count / took:,.0f} "
          f"pictures/s, load {os.getloadavg()[0]:.1f} at its end")  # fmt: skip
    print("\n| | CPU s | most memory of one | without pages of files |\n|---|---|---|---|")
    for what, (seconds, *memory) in taken.items():
        print(
            f"| {what} | {seconds:.1f} | {' | '.join(f'{each / 1e6:,.0f} MB' for each in memory)} |"
        )
    print_found(files, output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--training", type=int, default=1_000_000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "pillow", "ray"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        measure(options.folder or Path(name), options.training, options.actors)


if __name__ == "__main__":
    main()
