"""The Ray of one process: nobody else gets into it, nothing of it stays, it may start slowly."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from seedsweep.storage.errors import ConfigError, TransientError
from seedsweep.workers.cluster import private_ray
from seedsweep.workers.cluster.private_ray import (
    PREFIX,
    private_folder,
    start,
    use_private_environment,
)
from tests.support.processes import children, is_alive
from tests.support.servers import wait_until
from tests.support.strangers import listening, stranger_gets

HOLD = """
import sys
from seedsweep.workers.cluster.ray_cluster import joined_ray
import os
class Actor:
    def say(self): return os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]
with joined_ray(1, None) as ray:
    actor = ray.remote(Actor).remote()
    context = ray.get_runtime_context()
    print("threads", *ray.get(actor.say.remote()), context.gcs_address, flush=True)
    sys.stdin.readline()
"""

COMMAND = """
import sys, time
from seedsweep.cli import main
@main.app.command()
def hold():
    from seedsweep.workers.cluster.ray_cluster import joined_ray
    with joined_ray(1, None) as ray:
        class Actor:
            def say(self): print("has begun", flush=True); time.sleep(600)
        actor = ray.remote(Actor).remote()
        said = actor.say.remote()
        ray.wait([said], timeout=0.1)
        print("held", flush=True)
        ray.get(said)
sys.argv = ["seedsweep", "hold"]
main.main()
"""

OF_OTHERS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USE_TLS": "1",
    "RAY_CLIENT_MODE": "1",
    "RAY_OVERRIDE_RESOURCES": '{"CPU": 0}',
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": "another",
    "RAY_START_HOOK": "nobody.knows",
    "RAY_gcs_server_request_timeout_seconds": "0",
}
"""What the environment may say of another Ray; with most of these alone, none starts or works."""


@pytest.fixture
def short():
    """A folder whose path is short enough for Ray's."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s-") as folder:
        yield Path(folder)


@pytest.fixture
def hold(free_port):
    """Start a process that has a Ray until it is killed, or its input ends; returns it at once."""
    started = []

    def begin(code=HOLD, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            process_group=0,
            env=os.environ | {"RAY_ADDRESS": f"127.0.0.1:{free_port()}"} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_private_ray_joins_nobody_serves_nobody_else_and_leaves_nothing(hold, short, tmp_path):
    long = tmp_path / ("scratch_of_the_job_" * 5)
    long.mkdir()
    process = hold(TMPDIR=str(long), RAY_TMPDIR=str(short), **OF_OTHERS)
    assert process.stdout.readline().startswith("threads 1 1 ")
    (folder,) = short.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700

    started = psutil.Process(process.pid).children(recursive=True)
    for_clusters = {"dashboard.py", "agent.py", "main.py", "monitor.py", "log_monitor.py"}
    assert not for_clusters & {Path(word).name for each in started for word in each.cmdline()}
    offspring = [each.pid for each in started]
    ports = listening([process.pid, *offspring])
    gets = {(port, name): stranger_gets(port) for port, name in ports.items()}
    assert len(gets) >= 4
    assert all(refused and not granted for granted, refused in gets.values()), gets

    own = children(process.pid)
    process.kill()
    wait_until(lambda: not any(map(is_alive, own)), timeout=60)
    assert folder.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(short))

        def is_removed():  # what of Ray outlives its node for a moment may write there meanwhile
            with private_folder():
                return not folder.exists()

        wait_until(is_removed)
    assert [*short.iterdir(), *long.iterdir()] == []


def test_a_command_that_sigterm_ends_with_its_group_says_one_sentence_and_leaves_nothing(
    hold, short
):
    process = hold(COMMAND, RAY_TMPDIR=str(short), TMPDIR=str(short))
    assert process.stdout.readline() == "held\n"
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert said == "Stopped by SIGTERM before it was done; give the same command again.\n"
    assert process.returncode == 143
    wait_until(lambda: not any(map(is_alive, (each.pid for each in started))))
    assert [*short.iterdir()] == []


def test_a_private_ray_knows_what_the_machine_bears_and_nothing_of_other_rays(monkeypatch):
    of_the_machine = {
        "RAY_TMPDIR": "/scratch",
        "RAY_memory_usage_threshold": "0.9",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    }
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    for name, value in (of_the_machine | OF_OTHERS).items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        for name in private_ray.ENVIRONMENT:
            patch.setenv(name, "another")
        use_private_environment()
        assert dict(os.environ) == before | of_the_machine | private_ray.ENVIRONMENT


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_rays_folder_is_where_the_environment_says_if_sockets_fit_there(
    monkeypatch, short, tmp_path, name
):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, str(short))
    with private_folder() as folder:
        assert folder.parent == short
    for place in (tmp_path / ("long" * 20), tmp_path / "missing"):
        monkeypatch.setenv(name, str(place))
        with private_folder() as folder:
            assert folder.parent == Path("/tmp")  # noqa: S108 - looked at before it is used
            assert folder.stat().st_mode & 0o777 == 0o700
        assert not folder.exists()


def test_where_ray_can_have_no_folder_that_is_said_with_each_reason(monkeypatch, short):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.setattr(private_ray, "SOCKET_CHARACTERS", 40)
    with pytest.raises(ConfigError, match=rf"{short} is too long .* set RAY_TMPDIR"):
        private_folder().__enter__()


def test_only_folders_of_ours_that_nobody_holds_are_removed(monkeypatch, short):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    kept = [short / "of-others", short / f"{PREFIX}file", short / f"{PREFIX}link"]
    kept[0].mkdir()
    kept[1].touch()
    kept[2].symlink_to(kept[0])
    (short / f"{PREFIX}dead" / "r").mkdir(parents=True)
    with private_folder() as held:
        with private_folder() as second:
            assert set(short.iterdir()) == {*kept, held, second}
        assert set(short.iterdir()) == {*kept, held}
    assert set(short.iterdir()) == set(kept)


class SlowRay:
    """Stands in for a Ray whose node answers late, or not at all: that cannot be had at will."""

    def __init__(self, folder, late):
        (folder / "r" / "session_latest").mkdir(parents=True)
        self._late, self.starts, self.ended = late, 0, 0
        services = SimpleNamespace(
            get_node=self._get_node,
            start_api_server=None,
            start_ray_process=None,
            ConsolePopen=subprocess.Popen,
        )
        parameter = SimpleNamespace(RayParams=dict)
        self._private = SimpleNamespace(services=services, parameter=parameter)

    def _get_node(self, gcs_address, node_id):
        self._late -= 1
        if self._late >= 0:
            raise RuntimeError("not there yet")

    def init(self, **options):
        self.starts += 1
        self.told = self._private.parameter.RayParams()
        self._private.services.get_node("127.0.0.1:1", "node")

    def kill_all_processes(self, check_alive, allow_graceful):
        """As Ray's node has it, in whose frame the time is up."""
        self.ended += 1


def test_a_node_that_comes_late_is_waited_for_as_long_as_it_lives(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(private_ray, "_has_lost_a_child", lambda: False)
    monkeypatch.setattr(private_ray, "WORD_SECONDS", 0.0)
    ray = SlowRay(tmp_path, late=3)
    start(ray, 1, tmp_path)
    assert (ray.starts, ray.ended) == (1, 0)
    assert "it is waited for" in caplog.text
    (file,) = (tmp_path / "r" / "session_latest").iterdir()
    assert int(file.read_text()) == ray.told["dashboard_agent_listen_port"]


def test_a_node_that_dies_is_ended_and_started_again(monkeypatch, tmp_path):
    monkeypatch.setattr(private_ray, "_has_lost_a_child", lambda: True)
    ray = SlowRay(tmp_path, late=2)
    start(ray, 1, tmp_path)
    assert (ray.starts, ray.ended) == (3, 2)


def test_a_node_that_dies_each_time_is_given_up_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(private_ray, "_has_lost_a_child", lambda: True)
    ray = SlowRay(tmp_path, late=99)
    with pytest.raises(
        TransientError, match=r"\(one of its processes has ended\); free .*again\.$"
    ):
        start(ray, 1, tmp_path)
    assert (ray.starts, ray.ended) == (3, 3)
    logs = tmp_path / "r" / "session_latest" / "logs"
    logs.mkdir()
    head = "[2026-11-27 12:02:39,0{} {} 2355 2355] (raylet) node_manager.cc:35{}:  "
    logs.joinpath("raylet.out").write_text(
        f"{head.format(1, 'I', 1)}It begins.\n{head.format(2, 'C', 2)}Check failed: no memory\n"
    )
    with pytest.raises(TransientError, match=r"\(Check failed: no memory\); free"):
        start(ray, 1, tmp_path)
