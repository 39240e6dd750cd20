import os
import signal
import subprocess
import sys

import pytest

from seedsweep.scheduler.services.supervisor import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    STEADY_SECONDS,
    DeviceWorker,
    choose_devices,
    next_wait,
    worker_commands,
)
from seedsweep.storage.errors import ConfigError
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.deployment import Process
from tests.support.processes import children, is_alive

START_SECONDS = 60
TWO_ON_THE_CPU = ("--devices", "cpu", "--processes", "2", "--metrics-port", "0")


@pytest.fixture
def environment(broker_url, tmp_path):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SEEDSWEEP_BROKER_URL": broker_url,
        "SEEDSWEEP_STORE_URL": f"file:{tmp_path / 'store'}",
    }


@pytest.fixture
def supervisor(environment, tmp_path, workforce, wait_until):
    """A supervisor whose two workers on the CPU have shown life; they are gone afterwards."""
    command = [sys.executable, "-m", "seedsweep.cli", "worker", *TWO_ON_THE_CPU]
    process = Process(command, tmp_path, environment, tmp_path / "supervisor.log")
    try:
        wait_until(lambda: len(workforce.signs()) == 2, START_SECONDS)
        yield process
    finally:
        workers = children(process.pid)
        if process.is_running:
            process.kill()
        for pid in filter(is_alive, workers):
            os.kill(pid, signal.SIGKILL)


def shown(workforce):
    return {sign.worker.name for sign in workforce.signs()}


def test_a_killed_worker_comes_back_and_sigterm_lets_all_finish(supervisor, workforce, wait_until):
    first, second = children(supervisor.pid)
    # A worker shows life before it has logged anything.
    wait_until(lambda: f"[cpu {first}] INFO The worker" in supervisor.log.read_text())
    names = shown(workforce)
    assert {name.rsplit("-", 1)[1] for name in names} == {str(first), str(second)}
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(shown(workforce)) == 3, START_SECONDS)
    (third,) = set(children(supervisor.pid)) - {second}
    assert {name.rsplit("-", 1)[1] for name in shown(workforce) - names} == {str(third)}

    assert supervisor.stop() == 0
    assert not any(map(is_alive, (second, third)))
    # The two that could took leave; the killed one is shown as long as any that vanished.
    assert {name.rsplit("-", 1)[1] for name in shown(workforce)} == {str(first)}
    log = supervisor.log.read_text()
    assert f"The worker on cpu (process {first}) died (signal 9); it is started again in 1 s" in log
    for pid in (first, second, third):
        assert f"[cpu {pid}] INFO The worker" in log
    assert "Traceback" not in log


def test_workers_end_when_their_supervisor_is_killed(supervisor, workforce, wait_until):
    workers = children(supervisor.pid)
    supervisor.kill()
    wait_until(lambda: not any(map(is_alive, workers)), START_SECONDS)
    assert workforce.signs() == []


def test_a_second_signal_kills_workers_that_do_not_finish(supervisor, wait_until):
    workers = children(supervisor.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    os.kill(supervisor.pid, signal.SIGTERM)
    wait_until(lambda: "a second signal kills" in supervisor.log.read_text())
    assert supervisor.is_running
    assert supervisor.stop() == 0
    assert not any(map(is_alive, workers))


def test_a_supervisor_all_of_whose_workers_refuse_their_settings_ends(environment, tmp_path):
    elsewhere = ("--metrics-host", "192.0.2.1", "--devices", "cpu", "--processes", "2")
    finished = subprocess.run(
        [sys.executable, "-m", "seedsweep.cli", "worker", *elsewhere],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr.count("Metrics cannot be served on 192.0.2.1") == 2
    assert finished.stderr.splitlines()[-1].startswith("Every worker refused its settings")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--device", "cpu", "--devices", "cpu"), "--device is for one worker"),
        (("--name", "mine", "--devices", "cpu", "--processes", "2"), "--name names one worker"),
    ],
)
def test_options_that_contradict_each_other_are_refused(environment, tmp_path, options, word):
    finished = seedsweep_here("worker", *options, folder=tmp_path, environment=environment)
    assert finished.returncode == 2
    (sentence,) = finished.stderr.splitlines()
    assert word in sentence


@pytest.mark.parametrize(
    ("names", "processes", "expected"),
    [
        (None, None, ["cuda:0", "cuda:1", "cuda:2"]),
        ("0, 2", None, ["cuda:0", "cuda:2"]),
        ("cuda:1,cpu", None, ["cuda:1", "cpu"]),
        ("cpu", 3, ["cpu", "cpu", "cpu"]),
    ],
)
def test_devices_are_all_visible_ones_unless_named(monkeypatch, names, processes, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert choose_devices(names, processes) == expected


def test_without_a_gpu_the_cpu_has_as_many_workers_as_told(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_devices(None, None) == ["cpu"]
    assert choose_devices(None, 2) == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("names", "processes", "words"),
    [
        ("0,7", None, "'cuda:7', but this machine shows cuda:0, cuda:1"),
        ("", None, "''"),
        ("0,cuda:0", None, "twice"),
        ("0", 2, "--processes is for the CPU"),
        (None, 2, "--processes is for the CPU"),
    ],
)
def test_devices_that_cannot_be_served_are_refused(monkeypatch, names, processes, words):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError, match=words):
        choose_devices(names, processes)


@pytest.mark.parametrize(
    ("first", "ports"), [(9500, ["9500", "9501"]), (0, ["0", "0"]), (None, ["cuda:0", "cpu"])]
)
def test_each_worker_has_the_next_metrics_port(first, ports):
    commands = worker_commands(["cuda:0", "cpu"], [], first)
    assert [command[-1] for command in commands] == ports


def test_more_workers_than_ports_that_they_find_by_themselves_are_refused():
    with pytest.raises(ConfigError, match="give --metrics-port"):
        worker_commands(["cpu"] * 11, [], None)


def test_a_worker_that_keeps_dying_waits_longer_and_longer_until_it_lives_for_a_while():
    waits, wait = [], 0.0
    for _ in range(8):
        wait = next_wait(wait, -9, lived=3.0)
        waits.append(wait)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert next_wait(wait, -9, STEADY_SECONDS) == FIRST_WAIT_SECONDS


def test_a_worker_that_took_itself_out_waits_longest_at_once(wait_until, caplog):
    worker = DeviceWorker("cuda:3", [sys.executable, "-c", "raise SystemExit(1)"])
    wait_until(lambda: worker.tend() or caplog.messages)
    (said,) = caplog.messages
    assert "The worker on cuda:3" in said
    assert said.endswith("took itself out (exit 1); it is started again in 60 s.")
    assert next_wait(0.0, 1, STEADY_SECONDS) == LONGEST_WAIT_SECONDS
