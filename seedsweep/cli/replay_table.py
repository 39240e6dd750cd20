"""What `replay` prints for people."""

from collections.abc import Sequence

from seedsweep.audit.replay.replay import Replays
from seedsweep.cli.console import print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain
from seedsweep.scheduler.quantities import count_words
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
    for sentence in summary(replays):
        explain(sentence)


def summary(replays: Replays) -> list[str]:
    """What came of it, in sentences."""
    parts = [f"{replays.equal} of {len(replays.replays)} equal bit for bit"]
    if replays.explained:
        facts = sorted({d.fact for replay in replays.explained for d in replay.differences})
        parts.append(
            f"{_apart(replays.explained)}, where not all is as recorded: {', '.join(facts)}"
        )
    if replays.unexplained:
        parts.append(f"{_apart(replays.unexplained)}, though nothing recorded differs")
    sentences = ["; ".join(parts) + "."]
    if any(replay.here.device == "cpu" for replay in replays.unexplained):
        sentences.append("Of a CPU the type is not recorded: another one may make other pixels.")
    if replays.not_made or replays.parked:
        sentences.append(
            f"Also drawn, and left out: {count_words(replays.not_made, 'image')} not made, "
            f"{replays.parked} whose units are parked."
        )
    return sentences


def _apart(replays: Sequence[Replay]) -> str:
    known = [replay.distance.l2 for replay in replays if replay.distance]
    unknown = len(replays) - len(known)
    parts = [f"{len(known)} within l2 {max(known):.2g}"] if known else []
    if unknown:
        whose = "its picture was" if unknown == 1 else "their pictures were"
        parts.append(f"{unknown} at an unknown distance, since {whose} not kept")
    return " and ".join(parts)


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
