"""What `replay` prints for people."""

from seedsweep.audit.replay.replay import Replays
from seedsweep.audit.replay.replay_words import replay_words
from seedsweep.cli.console import print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain
from seedsweep.storage.replay_results import FactDifference, Replay

PROMPT_LENGTH = 40


def print_replays(replays: Replays) -> None:
    """Print a line for each image, then what all of them came to."""
    table = FittedTable(
        *("prompt", "seed", "pixels", "l2", "tiled l2", "levels", "share", "not as recorded"),
        text=("prompt", "not as recorded"),
        spared=("share", "levels", "tiled l2", "not as recorded", "l2"),
    )
    for replay in replays.replays:
        table.add_row(*_cells(replay))
    print_table(table)
    for sentence in replay_words(replays):
        explain(sentence)


def _cells(replay: Replay) -> list[str]:
    facts = "; ".join(map(_fact, replay.differences))
    because = facts or ("" if replay.is_equal else "nothing recorded differs")
    return [
        prompt_cell(replay.prompt, PROMPT_LENGTH),
        str(replay.seed),
        "equal" if replay.is_equal else "differ",
        *_distance_cells(replay),
        because,
    ]


def _distance_cells(replay: Replay) -> list[str]:
    distance = replay.distance
    if replay.is_equal:
        return [""] * 4
    if distance is None:
        return ["not kept", "", "", ""]
    return [
        f"{distance.l2:.2g}",
        f"{distance.tiled_l2:.2g}",
        str(distance.levels),
        f"{100 * distance.share:.3g} %",
    ]


def _fact(difference: FactDifference) -> str:
    return f"{difference.fact} {difference.recorded or 'none'} → {difference.here or 'none'}"
