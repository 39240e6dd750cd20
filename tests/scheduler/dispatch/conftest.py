"""A stored campaign, and dispatchers that send its units to a list."""

import pytest

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Worker
from seedsweep.storage.workforce import Workforce
from tests.support.campaigns import submit_pairs


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def plan(store):
    """A stored campaign of 30 prompts with two units each."""
    return submit_pairs(store)


@pytest.fixture
def published():
    """What the dispatcher sent, instead of a broker's queue."""
    return []


@pytest.fixture
def serve(broker):
    """Add workers that serve a model: no more than their signs of life."""

    def serve(workforce, plan, *names):
        model_id = plan.campaign.model.model_id
        for name in names:
            workforce.beat(
                Worker(name=name, host="", device="cpu", model="", images=0, images_per_second=0)
            )
            broker.hset("seedsweep:serves", name, model_id)

    return serve


@pytest.fixture
def dispatch(store, ledger, broker_url, broker):
    """Make a dispatcher of all campaigns in the store that sends to a list, and to the queue."""

    def dispatch(published, store=store):
        def publish(queue, units):
            for unit in units:
                published.append(unit)
                broker.rpush(f"seedsweep:{queue}", unit.index)

        campaigns = lambda: store.folders("campaigns/")  # noqa: E731
        return Dispatcher(store, ledger, Workforce(broker_url), publish, campaigns)

    return dispatch


@pytest.fixture
def dispatcher(dispatch, store, plan, published):
    dispatcher = dispatch(published)
    dispatcher.begin(plan, restore_state(store, plan))
    return dispatcher


@pytest.fixture
def submit_another(store, plan):
    """Submit another campaign over the same prompts."""

    def submit(name="other", **changes):
        changes = {"name": name, **changes}
        other = Plan(plan.campaign.model_copy(update=changes), plan.prompts, plan.cuts)
        submit_campaign(store, other)
        return other

    return submit
