"""Ports that are named to one process are named to nobody else."""

import subprocess
import sys

import pytest

from deploy.local import ports
from deploy.local.ports import free_ports, free_run, is_free

FEW = "from deploy.local import ports; ports._FIRST, ports._LAST = 20_000, 20_040;"


@pytest.fixture(autouse=True)
def given_back(monkeypatch):
    """Of the few ports there are, each test has all."""
    monkeypatch.setattr(ports, "_claims", claims := [])
    yield
    for claim in claims:
        claim.close()


def named_to_another(code):
    """What another process prints, which lives until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{FEW} print(*{code}, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def numbers(process):
    return {int(port) for port in process.stdout.readline().split()}


@pytest.mark.skipif(sys.platform != "linux", reason="the claims are Linux's")
def test_no_port_is_named_to_two_processes_though_none_listens_yet(monkeypatch):
    monkeypatch.setattr(ports, "_FIRST", 20_000)
    monkeypatch.setattr(ports, "_LAST", 20_040)
    with named_to_another("ports.free_ports(15)") as other:
        theirs, ours = numbers(other), set(free_ports(15))
        assert len(theirs) == len(ours) == 15
        assert not theirs & ours
        other.communicate("\n")
    # What ended has no claim any more.
    ours |= set(free_ports(20))
    assert len(ours) == 35


def test_a_process_is_never_named_one_twice():
    named = [*free_ports(20), *free_ports(20)]
    assert len(set(named)) == 40


def test_a_row_holds_no_port_that_was_named_before():
    few = free_ports(50)
    first = free_run(30, few)
    assert not set(range(first, first + 30)) & set(few)
    assert first not in free_ports(50)


def test_the_port_so_far_above_is_free_too_and_not_named_again():
    named = free_ports(20, apart=10_000)
    above = [port + 10_000 for port in named]
    assert all(map(is_free, above))
    assert not set(above) & {*named, *free_ports(50)}


def test_what_cannot_be_had_is_an_error(monkeypatch):
    monkeypatch.setattr(ports, "_LAST", ports._FIRST + 41)
    taken = range(ports._FIRST, ports._LAST, 5)
    with pytest.raises(OSError, match="no 40 free ports in a row"):
        free_run(40, taken)
