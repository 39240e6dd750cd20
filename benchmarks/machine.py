"""What every benchmark says of its machine, and how those in CPU seconds measure."""

import datetime
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path


def machine(*packages):
    """One line: day, processors and their load, system, Python and the packages' versions."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    versions = [f"{name} {version(name)}" for name in packages]
    return (
        f"{datetime.date.today()}; {models[0]}, {len(models)} CPUs, "
        f"load {os.getloadavg()[0]:.1f}; {platform.platform()}; "
        + ", ".join([f"Python {platform.python_version()}", *versions])
    )


def cpu_seconds():
    """CPU so far, of every thread of this process and of its children that have been waited for."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def cpu_of(call):
    """Seconds of CPU that a call takes."""
    begun = cpu_seconds()
    call()
    return cpu_seconds() - begun


def interleaved(sides, rounds, measure=cpu_of):
    """Measure every side (name → call) once a round, forwards and backwards by turns, so that what
    else the machine does meets all alike: name → its measures, one a round."""
    found = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, key=list(sides).index, reverse=bool(number % 2)):
            found[name].append(measure(sides[name]))
    return found


def ratios(rival, ours):
    """Rival ÷ ours within each round."""
    return [theirs / own for theirs, own in zip(rival, ours, strict=True)]


def span(values, digits=2):
    """Median (lowest to highest)."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
