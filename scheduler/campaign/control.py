"""What the user wants of a campaign that runs: stored first, then told to the broker."""

from dataclasses import dataclass
from typing import Literal

from seedsweep.storage.campaigns import (
    drop_parked,
    load_campaign,
    load_control,
    load_parked,
    store_control,
)
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.receipts import is_done
from seedsweep.storage.records import Control
from seedsweep.storage.store import Store

State = Literal["active", "paused", "cancelled"]


@dataclass(frozen=True, slots=True)
class Retried:
    """How many parked units are tried again, and whether the broker knows it already."""

    units: int
    told: bool


def steer(store: Store, campaign_id: str, state: State, ledger: Ledger | None) -> bool:
    """Have a campaign go on, rest or end; units under way are finished.

    True where the broker was told at once: no unit is claimed from then on. Else the scheduler
    reads it from the store, within seconds of its next look. Raises `ConfigError` where the store
    knows no such campaign.
    """
    load_campaign(store, campaign_id)
    control = load_control(store, campaign_id)
    store_control(store, campaign_id, control.model_copy(update={"state": state}))
    if ledger is None:
        return False
    try:
        ledger.set_state(campaign_id, state)
    except BrokerUnavailableError:
        return False
    return True


def prioritise(
    store: Store, campaign_id: str, priority: int | None, weight: float | None
) -> Control:
    """Change a campaign's priority or weight, or both; returns what is wanted of it now.

    The scheduler reads it from the store, within seconds of its next look. The
    values must be in the range of `Control`. Raises `ConfigError` where the store knows no such
    campaign.
    """
    load_campaign(store, campaign_id)
    control = load_control(store, campaign_id)
    wanted = {"priority": priority, "weight": weight}
    changes = {name: value for name, value in wanted.items() if value is not None}
    control = Control.model_validate(control.model_dump() | changes)
    store_control(store, campaign_id, control)
    return control


def retry_parked(store: Store, campaign_id: str, ledger: Ledger | None) -> Retried:
    """Have a campaign go on and its parked units tried again, as if they had never failed.

    Once a prompt's units are done or parked again it is analysed again; until then its present
    result stays. Where the broker was not told, whatever restores the campaign from the store
    finds the units open, and the same call tells a broker that answers again; so it does after
    anything that ended it early. Raises `ConfigError` where the store knows no such campaign, or
    where it is cancelled.
    """
    campaign = load_campaign(store, campaign_id).campaign
    if load_control(store, campaign_id).state == "cancelled":
        raise ConfigError(
            f"The campaign {campaign_id} is cancelled, so none of its units is tried again; "
            f"let it go on first: `seedsweep resume {campaign_id}`."
        )
    records = load_parked(store, campaign_id)
    # A worker that was thought lost may have stored a parked unit after all.
    open_again = {
        unit.index for unit in records if not is_done(store, campaign, unit.prompt_id, unit.seeds)
    }
    for unit in records:
        drop_parked(store, campaign_id, unit.index)
    told = steer(store, campaign_id, "active", ledger)
    if ledger is None or not told:
        return Retried(len(open_again), False)
    try:
        open_again |= ledger.parked_units(campaign_id)
        ledger.retry(campaign_id, sorted(open_again))
    except BrokerUnavailableError:
        return Retried(len(open_again), False)
    return Retried(len(open_again), True)
