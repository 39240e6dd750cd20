"""What workers do with units that a dispatcher has sent."""

from seedsweep.storage.keys import unit_shard
from seedsweep.workers.generation.celery_app import queue_of


def queue_key(plan):
    return f"seedsweep:{queue_of(plan.campaign.model.model_id)}"


def work_off(published, ledger, plan, broker, store=None):
    """Claim and complete whatever was published, as workers would."""
    campaign_id = plan.campaign.campaign_id
    while published:
        unit = published.pop(0)
        broker.lpop(queue_key(plan))
        if ledger.claim(campaign_id, unit.index, unit.token).outcome == "granted":
            if store is not None:
                store.create(unit_shard(unit), b"shard")
            ledger.complete(campaign_id, unit.index)
            yield unit
