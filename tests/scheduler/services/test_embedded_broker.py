import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from seedsweep.scheduler.services.child_process import MAX_QUICK_DEATHS, Child, stopping
from seedsweep.scheduler.services.embedded_broker import embedded_broker
from seedsweep.scheduler.services.local_run import WORKER_DEATHS, _oversee
from seedsweep.storage.errors import ConfigError, SeedsweepError, TransientError
from seedsweep.storage.ledger import MAX_LOSSES, Ledger
from tests.support.checkout import ROOT
from tests.support.processes import is_alive


def python(code):
    return [sys.executable, "-c", code]


FOREVER = "import signal; signal.pause()"


@pytest.fixture
def start(tmp_path):
    """Start supervised children, and stop them after the test."""
    with stopping([]) as children:

        def start(code):
            child = Child("child", python(code), tmp_path / "child.log", {"WORD": "told"})
            children.append(child)
            return child

        yield start


def test_the_broker_has_a_password_and_listens_on_loopback_only(tmp_path):
    with embedded_broker(tmp_path) as (url, _):
        Ledger(url).ping()
        port = redis.Redis.from_url(url).connection_pool.connection_kwargs["port"]
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        bound = redis.Redis.from_url(url).config_get("bind")
        assert bound == {"bind": "127.0.0.1"} or bound == {b"bind": b"127.0.0.1"}
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=port).ping()


def test_the_brokers_password_is_in_no_command_line(tmp_path):
    with embedded_broker(tmp_path) as (url, broker):
        password = url.split(":")[2].split("@")[0]
        command = Path(f"/proc/{broker.pid}/cmdline").read_text()
        assert password not in command


def test_the_folder_of_a_killed_runs_broker_goes_with_the_next(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    (place / "ssbroker-dead").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with embedded_broker(tmp_path):
        (folder,) = place.iterdir()
        assert (folder / "broker.conf").stat().st_mode & 0o777 == 0o600
    assert [*place.iterdir()] == []


def test_a_child_that_dies_is_started_again(start, wait_until):
    child = start(FOREVER)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: child.ensure_alive() or child.pid != first)
    assert is_alive(child.pid)


def test_a_child_that_keeps_dying_is_given_up_with_its_last_words(start, wait_until):
    child = start("print('the disk is on fire'); raise SystemExit(7)")
    started = []

    def gives_up():
        started.append(child.pid)
        try:
            child.ensure_alive()
        except SeedsweepError as error:
            return str(error)

    said = wait_until(gives_up, timeout=30)
    assert "the disk is on fire" in said
    assert "exit 7" in said
    assert len(set(started)) == MAX_QUICK_DEATHS


class _DiesOfUnits:
    """A dispatcher that takes a unit back each time that the worker has died of it."""

    def __init__(self, child):
        self._child, self.lost, self.pids = child, 0, {child.pid}

    def tick(self):
        self.lost += self._child.pid not in self.pids
        self.pids.add(self._child.pid)


def test_a_worker_that_dies_of_its_units_is_not_given_up(start):
    """They are parked, one after the other; and the first is before its worker is given up."""
    assert WORKER_DEATHS > MAX_LOSSES
    child = start("raise SystemExit(7)")
    dispatcher = _DiesOfUnits(child)

    def look():
        return SimpleNamespace(trouble="", settled=len(dispatcher.pids) > 2 * MAX_QUICK_DEATHS)

    _oversee(SimpleNamespace(look=look), dispatcher, [child])


def test_a_child_that_refuses_its_settings_is_not_tried_again(start, wait_until):
    child = start("print('No such model; name another.'); raise SystemExit(2)")

    def refuses():
        try:
            child.ensure_alive()
        except ConfigError as error:
            return str(error)

    assert wait_until(refuses) == "No such model; name another."


def test_a_child_that_waits_in_vain_each_time_is_given_up_with_its_last_words(start, wait_until):
    child = start("print('No Ray starts; free memory.'); raise SystemExit(3)")

    def gives_up():
        try:
            child.ensure_alive()
        except TransientError as error:
            return str(error)

    assert wait_until(gives_up, timeout=30) == "No Ray starts; free memory."


def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline(start, tmp_path, wait_until):
    child = start(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); signal.pause()"
    )
    wait_until(lambda: "deaf" in (tmp_path / "child.log").read_text())
    child.stop(time.monotonic() + 0.3)
    assert not is_alive(child.pid)


def test_children_end_when_their_parent_is_killed(tmp_path, wait_until):
    code = (
        "import sys, signal; from pathlib import Path; "
        "from seedsweep.scheduler.services.child_process import Child; "
        f"child = Child('c', [sys.executable, '-c', {FOREVER!r}], Path('log'), {{}}); "
        "print(child.pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen(
        python(code),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(parent.stdout.readline())
    wait_until(
        lambda: (
            "seedsweep.scheduler.services.end_with_parent"
            not in Path(f"/proc/{child}/cmdline").read_text()
        )
    )
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_alive(child))
