"""The command that follows campaigns."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import (
    BY_ID,
    AsJson,
    StoreUrl,
    campaign_argument,
    find,
    find_broker,
    find_campaign,
    say,
    show_json,
)
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError, PermanentError

if TYPE_CHECKING:
    from seedsweep.scheduler.campaign.progress import Broker, Services


def status(
    campaign_id: Annotated[str | None, campaign_argument("[ID]", BY_ID)] = None,
    store: StoreUrl = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far campaigns are, newest first, who works on them, and what holds one up.

    Without ID it shows all campaigns of the store. With SEEDSWEEP_BROKER_URL it asks the deployment
    as well, and shows its workers.

    Example: seedsweep status --watch
    """
    from seedsweep.cli.status_table import Overview, watch_overview
    from seedsweep.scheduler.campaign.lookup import no_campaign
    from seedsweep.scheduler.campaign.progress import read_progress, read_services
    from seedsweep.storage.campaigns import list_campaigns

    if watch and as_json:
        raise ConfigError("--watch draws for people; for scripts call `status --json` repeatedly.")
    environment, opened = find(store)
    broker = find_broker(environment)
    one = None if campaign_id is None else find_campaign(opened, campaign_id)

    def look() -> Overview:
        try:
            return see(broker, read_services(broker) if broker else None)
        except BrokerUnavailableError as error:
            return see(None, None, str(error))

    def see(broker: "Broker | None", services: "Services | None", trouble: str = "") -> Overview:
        names = [one] if one else list_campaigns(opened)
        campaigns, broken = [], []
        for name in names:
            try:
                campaigns.append(read_progress(opened, name, broker, services))
            except PermanentError as error:
                broken.append(f"{name}: {error}")
        empty = "" if names else no_campaign(opened, broker is not None)
        return Overview(campaigns, services, trouble, tuple(broken), empty)

    if watch:
        watch_overview(look)
        return
    overview = look()
    if as_json:
        show_json([dataclasses.asdict(item) for item in overview.campaigns])
    else:
        overview.print()
    for sentence in overview.broken:
        say(sentence)
    if overview.broken:
        raise typer.Exit(1)
