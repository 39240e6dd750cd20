"""What the user wants of a campaign that runs: stored first, then told to the broker."""

import contextlib
from dataclasses import dataclass
from typing import Literal

from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.storage.campaigns import (
    drop_parked,
    load_campaign,
    load_control,
    load_parked,
    load_prompts,
    store_control,
)
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.pieces import is_made
from seedsweep.storage.records import Control, Submission
from seedsweep.storage.store import Store

State = Literal["active", "paused", "cancelled"]


@dataclass(frozen=True, slots=True)
class Steered:
    """What became of a change: what was wanted `before`, and whether the broker knows it already.
    `settled`: the campaign has nothing left to do, so nothing was changed.
    """

    before: State
    told: bool
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """How many parked units are tried again, how many turned out to be made, what was wanted of
    the campaign `before`, and whether the broker knows it already. `settled`: none was parked, and
    the campaign has nothing left to do, so nothing was changed.
    """

    units: int
    made: int
    before: State
    told: bool = False
    settled: bool = False


def steer(store: Store, campaign_id: str, state: State, ledger: Ledger | None) -> Steered:
    """Have a campaign go on, rest or end; units under way are finished. A settled one stays as it
    is.

    If the broker was told at once, no unit is claimed from then on. Else the scheduler reads it
    from the store, within seconds of its next look. Raises `ConfigError` if the store knows no
    such campaign, and for a cancelled one that is to rest.
    """
    submission = load_campaign(store, campaign_id)
    before = load_control(store, campaign_id).state
    if _is_settled(store, submission, ledger):
        return Steered(before, told=False, settled=True)
    if (before, state) == ("cancelled", "paused"):
        raise ConfigError(
            f"The campaign {campaign_id} is cancelled, so there is nothing to pause; "
            f"`seedsweep resume {campaign_id}` lets it go on."
        )
    return Steered(before, _want(store, campaign_id, state, ledger))


def _is_settled(store: Store, submission: Submission, ledger: Ledger | None) -> bool:
    """By the broker if it knows, else by the store."""
    with contextlib.suppress(BrokerUnavailableError):
        counts = ledger.counts(submission.campaign.campaign_id) if ledger else None
        if ledger and counts is not None and ledger.has_epoch():
            return counts.settled
    plan = load_plan(store, submission)
    restored = restore_state(store, plan, checkpointed=True)
    units_left = len(plan) - int(restored.done.sum()) - len(restored.parked) - restored.dropped
    return units_left == 0 and bool(restored.analysed.all())


def _want(store: Store, campaign_id: str, state: State, ledger: Ledger | None) -> bool:
    """Store what is wanted, then tell the broker; False if it was not told."""
    control = load_control(store, campaign_id)
    if control.state != state:
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
    values must be in the range of `Control`. Raises `ConfigError` if the store knows no such
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
    result stays. If the broker was not told, whatever restores the campaign from the store finds
    the units open, and the same call tells a broker that answers again; the same holds if it was
    ended early. Raises `ConfigError` if the store knows no such campaign, or if it is cancelled and
    has something left to do.
    """
    submission = load_campaign(store, campaign_id)
    before = load_control(store, campaign_id).state
    records = load_parked(store, campaign_id)
    settled = (before == "cancelled" or not records) and _is_settled(store, submission, ledger)
    if before == "cancelled" and not settled:
        raise ConfigError(
            f"The campaign {campaign_id} is cancelled, so none of its units is tried again; "
            f"let it go on first: `seedsweep resume {campaign_id}`."
        )
    parked = _parked_units(campaign_id, ledger)
    if settled and not records and not parked:
        return Retried(0, 0, before, settled=True)
    # A worker that was thought lost may have stored a parked unit after all.
    settings = load_prompts(store, campaign_id).settings if records else ()
    open_again = {unit.index for unit in records if not is_made(store, submission, unit, settings)}
    for unit in records:
        drop_parked(store, campaign_id, unit.index)
    made = len(records) - len(open_again)
    told = _want(store, campaign_id, "active", ledger)
    if ledger is None or not told:
        return Retried(len(open_again), made, before)
    try:
        open_again |= ledger.parked_units(campaign_id)
        ledger.retry(campaign_id, sorted(open_again))
    except BrokerUnavailableError:
        return Retried(len(open_again), made, before)
    return Retried(len(open_again), made, before, told=True)


def _parked_units(campaign_id: str, ledger: Ledger | None) -> frozenset[int]:
    """Those that the broker knows; none if it does not answer."""
    with contextlib.suppress(BrokerUnavailableError):
        return frozenset(ledger.parked_units(campaign_id)) if ledger else frozenset()
    return frozenset()
