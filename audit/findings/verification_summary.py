"""What `verify` prints: for people and for scripts."""

from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.storage.verification_results import Coverage, VerificationResult
from seedsweep.workers.training.kinds import left_out_words
from seedsweep.workers.training.pictures import sentences_on


def summary(verification: VerificationResult) -> list[str]:
    """What came of it, in sentences: the headline first."""
    settings = verification.settings
    pictures = sum(map(len, verification.groups))
    sentences = [
        f"Distinct training pictures extracted: {len(verification.groups)} "
        f"(before grouping those as near each other as a match has to be: {pictures}). "
        f"Prompts that extract them: {len(verification.prompts_extracted)}.",
        f"Flagged prompts that match: {flagged_rate(verification)} ({_method(verification)}).",
    ]
    if controls := control_rate(verification):
        sentences.append(
            f"Control pictures that match, none of which was trained on: {controls} "
            f"(likewise){_of_controls(verification)}."
        )
    sentences += _covered(verification.coverage, settings.flip)
    whose = {"training": "the training picture's", "generation": "the generation's"}
    sentences.append(
        f"A match has l2 ≤ {settings.threshold:g} and below 256 px an adaptive score ≤ 1: l2 ÷ "
        f"({settings.alpha:g} × the mean l2 to {whose[settings.neighbours_of]} "  # noqa: RUF001
        f"{settings.neighbours} nearest training pictures). k: training pictures within l2 "
        f"{settings.threshold:g} of the matched one, itself among them."
    )
    if verification.not_verified:
        sentences.append(
            f"Cliques whose picture could not be looked at: {len(verification.not_verified)}. "
            f"The first: {verification.not_verified[0].reason}"
        )
    return sentences


def flagged_rate(verification: VerificationResult) -> Rate:
    """How many of the flagged prompts that were looked at match."""
    return rate(len(verification.prompts_extracted), len(verification.prompts))


def _method(verification: VerificationResult) -> str:
    share = flagged_rate(verification)
    return f"{100 * share.confidence:g} %, {share.method}"


def control_rate(verification: VerificationResult) -> Rate | None:
    """How many of the controls match, None where there are none."""
    controls = verification.controls
    return rate(controls.matches, controls.searched) if controls else None


def _of_controls(verification: VerificationResult) -> str:
    controls = verification.controls
    if controls is None:
        return ""
    coverage = controls.coverage
    first = "" if controls.whole else f"; the first {controls.searched:,} of the set"
    unread = f"; {coverage.unreadable} could not be read" if coverage.unreadable else ""
    counts = {each.kind: each.count for each in coverage.left_out}
    return first + unread + (f"; left out: {left_out_words(counts)}" if counts else "")


def _covered(coverage: Coverage, flip: bool) -> list[str]:
    sentences = [
        f"{coverage.read:,} of {coverage.pictures:,} pictures of {coverage.path} could be read "
        f"and were compared{', as they are and mirrored' if flip else ''}."
    ]
    return sentences + sentences_on(coverage)
