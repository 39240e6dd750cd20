"""What the actors of an analyst did, added to its metrics."""

from seedsweep.workers.analysts.actor import Analysed
from seedsweep.workers.monitoring import metrics, store_watch


def note(analysed: Analysed) -> None:
    """Add what an actor took for a prompt, whatever became of it; nothing if the actor was lost,
    since nobody knows what it had done."""
    effort = analysed.effort
    if effort is None:
        return
    metrics.ANALYSIS_SECONDS.observe(analysed.seconds)
    for step, seconds in effort.steps:
        metrics.STEP_SECONDS.labels(step).observe(seconds)
    metrics.ANALYSED_IMAGES.inc(effort.images)
    metrics.DECODED_IMAGES.inc(effort.decoded)
    metrics.PAIRS.inc(effort.pairs)
    metrics.CANDIDATE_PAIRS.inc(effort.candidate_pairs)
    for request in effort.requests:
        store_watch.note(request)
