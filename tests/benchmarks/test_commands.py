"""Every command in `benchmarks/` runs at a tiny size; no ratio that it prints is zero or nan."""

import re
import subprocess
import sys

import pytest

from tests.support.checkout import ROOT

SHORT = [
    ("copies", "--memories 2 --strangers 60 --most-copies 10"),
    ("distances", "--images 24 --rounds 1 --pairs 3"),
]
LONG = [
    ("deployment", "--prompts 4"),
    ("forgetting", "--units 60 --rounds 1"),
    ("generations", "--prompts 1 --seeds 16 --rounds 1"),
    ("losses", "--kills 1 --failovers 1"),
    ("orchestration", "--rounds 1"),
    ("part_shifts", "--prompts 1"),
    ("selection", "--training 400 --part 100"),
    ("selection", "--training 400 --share 0 --part 0 --embedding stand-in"),
    ("selection_whole", "--training 400 --actors 1"),
    ("side_by_side", "--runs 2 --seeds 20"),
    ("slots", "--slots 5 --seconds 3 --outage 3 --no-storms"),
    ("store", ""),
    ("submission", "1"),
    ("throughput", "--units 200 --workers 1"),
]
WITH_MORE_PACKAGES = [
    ("actors", "--prompts 4 --seeds 16 --side 64 --rounds 1"),
    ("cliques", "--rounds 1 --timeout 0.2"),
    ("generations_search", "--queries 40 --training 300 --actors 1 --check 2"),
    ("keep", ""),
    ("matching", "--training 2000 --generations 4 --brute 1"),
    ("pictures", ""),
    ("png", "--rounds 1 --seconds 0.1"),
    ("prompts", "--seeds 16 --side 64 --rounds 1"),
    ("verification", "--training 500 --queries 4 --actors 1 --part 100"),
]
"""What `pip install -e '.[bench]'` brings."""

NOT_HERE = {
    "funnel": "has a test of its own",
    "funnel_curve": "has a test of its own",
    "funnel_pictures": "is part of funnel_replay",
    "funnel_replay": "has a test of its own",
    "funnel_verdicts": "is part of funnel_replay",
    "gpu": "has tests of its own",
    "machine": "measures nothing",
    "model_classes": "has tests of its own",
    "screens": "keeps its scores in a folder that is named",
    "selection_lookup": "keeps its pictures in a folder that is named",
    "sides": "is part of orchestration",
    "stand_ins": "is part of slots",
}


def check(name, arguments):
    """Run the command; no figure is nan or infinite, and every ratio in bold is above zero."""
    finished = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    _, _, figures = finished.stdout.partition("\n")
    assert not re.search(r"\b(nan|inf)\b", figures), figures
    numbers = [float(number) for number in re.findall(r"\b\d+\.\d+\b", figures)]
    assert any(number > 0 for number in numbers), figures
    ratios = re.findall(r"\*\*(\d+\.\d+)", figures)
    assert all(float(ratio) > 0 for ratio in ratios), figures


@pytest.mark.parametrize(("name", "arguments"), SHORT)
def test_it_measures_at_a_tiny_size(name, arguments):
    check(name, arguments)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "arguments"), LONG)
def test_it_measures_at_a_small_size_that_takes_minutes(name, arguments):
    check(name, arguments)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "arguments"), WITH_MORE_PACKAGES)
def test_it_measures_where_the_packages_of_benchmarks_are_installed(name, arguments):
    for package in ("skimage", "igraph", "imagecodecs"):
        pytest.importorskip(package)
    check(name, arguments)


def test_no_command_is_left_out():
    tried = {name for name, _ in (*SHORT, *LONG, *WITH_MORE_PACKAGES)} | NOT_HERE.keys()
    there = {file.stem for file in (ROOT / "benchmarks").glob("*.py")} - {"__init__"}
    assert there | {"gpu"} == tried
