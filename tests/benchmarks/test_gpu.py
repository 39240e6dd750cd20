"""The GPU benchmark runs whole on a CPU, on tiny shapes, so that it runs where a GPU is lent."""

import contextlib
import dataclasses
import io
import re
import subprocess
import sys

import pytest
from diffusers.utils import logging as of_diffusers
from transformers.utils import logging as of_transformers

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.scale import TINY
from tests.support.checkout import ROOT


def by_part(printed):
    """What was printed, by part."""
    lines = [line.partition(": ") for line in printed.splitlines()]
    return {
        name: [said for part, _, said in lines if part == name]
        for name in dict.fromkeys(part for part, _, _ in lines)
    }


@pytest.fixture(scope="module")
def printed():
    """What all parts print but those that compile, which takes a minute.

    In this process, which spares it another import of all libraries, and by a smaller model.
    """
    parts = [part for part in PARTS if "compiled" not in part]
    libraries = of_diffusers, of_transformers
    before = [library.get_verbosity() for library in libraries]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(command, "TINY", dataclasses.replace(TINY, channels=(32, 64), side=32))
        patch.setattr(sys, "argv", ["benchmarks.gpu", *parts, "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            command.main()
    for library, verbosity in zip(libraries, before, strict=True):
        library.set_verbosity(verbosity)
        library.enable_progress_bar()
    assert not ended.value.code, out.getvalue()
    return by_part(out.getvalue())


def test_images_are_equal_however_a_unit_comes_to_be_made(printed):
    ways = dict(line.split(": ", 1) for line in printed["equal"])
    alike = ["made twice", "in other order", "after a killed worker"]
    alike.append("with other seeds beside them, in padded batches")
    assert all(re.fullmatch(r"(\d+) of \1 images bit-equal", ways[way]) for way in alike), ways


def test_what_does_not_fit_is_halved_and_replayed_images_are_equal(printed):
    assert "halved, recorded, remembered" in printed["memory"][0]
    assert re.fullmatch(r"(\d+) of \1 images bit-equal", printed["replay"][0])


def test_every_rate_is_a_number_above_zero(printed):
    rates = [
        float(rate) for line in printed["writer"] for rate in re.findall(r": ([\d.]+) \(", line)
    ]
    assert len(rates) == 2
    assert all(rate > 0 for rate in rates)
    assert len(printed["generate"]) == 2
    assert all(ratio_of(line) > 0 for line in printed["generate"])
    assert "bit-equal to the CPU's" in printed["distances"][0]
    assert "the same" in printed["example"][0]
    assert "not examined without a GPU" in printed["metrics"][0]


def ratio_of(line):
    """The worker's images/s ÷ the bare loop's."""
    return float(re.search(r"= ([\d.]+) \(", line)[1])


@pytest.mark.nightly
def test_the_worker_is_compared_with_the_bare_loop_compiled_too():
    parts = ["generate_compiled", "compiled"]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *parts, "--device", "cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    printed = by_part(finished.stdout)
    assert ratio_of(printed["generate_compiled"][0]) > 0
    assert printed["compiled"][0].startswith("compiled, channels_last: ")
