"""What is said of a match beside its distances."""

from collections.abc import Iterable

from seedsweep.storage.prompt_results import Match, PromptResult


def score_words(score: float | None) -> str:
    """An adaptive score, or that the training set has too few distinct pictures for one."""
    return "not scored" if score is None else f"{score:.2f}"


def earlier_words(results: Iterable[PromptResult], campaign_id: str) -> tuple[str, ...]:
    """That matches were scored by an earlier version, where some were."""
    count = sum(not match.distinct for result in results for match in result.matches)
    if not count:
        return ()
    return (
        f"Matches of an earlier version, scored by neighbours that need not be distinct, so that "
        f"copies in the training set hide extractions: {count}. `seedsweep analyse {campaign_id}` "
        "judges the stored images anew.",
    )


def agreement_words(match: Match) -> str:
    """Where both pictures agree, in few words."""
    if not match.distinct:
        return "not known"
    if match.agreement is None:
        return "plain alone"
    if match.agreement == 0:
        return "background"
    return f"{match.agreement:.0%}"
