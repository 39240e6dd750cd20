"""What came of making images again, in sentences."""

from collections.abc import Sequence

from seedsweep.audit.replay.replay import Replays
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.replay_results import Replay


def replay_words(replays: Replays) -> tuple[str, ...]:
    """How many are equal, and how far apart the others are, in sentences."""
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
    return tuple(sentences)


def _apart(replays: Sequence[Replay]) -> str:
    known = [replay.distance.l2 for replay in replays if replay.distance]
    unknown = len(replays) - len(known)
    parts = [f"{len(known)} within l2 {max(known):.2g}"] if known else []
    if unknown:
        whose = "its picture was" if unknown == 1 else "their pictures were"
        parts.append(f"{unknown} at an unknown distance, since {whose} not kept")
    return " and ".join(parts)
