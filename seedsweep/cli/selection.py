"""The command that chooses prompts from a training set."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from seedsweep.cli.options import AsJson, explain, say, show, show_json
from seedsweep.scheduler.quantities import count_words


def select(
    training_set: Annotated[
        Path,
        typer.Argument(metavar="TRAINING_SET", help="Parquet, tar, or a folder of pictures."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="A new .csv, .jsonl or .parquet for the prompts."
        ),
    ],
    most_duplicated: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The captions of the pictures with most copies."),
    ] = None,
    outliers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The captions of the pictures furthest from all others."
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Captions drawn at random, to compare with."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws others.")] = 0,
    column: Annotated[
        str, typer.Option(help="The column of pictures, if it is not the usual one.")
    ] = "",
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror images of each other are copies too.")
    ] = False,
    embedding: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An ONNX model, with a .toml beside it, that proposes copies and tells outliers.",
        ),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, show_default="one per core", help="Ray actors.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose prompts from a training set: those that a model is most likely to have memorised.

    The file has the columns `prompt`, `copies`, `training_id` and `why`. A campaign reads it with
    `file` and `column = "prompt"` in [prompts].

    Example: seedsweep select train.parquet -o chosen.csv --most-duplicated 50 --random 50
    """
    from seedsweep.cli.progress_bars import counted_in_turn
    from seedsweep.scheduler.environment import Environment
    from seedsweep.scheduler.selection.prompt_table import refuse_output, write_prompts
    from seedsweep.scheduler.selection.selection import SelectionOptions, select_prompts
    from seedsweep.workers.cluster.ray_cluster import Actors

    # All that may be refused comes before what takes long.
    refuse_output(output)
    options = SelectionOptions(
        training_set, most_duplicated, outliers, random, seed, column, flip, embedding
    )
    crew = Actors(actors or os.cpu_count() or 1, address=Environment().ray_address)
    with counted_in_turn() as progress:
        prompts, summary = select_prompts(options, crew, progress)
    write_prompts(prompts, output)
    if as_json:
        show_json(dataclasses.asdict(summary))
        return
    explain(
        f"{summary.distinct:,} distinct pictures, {summary.copied:,} of them with copies; "
        f"{count_words(summary.prompts, 'prompt')} chosen: "
        + ", ".join(f"{each.prompts:,} {each.why}" for each in summary.chosen)
        + "."
    )
    for note in summary.notes:
        explain(note)
    say('Set `file` to it and `column = "prompt"` in [prompts] of a campaign file.')
    show(str(output))
