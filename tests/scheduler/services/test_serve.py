import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.scheduler.services.serve import MetricsAddress, worker_name
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.ledger import LEASE_MS, Ledger
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.record import SeedRange
from seedsweep.storage.settings.model import Model
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import make_app, publish, queue_of
from seedsweep.workers.models.fingerprint import fingerprint_model
from tests.support.campaigns import make_campaign, nothing_done
from tests.support.checkout import ROOT
from tests.support.deployment import Process

SERVICES = ("scheduler", "worker", "analyst")
OPTIONS = {"worker": ("--device", "cpu")}
METRICS = re.compile(r"Metrics: http://127\.0\.0\.1:(\d+)/metrics")
START_SECONDS = 60
STOP_SECONDS = 15


@pytest.fixture
def start(tmp_path, joining_ray):
    """Start services at once, as processes; returns all that were started, by name.

    A name may carry a number, as in worker-2.
    """
    started = {}

    def start(broker_url, store, *names):
        environment = {
            **os.environ,
            **joining_ray,
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
            "OMP_NUM_THREADS": "1",
            "SEEDSWEEP_BROKER_URL": broker_url,
            "SEEDSWEEP_STORE_URL": f"file:{store}",
        }
        for name in names:
            kind = name.partition("-")[0]
            command = [sys.executable, "-m", "seedsweep.cli", kind, *OPTIONS.get(kind, ())]
            started[name] = Process(command, tmp_path, environment, tmp_path / f"{name}.log")
        return started

    yield start
    for service in started.values():
        if service.is_running:
            service.kill()


@pytest.fixture
def logged(wait_until):
    """Wait until a service has logged something; returns what the pattern found."""

    def logged(service, pattern):
        def found():
            assert service.is_running, service.log.read_text()
            return re.search(pattern, service.log.read_text())

        return wait_until(found, timeout=START_SECONDS)

    return logged


@pytest.fixture
def end(wait_until):
    """End all services at once with one SIGTERM; each is to end in good order, and soon."""

    def end(services):
        for service in services.values():
            os.kill(service.pid, signal.SIGTERM)
        wait_until(lambda: not any(s.is_running for s in services.values()), STOP_SECONDS)
        for name, service in services.items():
            log = service.log.read_text()
            assert service.stop() == 0, f"{name}:\n{log}"
            assert "Traceback" not in log, log

    return end


def read_health(port, page):
    """What a service says of its health: the status, and why."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def read_metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return answer.read().decode()


def test_services_show_life_and_metrics_on_loopback_and_take_leave_on_sigterm(
    start, logged, end, broker_url, workforce, tmp_path, wait_until
):
    services = start(broker_url, tmp_path / "store", *SERVICES)
    ports = {name: int(logged(service, METRICS)[1]) for name, service in services.items()}
    assert len(set(ports.values())) == len(SERVICES)
    wait_until(workforce.is_led, START_SECONDS)
    wait_until(workforce.analysts, START_SECONDS)
    (sign,) = wait_until(workforce.signs, START_SECONDS)
    assert str(services["worker"].pid) in sign.worker.name
    for name, port in ports.items():
        leads = "seedsweep_scheduler_leading 1.0" in read_metrics(port)
        assert leads == (name == "scheduler")
        # Whatever listens on every address of the machine answers here too.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=60)
        assert read_health(port, "healthz") == (200, "fine\n")
        wait_until(lambda port=port: read_health(port, "readyz") == (200, "fine\n"), START_SECONDS)
    end(services)
    assert workforce.signs() == []
    assert not workforce.is_led()


def test_the_scheduler_tells_prometheus_where_each_service_shows_metrics_while_it_lives(
    start, logged, end, broker_url, tmp_path, wait_until
):
    services = start(broker_url, tmp_path / "store", *SERVICES, "worker-2")
    found = {name: f"127.0.0.1:{logged(s, METRICS)[1]}" for name, s in services.items()}

    def targets():
        with urllib.request.urlopen(f"http://{found['scheduler']}/targets", timeout=60) as answer:
            return {t["targets"][0]: t["labels"] for t in json.load(answer)}

    wait_until(lambda: targets().keys() == set(found.values()), START_SECONDS)
    for name, address in found.items():
        assert targets()[address]["job"] == f"seedsweep-{name.partition('-')[0]}"
        assert "seedsweep_last_progress" in read_metrics(address.rpartition(":")[2])
    labels = targets()[found["worker"]]
    assert (labels["host"], labels["device"]) == (platform.node(), "cpu")
    assert str(services["worker"].pid) in labels["worker"]
    services.pop("worker-2").kill()
    # Whoever takes leave is gone before the one whose lease has to run out.
    logged(services["worker"], "is ready")
    end({"worker": services.pop("worker")})
    assert targets().keys() == set(found.values()) - {found["worker"]}
    left = {found["scheduler"], found["analyst"]}
    wait_until(lambda: targets().keys() == left, 2 * LEASE_MS / 1000)
    end(services)


def test_services_wait_for_a_broker_that_is_away_and_end_on_sigterm(
    start, logged, end, free_port, tmp_path
):
    """They live, but are not ready, and say why."""
    services = start(f"redis://127.0.0.1:{free_port()}/0", tmp_path / "store", *SERVICES)
    ports = {name: int(logged(service, METRICS)[1]) for name, service in services.items()}
    logged(services["scheduler"], "The scheduler waits: The broker does not answer")
    logged(services["analyst"], "The analyst waits: The broker does not answer")
    logged(services["worker"], "No units are taken for now: The broker does not answer")
    for port in ports.values():
        assert read_health(port, "healthz") == (200, "fine\n")
        status, why = read_health(port, "readyz")
        assert status == 503
        assert re.search(r"waits for the broker at 127\.0\.0\.1:\d+, which has not answered", why)
        assert "start it" in why
        assert "Do not restart this service" in why
        assert "seedsweep_broker_answers 0.0" in read_metrics(port)
    end(services)


def test_services_wait_for_a_store_that_cannot_be_read_and_end_on_sigterm(
    start, logged, end, broker_url, tmp_path
):
    """A file stands where the store's folder should be, and there is work for everyone."""
    (tmp_path / "taken").write_text("a file")
    set_to_work(broker_url)
    services = start(broker_url, tmp_path / "taken", "worker")
    logged(services["worker"], "Unit 0 .* is handed back, not counted as failed: The store")
    # Afterwards, since a scheduler that knows no campaign sends workers nowhere.
    start(broker_url, tmp_path / "taken", "scheduler", "analyst")
    logged(services["scheduler"], "The scheduler waits: The store .* could not list")
    logged(services["analyst"], "The analyst waits: The store .* could not list")
    end(services)


def set_to_work(broker_url):
    """Have a prompt wait for an analyst, and send a unit to the workers."""
    campaign = make_campaign(seeds=1)
    ledger, model_id = Ledger(broker_url), campaign.model.model_id
    restored = nothing_done(2, done=np.array([False, True]), ready=(1,))
    ledger.restore(campaign.campaign_id, restored)
    ledger.begin_epoch()
    Workforce(broker_url).demand({model_id: Demand(1, 1)})
    token, indexes = ledger.issue(campaign.campaign_id, 1)
    plan = Plan(campaign, ["a cat", "a dog"], (SeedRange(first=0, last=0),))
    units = [plan.unit(index, token) for index in indexes]
    publish(make_app(broker_url), queue_of(model_id), units)


def test_a_worker_that_fails_whatever_it_is_given_ends_with_exit_code_1_and_parks_nothing(
    start, broker_url, tmp_path, wait_until, monkeypatch
):
    """Its device computes nothing right."""
    (tmp_path / "broken.py").write_text("def draw(*_):\n    raise RuntimeError('no such kernel')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SEEDSWEEP_ALLOW_PYTHON", "broken:draw")
    model = Model(pipeline="python", path="broken:draw")
    model = model.model_copy(update={"fingerprint": fingerprint_model(model)})
    campaign = make_campaign("broken", prompts=8, model=model, seeds=1)
    store = FolderStore(tmp_path / "store")
    plan = Plan(
        campaign, [f"prompt {number}" for number in range(8)], (SeedRange(first=0, last=0),)
    )
    submit_campaign(store, plan)
    services = start(broker_url, tmp_path / "store", "scheduler", "worker")
    worker = services["worker"]
    wait_until(lambda: not worker.is_running, START_SECONDS)
    said = worker.log.read_text()
    assert worker.stop() == 1, said
    sentence = r"The worker \S+ failed 5 different prompts in a row and takes itself out"
    assert re.search(f" ERROR {sentence}", said)
    assert re.match(sentence, said.splitlines()[-1])
    assert "Traceback" not in said
    counts = Ledger(broker_url).counts(campaign.campaign_id)
    assert (counts.parked, counts.claimed, counts.remaining) == (0, 0, 8)
    (sign,) = Workforce(broker_url).signs()
    assert not sign.alive
    assert re.fullmatch(sentence + ".*", sign.worker.why_out)


@pytest.mark.parametrize("end", ["RuntimeError('surprise')", "WorkerTerminate(0)", "None"])
def test_a_worker_whose_celery_ends_unasked_never_ends_with_exit_code_0(end, broker_url, tmp_path):
    """Whatever Celery takes for the end: an error, an order of its own, or nothing at all."""
    code = (
        "from celery.exceptions import WorkerTerminate\n"
        "from seedsweep.cli.main import main\n"
        "from seedsweep.workers.generation.consumer import PatientConsumer\n"
        "def end(_):\n"
        f"    if {end}: raise {end}\n"
        "PatientConsumer.start = end\n"
        "main()"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SEEDSWEEP_BROKER_URL": broker_url,
        "SEEDSWEEP_STORE_URL": f"file:{tmp_path}",
    }
    finished = subprocess.run(
        [sys.executable, "-c", code, "worker", "--device", "cpu", "--metrics-port", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert finished.returncode == 3, finished.stderr
    said = r"The worker \S+ ended though nobody asked it to; see what it logged before, .*"
    assert re.fullmatch(said, finished.stderr.splitlines()[-1])


def test_a_service_tries_its_own_ports_unless_one_is_given():
    assert list(MetricsAddress("h", None).ports(9410)) == list(range(9410, 9420))
    assert list(MetricsAddress("h", 8000).ports(9410)) == [8000]
    assert list(MetricsAddress("h", 0).ports(9410)) == []


def test_workers_of_one_host_are_called_differently():
    code = (
        "from seedsweep.scheduler.services.serve import worker_name; print(worker_name('cuda:1'))"
    )
    other = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip()
    names = {worker_name("cuda:1"), worker_name("cuda:0"), worker_name("cpu"), other}
    assert len(names) == 4
    assert all(":" not in name for name in names)
