"""Pause, resume and cancel: what the user wants is stored first, then told to the broker."""

from typing import Literal

from storage.campaigns import load_campaign, load_control, store_control
from storage.errors import BrokerUnavailableError
from storage.ledger import Ledger
from storage.store import Store

State = Literal["active", "paused", "cancelled"]


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
