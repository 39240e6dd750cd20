"""The one table of cliques and their matches, for `run`, `results`, `analyse` and `verify`."""

from collections.abc import Sequence

from rich.text import Text

from seedsweep.audit.findings.match_words import agreement_words, score_words
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.cli.console import coloured, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.storage.prompt_results import Match

PROMPT_LENGTH, CAPTION_LENGTH = 48, 32
FURTHER = "  another picture"
NEAR_COPIES = "k: near-copies of the matched training picture, itself among them; they count once."
TEXT = {"prompt", "training picture", "its caption"}
COLUMNS = (
    *("prompt", "clique", "extracted", "l2", "adaptive", "training picture", "agreement", "k"),
    *("its caption", "tiled l2", "mean distance", "seeds"),
)


def match_table(title: str = "", own: Sequence[str] = ()) -> FittedTable:
    """The empty table, with columns of one's `own` at the end. On a narrow terminal columns go from
    the right, what has nothing to say goes on any."""
    return FittedTable(
        *COLUMNS, *own, text={*TEXT, *own}, title=title, notes={"k": NEAR_COPIES}, no_empty=True
    )


def match_row(
    prompt: str,
    size: str,
    match: Match | None,
    caption: str = "",
    copies: int | None = None,
    mean_distance: float | None = None,
    seeds: int | None = None,
) -> list[str | Text]:
    """The cells of a clique, in the order of `COLUMNS`; what is not known is empty."""
    distance = "" if mean_distance is None else f"{mean_distance:.3f}"
    end = [distance, "" if seeds is None else str(seeds)]
    first = prompt if prompt == FURTHER else prompt_cell(prompt, PROMPT_LENGTH)
    if match is None:
        return [first, size, NOT_EXAMINED, *[""] * 7, *end]
    return [
        first,
        size,
        coloured("yes", "red") if match.extracted else "no",
        f"{match.l2:.3f}",
        score_words(match.adaptive),
        match.training_id,
        agreement_words(match),
        "" if copies is None else str(copies),
        prompt_cell(caption, CAPTION_LENGTH),
        f"{match.tiled_l2:.3f}",
        *end,
    ]
