"""The command that makes images again from their records."""

from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import AsJson, CampaignId, StoreUrl, find_campaign, find_store, show_json
from seedsweep.storage.errors import ConfigError

if TYPE_CHECKING:
    from seedsweep.audit.replay.replay import Replays


def replay(
    campaign_id: CampaignId,
    prompt: Annotated[
        str | None, typer.Option(metavar="P", help="The prompt's text, or its prompt_id.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="S", help="The image's seed.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="N stored images, drawn at random.")
    ] = None,
    sample_seed: Annotated[int, typer.Option(help="The same number draws the same images.")] = 0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda:0, …; unless given, as recorded, else the first visible."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; as recorded unless given.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make images again from their records, and compare them with what is stored.

    If they are not equal bit for bit, it says how far they differ, and what on this machine is not
    as recorded. It refuses another model than the one that was submitted. Exit code 1 says that
    pixels differ though nothing recorded does.

    Example: seedsweep replay emoji-0123456789ab --prompt jar --seed 3

    Example: seedsweep replay emoji-0123456789ab --sample 50 --sample-seed 1
    """
    from seedsweep.audit.replay.replay import ReplayOptions, replay_one, replay_some
    from seedsweep.cli.progress_bars import counted
    from seedsweep.cli.replay_table import print_replays
    from seedsweep.workers.devices import choose_device

    options = ReplayOptions(choose_device(device) if device else None, threads)
    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    with counted("images made again") as progress:
        if sample is not None and prompt is None and seed is None:
            replays = replay_some(opened, campaign_id, sample, sample_seed, options, progress)
        elif sample is None and prompt is not None and seed is not None:
            replays = replay_one(opened, campaign_id, prompt, seed, options, progress)
        else:
            raise ConfigError("Give --prompt and --seed for one image, or --sample for many.")
    if as_json:
        show_json(_for_scripts(replays))
    else:
        print_replays(replays)
    if replays.unexplained:
        raise typer.Exit(1)


def _for_scripts(replays: "Replays") -> dict[str, object]:
    return {
        "campaign": replays.campaign_id,
        "images": len(replays.replays),
        "equal": replays.equal,
        "explained": len(replays.explained),
        "unexplained": len(replays.unexplained),
        "not_made": replays.not_made,
        "parked": replays.parked,
        "replays": [replay.model_dump(mode="json") for replay in replays.replays],
    }
