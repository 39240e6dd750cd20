"""The command that writes a campaign file to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from seedsweep.cli.options import say, show
from seedsweep.storage.errors import ConfigError


def init(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model's folder, or its hub id.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="The prompts; unless given, the captions of the training set: of a Parquet file, "
            "or of a folder's metadata.csv. A model that makes pictures of seeds alone has none."
        ),
    ] = None,
    training_set: Annotated[
        Path | None, typer.Option(help="The pictures that the model was trained on.")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The column of prompts, if it is not called prompt, caption or text."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.toml", help="The file to write.")
    ] = Path("campaign.toml"),
) -> None:
    """Write a campaign file for a model, with the keys that most campaigns set.

    Each key has a comment; docs/campaign-file.md has all keys. The file is read again before
    it is left there: it is one that `plan` and `run` take.

    Example: seedsweep init examples/emoji/model --prompts examples/emoji/prompts.csv
    """
    from seedsweep.scheduler.campaign.draft import Ingredients, draft
    from seedsweep.scheduler.campaign.file import read_campaign
    from seedsweep.scheduler.prompt_lists.row_counts import RowCounts

    if output.exists():
        raise ConfigError(f"{output} is there already; name another file with -o.")
    text = draft(Ingredients(model, prompts, training_set, column), output)
    try:
        output.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{output} cannot be written ({error}); name another file.") from error
    rows = RowCounts()
    try:
        campaign, found, _ = read_campaign(output, rows)
    except ConfigError:
        output.unlink()
        raise
    listed, said = campaign.prompts, "No prompts: pictures of seeds alone."
    if listed:
        column = f", column {listed.column}" if listed.column else ""
        said = f"Prompts: {len(found):,} from {listed.file}{column}."
    size = f"{campaign.sampling.width} × {campaign.sampling.height}"  # noqa: RUF001
    say(f"{said} Pictures: {size} pixels.")
    if rows.skipped:
        say(f"Rows of the prompts: {rows}.")
    for remark in rows.remarks:
        say(remark)
    say(f"Look at it, then: seedsweep plan {output}")
    show(str(output))
