"""Two hosts, and a cable that is out for longer than leases and connections last.

Scheduler, analyst, broker and S3 server are on one, the workers on the other. Network namespaces
stand for the hosts, so everything is lost silently, as it is where a switch fails.
"""

import json
import time

import pytest

from seedsweep.storage.broker.connection import CONNECT_SECONDS, TIMEOUT_SECONDS
from seedsweep.storage.ledger import LEASE_MS, Ledger
from seedsweep.storage.stores import open_store
from seedsweep.storage.workforce import Workforce
from tests.support.deployment import PROMPTS, Deployment, pixels, write_campaign
from tests.support.hosts import two_hosts, why_not
from tests.support.servers import wait_until

SEEDS = 960
UNITS = len(PROMPTS) * SEEDS // 20
WORKERS = ("worker-0", "worker-1")
IN_HAND = 2 * 20
"""Images that a worker had claimed already: one unit that it renders, and one that it stores."""

CUT_SECONDS = max(2 * LEASE_MS / 1000, TIMEOUT_SECONDS + CONNECT_SECONDS)
"""Leases have run out, and no client waits any longer for an answer on the connection it had."""


@pytest.fixture
def hosts():
    """The host that serves and the host that works."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def deployment(hosts, tmp_path, request):
    served, working = hosts
    failed = request.session.testsfailed
    with served.inside(), Deployment(tmp_path, host=served.address) as deployment:
        deployment.create_bucket()
        deployment.start_services(workers=0)
        with working.inside():
            for name in WORKERS:
                deployment.start_worker(name)
        yield deployment
        if request.session.testsfailed > failed:
            print(deployment.logs())


def images_made(workforce):
    """How many images each worker had stored when it last showed life."""
    return {sign.worker.name: sign.worker.images for sign in workforce.signs()}


def run_embedded(deployment, file, folder):
    """The same campaign on one machine with a folder store: its pixels and its results."""
    url = f"file:{folder}"
    campaign_id = deployment.seedsweep("run", str(file), store=url).splitlines()[-1]
    results = deployment.seedsweep("results", campaign_id, "--json", store=url)
    return pixels(open_store(url), campaign_id), json.loads(results)


@pytest.mark.nightly
@pytest.mark.parametrize("outage", [CUT_SECONDS, 60.0])
def test_a_cable_that_is_out_for_longer_than_leases_last_costs_time_and_nothing_else(
    hosts, deployment, tmp_path, monkeypatch, outage
):
    served, _ = hosts
    for name, value in deployment.s3.environment.items():
        monkeypatch.setenv(name, value)
    file = write_campaign(tmp_path, "cable", SEEDS)
    ledger, workforce = Ledger(deployment.broker_url), Workforce(deployment.broker_url)
    processes = {name: deployment.services[name].pid for name in WORKERS}

    campaign_id = deployment.submit(file)
    wait_until(lambda: ledger.counts(campaign_id), timeout=60)
    wait_until(lambda: ledger.counts(campaign_id).done > UNITS // 6, timeout=60)
    served.cut()
    cut_at = time.monotonic()
    expected = run_embedded(deployment, file, tmp_path / "embedded")

    def is_over():
        counts = ledger.counts(campaign_id)
        lost = counts.claimed == 0 and counts.failing > 0
        return lost and time.monotonic() - cut_at >= outage

    wait_until(is_over, timeout=4 * outage)
    done = ledger.counts(campaign_id).done
    assert done < UNITS // 2
    assert [sign.alive for sign in workforce.signs()] == [False, False]
    served.heal()
    healed_at = time.monotonic()

    def seconds_until(condition):
        wait_until(condition, timeout=90)
        return time.monotonic() - healed_at

    seconds_until(lambda: all(sign.alive for sign in workforce.signs()))
    back = images_made(workforce)
    at_work = {
        name: seconds_until(lambda name=name: images_made(workforce)[name] > back[name] + IN_HAND)
        for name in WORKERS
    }
    settled = seconds_until(lambda: ledger.counts(campaign_id).settled)
    for name, seconds in at_work.items():
        print(f"{name} made images of new units {seconds:.1f} s after the cable was back")
    print(f"the other {UNITS - done} of {UNITS} units were done after {settled:.1f} s")
    assert {name: deployment.services[name].pid for name in WORKERS} == processes
    assert all(service.is_running for service in deployment.services.values())
    found = pixels(open_store(deployment.store_url), campaign_id)
    results = json.loads(deployment.seedsweep("results", campaign_id, "--json"))
    assert (found, results) == expected
    assert len(found) == len(PROMPTS) * SEEDS
    status = deployment.status(campaign_id)
    assert (status["state"], status["units_parked"]) == ("done", 0)
