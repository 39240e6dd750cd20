"""seedsweep as people deploy it: every service its own process, images in S3, a shared broker.

Whatever is restarted or killed on the way, and even if the broker forgets everything, the campaign
ends as an undisturbed one does on a single machine.
"""

import contextlib
import json
import time

import pytest
import redis

from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from seedsweep.storage.workforce import Workforce
from tests.support.deployment import PROMPTS, Deployment, Process, pixels, write_campaign
from tests.support.servers import wait_until
from tests.support.undisturbed import undisturbed

SEEDS, MANY_SEEDS = 200, 1000
"""Many are for the test in which every service is restarted while they are made."""

UNITS, MANY_UNITS = (len(PROMPTS) * seeds // 20 for seeds in (SEEDS, MANY_SEEDS))

WINDOW = 16
"""At most so many units are under way on two workers: two in hand, two buffered, two queued."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory, joining_ray):
    """Broker, S3 server, scheduler, analyst and two workers."""
    folder = tmp_path_factory.mktemp("deployment")
    with Deployment(folder, variables=joining_ray) as deployment:
        deployment.create_bucket()
        deployment.start_services()
        yield deployment


@pytest.fixture
def deployment(shared):
    """All of it runs, whatever the tests before have ended."""
    shared.start_again()
    return shared


@pytest.fixture(autouse=True)
def logs_of_failures(deployment, request):
    """Show what the services said where a test fails."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(deployment.logs())


@pytest.fixture
def store(deployment, monkeypatch):
    for name, value in deployment.s3.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(deployment.store_url)


@pytest.fixture
def ledger(deployment):
    return Ledger(deployment.broker_url)


@pytest.fixture
def expected(tmp_path):
    """What a campaign of so many seeds comes to undisturbed."""
    return lambda seeds: undisturbed(tmp_path, write_campaign(tmp_path, "undisturbed", seeds))


def counts_of(ledger, campaign_id):
    """The campaign's live counts, or None while the broker is away or does not know it."""
    try:
        return ledger.counts(campaign_id) if ledger.has_epoch() else None
    except BrokerUnavailableError:
        return None


def is_settled(ledger, campaign_id):
    counts = counts_of(ledger, campaign_id)
    return counts is not None and counts.settled


def has_done(ledger, campaign_id, units):
    counts = counts_of(ledger, campaign_id)
    return counts is not None and counts.done >= units


def images_made(deployment):
    """How many images the live workers have stored since they began."""
    return sum(sign.worker.images for sign in Workforce(deployment.broker_url).signs())


def switches(deployment):
    """How often the workers turned to a model, the first time included."""
    logs = [s.log.read_text() for name, s in deployment.services.items() if "worker" in name]
    return sum(log.count("are taken now") for log in logs)


def assert_equals_the_undisturbed_one(deployment, store, campaign_id, expected):
    assert pixels(store, campaign_id) == expected.pixels
    results = json.loads(deployment.seedsweep("results", campaign_id, "--json"))
    assert results == expected.results
    status = deployment.status(campaign_id)
    assert (status["state"], status["units_parked"]) == ("done", 0)


@pytest.mark.nightly
def test_every_service_is_restarted_in_the_middle_and_nothing_is_lost_or_doubled(
    deployment, store, ledger, expected
):
    file = write_campaign(deployment.folder, "restarts", MANY_SEEDS, model="restarts")
    campaign_id = deployment.submit(file)
    assert deployment.submit(file) == campaign_id
    services = deployment.services

    def restart_store():
        deployment.s3.kill()
        deployment.s3.restart()

    def restart(name, end):
        end(services[name])
        services[name].start()

    steps = [
        lambda: restart("broker", Process.kill),
        # Whose end takes seconds in which the workers go on: not among the last.
        lambda: restart("analyst", Process.kill),
        lambda: restart("analyst", Process.stop),
        restart_store,
        lambda: restart("scheduler", Process.stop),
        lambda: restart("scheduler", Process.kill),
        lambda: restart("worker-0", Process.kill),
        lambda: restart("worker-1", Process.stop),
        lambda: restart("broker", Process.stop),
    ]
    for number, step in enumerate(steps, start=1):
        goal = number * MANY_UNITS // (len(steps) + 1)
        wait_until(lambda goal=goal: has_done(ledger, campaign_id, goal), timeout=120)
        assert not is_settled(ledger, campaign_id)
        step()
    wait_until(lambda: is_settled(ledger, campaign_id), timeout=180)
    assert_equals_the_undisturbed_one(deployment, store, campaign_id, expected(MANY_SEEDS))


def test_a_broker_that_forgets_everything_is_mended_and_nothing_done_is_done_again(
    deployment, store, ledger, expected
):
    before = images_made(deployment)
    file = write_campaign(deployment.folder, "forgetful", SEEDS, model="forgetful")
    campaign_id = deployment.submit(file)
    wait_until(lambda: has_done(ledger, campaign_id, UNITS // 3), timeout=120)
    with contextlib.closing(redis.Redis.from_url(deployment.broker_url)) as client:
        client.flushall()
    wait_until(lambda: is_settled(ledger, campaign_id), timeout=120)
    again = images_made(deployment) - before - UNITS * 20
    assert 0 <= again <= 20 * WINDOW
    assert_equals_the_undisturbed_one(deployment, store, campaign_id, expected(SEEDS))


@pytest.mark.nightly
def test_two_campaigns_of_different_models_go_on_side_by_side(deployment, ledger):
    before = switches(deployment)
    names, folder = ("left", "right"), deployment.folder
    files = [write_campaign(folder, name, 500, model=name) for name in names]
    left, right = [deployment.submit(file) for file in files]
    wait_until(lambda: has_done(ledger, left, 20) and has_done(ledger, right, 20), timeout=120)
    assert not is_settled(ledger, left)
    assert not is_settled(ledger, right)
    wait_until(lambda: is_settled(ledger, left) and is_settled(ledger, right), timeout=120)
    # Each worker turns to its model, and one of them to the other's rest at the end.
    turns = switches(deployment) - before
    print(f"two campaigns of different models on two workers: {turns} turns to a model")
    assert turns <= 4


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_campaign_that_is_steered_begins_no_unit_and_goes_on_when_resumed(
    deployment, ledger, command, state
):
    campaign_id = deployment.submit(write_campaign(deployment.folder, command, 250, model=command))
    wait_until(lambda: has_done(ledger, campaign_id, 20), timeout=120)
    deployment.seedsweep(command, campaign_id)
    began = time.monotonic()
    at_once = ledger.counts(campaign_id)
    wait_until(lambda: ledger.counts(campaign_id).claimed == 0, timeout=30)
    seconds = time.monotonic() - began
    print(f"{command}: {seconds:.2f} s until the units under way were finished")
    rest = ledger.counts(campaign_id)
    assert rest.done - at_once.done <= at_once.claimed
    assert deployment.status(campaign_id)["state"] == state
    assert ledger.counts(campaign_id).done == rest.done
    deployment.seedsweep("resume", campaign_id)
    wait_until(lambda: is_settled(ledger, campaign_id), timeout=120)


def are_serving(deployment, names):
    """Whether all say so, and Ray, which has an answer of its own to SIGTERM, has started."""
    logs = [deployment.services[name].said for name in names if name != "analyst"]
    return all("is ready" in said for said in logs) and Workforce(deployment.broker_url).analysts()


def test_services_stop_in_good_order(deployment):
    names = [name for name in deployment.services if name != "broker"]
    wait_until(lambda: are_serving(deployment, names), timeout=60)
    codes = {name: deployment.services[name].stop() for name in names}
    assert codes == dict.fromkeys(names, 0)
    assert "Traceback" not in deployment.logs()
