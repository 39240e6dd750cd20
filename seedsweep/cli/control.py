"""The commands that steer a campaign which is submitted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import (
    CampaignId,
    Priority,
    StoreUrl,
    Weight,
    find,
    find_broker,
    find_campaign,
    find_store,
    say,
)
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError

if TYPE_CHECKING:
    from seedsweep.scheduler.campaign.control import State

SAVED = (
    "Saved. It takes effect when a scheduler next reads the store, within seconds; while none "
    "runs, not before."
)


_NOW: dict["State", str] = {
    "active": "goes on now",
    "paused": "is paused now",
    "cancelled": "is cancelled now",
}
_SOON: dict["State", str] = {
    "active": "is to go on",
    "paused": "is to be paused",
    "cancelled": "is to be cancelled",
}


def prioritise(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    priority: Priority = None,
    weight: Weight = None,
) -> None:
    """Change how a campaign shares workers with others, while it runs.

    One of higher priority goes first; among equals each gets its share by weight.

    Example: seedsweep prioritise emoji-0123456789ab --priority 1 --weight 2
    """
    from seedsweep.scheduler.campaign.control import prioritise as prioritised

    if priority is None and weight is None:
        raise ConfigError("Nothing is to be changed; give --priority, --weight or both.")
    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    control = prioritised(opened, campaign_id, priority, weight)
    say(
        f"The campaign {campaign_id} is to have priority {control.priority} and weight "
        f"{control.weight:g}. {SAVED}"
    )


def pause(campaign_id: CampaignId, store: StoreUrl = None) -> None:
    """Pause a campaign: workers finish the units that they have begun, and begin no more.

    The analyst ends the prompts that it has begun, too. That takes effect at once if
    SEEDSWEEP_BROKER_URL names the broker, else once a scheduler reads the store, within seconds.

    Example: seedsweep pause emoji-0123456789ab
    """
    _steer(campaign_id, store, "paused")


def resume(
    campaign_id: CampaignId,
    store: StoreUrl = None,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="Try its parked units again: those given up after three failures or five lost "
            "workers. A cancelled campaign is refused.",
        ),
    ] = False,
    training_set: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where its training set lies now, if it was moved; another set is refused.",
        ),
    ] = None,
) -> None:
    """Let a paused or cancelled campaign go on, or have what failed in it tried again.

    That takes effect at once if SEEDSWEEP_BROKER_URL names the broker, else once a scheduler reads
    the store, within seconds. Without a scheduler, `run` the file again.

    Example: seedsweep resume emoji-0123456789ab --failed

    Example: seedsweep resume emoji-0123456789ab --training-set /mnt/new/train.parquet
    """
    if training_set is not None and _relocate(campaign_id, store, training_set) and not failed:
        return
    if failed:
        _retry(campaign_id, store)
    else:
        _steer(campaign_id, store, "active")


def cancel(campaign_id: CampaignId, store: StoreUrl = None) -> None:
    """Give a campaign up; what it has made stays in the store, and `resume` lets it go on.

    Workers and the analyst finish the units and prompts that they have begun, and begin no more.
    That takes effect at once if SEEDSWEEP_BROKER_URL names the broker, else once a scheduler reads
    the store, within seconds.

    Example: seedsweep cancel emoji-0123456789ab
    """
    _steer(campaign_id, store, "cancelled")


def _relocate(campaign_id: str, url: str | None, path: Path) -> bool:
    """Returns whether the campaign goes on as it is."""
    from seedsweep.scheduler.campaign.relocation import relocate
    from seedsweep.storage.campaigns import load_control

    opened = find_store(url)
    campaign_id = find_campaign(opened, campaign_id)
    relocate(opened, campaign_id, path)
    say(f"The training set of {campaign_id} is read at {path.absolute()} from now on.")
    return load_control(opened, campaign_id).state == "active"


def _steer(campaign_id: str, url: str | None, state: "State") -> None:
    from seedsweep.scheduler.campaign.control import steer

    environment, opened = find(url)
    campaign_id = find_campaign(opened, campaign_id)
    broker = find_broker(environment)
    steered = steer(opened, campaign_id, state, broker.ledger if broker else None)
    if steered.settled:
        say(f"The campaign {campaign_id} is done already; nothing was changed.")
    elif steered.before == state == "active":
        say(f"The campaign {campaign_id} was neither paused nor cancelled; nothing was changed.")
    elif steered.before == state:
        say(f"The campaign {campaign_id} was {state} already.")
    elif steered.told:
        say(f"The campaign {campaign_id} {_NOW[state]}.")
    else:
        say(f"The campaign {campaign_id} {_SOON[state]}. {SAVED}")


def _retry(campaign_id: str, url: str | None) -> None:
    from seedsweep.scheduler.campaign.control import retry_parked

    environment, opened = find(url)
    campaign_id = find_campaign(opened, campaign_id)
    broker = find_broker(environment)
    retried = retry_parked(opened, campaign_id, broker.ledger if broker else None)
    units, are = count_words(retried.units, "parked unit"), "is" if retried.units == 1 else "are"
    none = f"No unit of {campaign_id} is parked, so none is tried again"
    if retried.made and not retried.units:
        made, are = count_words(retried.made, "parked unit"), "is" if retried.made == 1 else "are"
        none = f"{made} of {campaign_id} {are} made by now, so none is tried again"
    if retried.settled:
        say(f"{none}; the campaign is done already, and nothing was changed.")
    elif not retried.units and retried.before == "active":
        say(f"{none}, and the campaign was neither paused nor cancelled.")
    elif not retried.units:
        what, then = (_NOW, "") if retried.told else (_SOON, f" {SAVED}")
        say(f"{none}; the campaign {what['active']}.{then}")
    elif retried.told:
        say(f"{units} of {campaign_id} {are} tried again now.")
    else:
        say(
            f"{units} of {campaign_id} {are} tried again when it is run again; "
            "if a scheduler serves it, repeat this once the broker answers."
        )
