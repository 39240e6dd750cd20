"""The whole deployment on one machine, by one command: up, used, mended, down."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import psutil
import pytest

from deploy.local import processes, stopping
from deploy.local.monitoring import SOURCE, render
from deploy.local.place import Place
from deploy.local.ports import HOST, is_free
from deploy.local.settings import Options, differences
from deploy.local.stopping import stop
from seedsweep.scheduler.services.embedded_broker import broker_binary
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.pipelines.noise import noise_share
from tests.support.deployment import PROMPTS, write_campaign
from tests.support.local import Local
from tests.support.patience import load_per_core
from tests.support.processes import is_alive
from tests.support.servers import wait_until
from tests.support.strangers import listening, stranger_gets

PARTS = ["store", "broker", "ray", "scheduler", "analyst", "worker"]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """A deployment without Prometheus, in a folder whose path is too long for Ray's sockets."""
    deployment = Local(tmp_path_factory.mktemp("a-folder-with-quite-a-long-name") / "deployed")
    try:
        deployment.up("--workers", "2", "--no-prometheus")
        yield deployment
    finally:
        deployment.down("--patience", "30")


def ports_of(deployment):
    """Every port that the deployment has for itself, which also those have that Prometheus has."""
    ports = deployment.settings.ports
    return [*ports.all_but_workers, ports.workers, ports.workers + 1]


def secrets_of(deployment):
    return list(deployment.settings.secrets.model_dump().values())


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def written(deployment, name):
    return write_campaign(deployment.folder, name, 40, model=name)


def finish(deployment, campaign_id):
    """Wait for a campaign: the prompts that it flags."""
    ledger = Ledger(deployment.environment["SEEDSWEEP_BROKER_URL"])
    wait_until(lambda: (counts := ledger.counts(campaign_id)) and counts.settled, timeout=60)
    assert deployment.campaign(campaign_id)["state"] == "done"
    results = json.loads(deployment.seedsweep("results", campaign_id, "--json"))
    assert len(results) == len(PROMPTS)
    return {result["prompt"] for result in results if result["flagged"]}


def test_a_campaign_goes_through_in_a_shell_that_has_read_the_environment(deployment):
    status = deployment.status()
    assert list(status) == PARTS
    assert all(part["answers"] for part in status.values())
    repeated = {prompt for prompt in PROMPTS if noise_share(prompt) >= 0.25}
    said = deployment.shell(f"seedsweep submit {written(deployment, 'first')}")
    assert finish(deployment, said.splitlines()[-1]) == repeated


def test_nobody_else_gets_to_know_a_secret(deployment):
    secrets = secrets_of(deployment)
    running = deployment.processes()
    assert len(running) > len(PARTS)
    assert not [p.pid for p in running for secret in secrets if secret in " ".join(p.command)]
    telling = [
        path
        for path in files_below(deployment.folder)
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]
    told = {path.relative_to(deployment.folder).as_posix() for path in telling}
    assert told == {"env", "settings.json", "data/broker/broker.conf", "data/store/s3.json"}
    assert {path.stat().st_mode & 0o777 for path in telling} == {0o600}
    assert deployment.folder.stat().st_mode & 0o777 == 0o700


def test_it_listens_on_loopback_only(deployment):
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in deployment.processes()
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {HOST}


def test_whoever_has_no_password_gets_nothing_but_metrics(deployment):
    ports = listening(process.pid for process in deployment.processes())
    weed = deployment.settings.ports.weed
    assert set(weed.all) <= ports.keys()
    gets = {(port, name): stranger_gets(port) for port, name in ports.items()}
    assert {each: granted for each, (granted, _) in gets.items() if granted - {"metrics"}} == {}
    still = listening(process.pid for process in deployment.processes())
    silent = {each for each, (granted, refused) in gets.items() if not granted and not refused}
    # Ray ends a process that has long had no task: its port is gone then.
    assert {(port, name) for port, name in silent if port in still} == set()


def test_what_runs_stays_as_it_is(deployment):
    before = {name: part["pid"] for name, part in deployment.status().items()}
    _, said = deployment.up()
    assert {name: part["pid"] for name, part in deployment.status().items()} == before
    assert "doctor" not in said
    _, said = deployment.up("--actors", "2", code=2)
    assert "Nothing was changed: the deployment runs with --actors 1, not --actors 2." in said
    _, said = deployment.up("--workers", "3", code=2)
    assert "--workers 2, not --workers 3" in said
    assert f". {deployment.folder}/env; seedsweep worker --device cpu" in said
    assert deployment.settings.options.actors == 1
    assert {name: part["pid"] for name, part in deployment.status().items()} == before


def assert_the_scheduler_waits_for_the_broker(deployment):
    """A part that waits for another one says so, and one that is gone is told apart."""
    wait_until(lambda: deployment.status(code=1)["scheduler"]["waits_for"], timeout=60)
    shown, said = deployment.command("status", str(deployment.folder), code=1)
    how = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert how["scheduler"].startswith("waits ")
    assert how["broker"].startswith("does not run ")
    assert f"scheduler: This service waits for the broker at {HOST}:" in said
    ending = f"Start what does not run: python -m deploy.local up {deployment.folder}"
    assert said.splitlines()[-1] == ending


def test_what_was_killed_is_missed_by_what_waits_for_it_and_started_again_on_its_old_data(
    deployment,
):
    killed = ["store", "broker", "ray", "worker"]
    before = json.loads(deployment.seedsweep("status", "--json"))
    pids = {name: part["pid"] for name, part in deployment.status().items()}
    for name in killed:
        os.kill(pids[name], signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pids[name]) for name in killed))
    status = deployment.status(code=1)
    assert [name for name, part in status.items() if not part["running"]] == killed
    assert_the_scheduler_waits_for_the_broker(deployment)
    _, said = deployment.up("--actors", "2", "--no-prometheus", code=2)
    assert "worker, ray, store, broker do not run; `up` without these options" in said
    deployment.up()
    status = deployment.status()
    assert [name for name in PARTS if status[name]["pid"] != pids[name]] == killed
    shown, said = deployment.command("status", str(deployment.folder))
    assert said == ""
    assert "waits" not in shown
    assert json.loads(deployment.seedsweep("status", "--json")) == before
    assert finish(deployment, deployment.submit(written(deployment, "second")))


def freeze_workers(deployment):
    frozen = [p for p in deployment.processes() if "--device" in p.command]
    assert len(frozen) == 2
    for process in frozen:
        process.send(signal.SIGSTOP)


@pytest.mark.nightly
def test_a_worker_that_down_kills_takes_leave_and_its_password_can_be_changed(deployment):
    env, settings = deployment.folder / "env", deployment.folder / "settings.json"
    old = deployment.settings.secrets.broker_password
    freeze_workers(deployment)
    _, said = deployment.down("--patience", "1")
    assert "worker     was killed" in said
    settings.write_text(settings.read_text().replace(old, "another-one"))
    deployment.up()
    assert "changes here are lost" in env.read_text()
    assert ":another-one@" in env.read_text()
    workers = json.loads(deployment.seedsweep("workers", "--json"))
    assert len(workers) == 2
    assert all(worker["alive"] for worker in workers)


def test_a_store_of_another_kind_is_refused_in_a_folder_that_has_one(deployment):
    _, said = deployment.up("--s3-server", "minio", code=2)
    assert "another folder" in said


def workers_left(deployment):
    """The workers that the broker, started alone, counts as there, dead or alive."""
    url = deployment.environment["SEEDSWEEP_BROKER_URL"]
    options = deployment.folder / "data" / "broker" / "broker.conf"
    with subprocess.Popen([broker_binary(), options], cwd=options.parent) as broker:
        try:
            return wait_until(lambda: signs_of(url), timeout=30)[0]
        finally:
            broker.kill()


def signs_of(url):
    """Those that the broker knows, in a list of their own once it answers."""
    with contextlib.suppress(BrokerUnavailableError):
        return [Workforce(url).signs()]


def test_down_leaves_nothing_and_up_takes_another_password_and_refuses_a_port_that_was_taken(
    deployment,
):
    running = deployment.processes()
    assert running
    freeze_workers(deployment)
    # As long as the analyst needs, however busy the machine is; workers that stand still have all.
    _, said = deployment.down("--patience", f"{min(10 * load_per_core(), 150):.0f}")
    endings = dict(line.split(maxsplit=1) for line in said.splitlines() if line[0] != "…")
    assert endings["worker"].startswith("was killed after")
    others = {name: endings[name] for name in PARTS if name != "worker"}
    assert [how for how in others.items() if not how[1].startswith("stopped after")] == []
    assert workers_left(deployment) == []
    assert deployment.processes() == []
    assert [process for process in running if process.is_running] == []
    assert [port for port in ports_of(deployment) if not is_free(port)] == []
    _, said = deployment.down()
    assert said.count("did not run") == len(PARTS) + 1
    settings, old = deployment.folder / "settings.json", deployment.settings.secrets.broker_password
    settings.write_text(settings.read_text().replace(old, "another-one"))
    with socket.create_server((HOST, deployment.settings.ports.broker)):
        _, said = deployment.up(code=2)
    assert f"Port {deployment.settings.ports.broker} of the broker is taken" in said
    assert ":another-one@" in (deployment.folder / "env").read_text()
    assert deployment.processes() == []


def test_a_missing_program_is_named_with_its_package_and_nothing_is_started(tmp_path):
    deployment = Local(tmp_path / "deployed", PATH=str(tmp_path))
    _, said = deployment.up(code=2)
    assert "apt install prometheus" in said
    assert "--no-prometheus" in said
    assert not (tmp_path / "deployed" / "run").exists()


def test_a_folder_without_a_deployment_is_refused(tmp_path):
    _, said = Local(tmp_path).command("down", str(tmp_path), code=2)
    assert "holds no deployment" in said
    _, said = Local(tmp_path).command("status", str(tmp_path), code=2)
    assert "holds no deployment" in said


def test_a_process_that_only_has_the_number_of_ours_is_not_touched(tmp_path):
    place = Place(tmp_path, "broker")
    record = tmp_path / "run" / "broker.json"
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        try:
            found = wait_until(lambda: processes.look(stranger.pid))
            record.parent.mkdir()
            for different in ({"started": found.started - 1}, {"command": ("valkey", "x.conf")}):
                kept = {name: getattr(found, name) for name in processes.Process.__slots__}
                processes.save(processes.Process(**(kept | different)), record)
                assert place.leader is None
                place.ask_to_stop()
                place.kill()
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_what_a_dead_process_started_is_found_and_ended(tmp_path):
    place = Place(tmp_path, "ray")
    place.start(["bash", "-c", "setsid sleep 61 & sleep 62"], dict(os.environ))
    (child, other) = wait_until(lambda: place.others if len(place.others) == 2 else None)
    os.kill(place.leader.pid, signal.SIGKILL)
    wait_until(lambda: place.leader is None)
    assert {process.pid for process in place.others} == {child.pid, other.pid}
    assert not place.is_empty
    place.ask_to_stop()
    wait_until(lambda: place.is_empty)


def test_workers_whose_supervisor_died_may_finish_what_they_have_in_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "LINGER_SECONDS", 0.0)
    ends = {}
    for name in ("worker", "ray"):
        place = Place(tmp_path, name)
        busy = "trap 'sleep 0.5; touch finished; exit' TERM; while :; do sleep 0.1; done"
        place.start(["bash", "-c", f'bash -c "{busy}" & wait'], dict(os.environ))
        wait_until(lambda place=place: place.others)
        os.kill(place.leader.pid, signal.SIGKILL)
        wait_until(lambda place=place: place.leader is None)
        ends[name] = stop([place], 30, lambda _: None)
        assert place.is_empty
    assert ends == {"worker": [], "ray": ["ray"]}
    assert (tmp_path / "run" / "worker" / "finished").exists()


def test_options_that_differ_are_named_as_people_give_them():
    before = Options()
    after = Options(prometheus=False, workers=2, store="minio")
    assert differences(before, after) == (
        "no --workers, not --workers 2 and --prometheus, not --no-prometheus and --s3-server weed, "
        "not --s3-server minio"
    )


def test_a_process_that_does_not_stop_is_killed_after_the_patience(tmp_path):
    place, said = Place(tmp_path, "worker"), []
    place.start(["bash", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], os.environ)
    wait_until(lambda: place.last_words() == "ready")
    began = time.monotonic()
    stop([place], 0.5, said.append)
    assert place.is_empty
    assert time.monotonic() - began >= 0.5
    (line,) = said
    assert line.startswith("worker     was killed after")


def test_a_job_of_prometheus_that_one_machine_does_not_have_is_refused(tmp_path):
    (tmp_path / "prometheus.yml").write_text(
        "global: {}\nscrape_configs: [{job_name: elsewhere, static_configs: []}]"
    )
    ports = {"scheduler": 1, "prometheus": 2}
    with pytest.raises(ConfigError, match="'elsewhere'"):
        render(tmp_path, ports, tmp_path / "ray.json", 1)
    assert "elsewhere" not in render(SOURCE, ports, tmp_path / "ray.json", 1)
