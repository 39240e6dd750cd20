"""What `verify` prints: for people and for scripts."""

from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.storage.verification_results import Coverage, VerificationResult


def summary(verification: VerificationResult) -> list[str]:
    """What came of it, in sentences: the headline first."""
    settings = verification.settings
    pictures = sum(map(len, verification.groups))
    sentences = [
        f"Distinct training pictures extracted: {len(verification.groups)} "
        f"(before grouping those as near each other as a match has to be: {pictures}). "
        f"Prompts that extract them: {len(verification.prompts_extracted)}.",
        f"Flagged prompts that extract one: {flagged_rate(verification)} "
        f"({_method(verification)}).",
    ]
    if controls := control_rate(verification):
        sentences.append(
            f"Control pictures that would be extractions, none of which was trained on: {controls} "
            f"(likewise){_of_controls(verification)}."
        )
    sentences += _covered(verification.coverage, settings.flip)
    whose = {"training": "the training picture's", "generation": "the generation's"}
    sentences.append(
        f"An extraction is a match with l2 ≤ {settings.threshold:g} and below 256 px an adaptive "
        f"score ≤ 1: l2 ÷ "
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
    """How many of the flagged prompts that were looked at extract a training picture."""
    return rate(len(verification.prompts_extracted), len(verification.prompts))


def _method(verification: VerificationResult) -> str:
    share = flagged_rate(verification)
    return f"{100 * share.confidence:g} %, {share.method}"


def control_rate(verification: VerificationResult) -> Rate | None:
    """How many of the controls would be extractions, None where there are none."""
    controls = verification.controls
    return rate(controls.matches, controls.searched) if controls else None


def _of_controls(verification: VerificationResult) -> str:
    controls = verification.controls
    if controls is None:
        return ""
    unreadable = controls.coverage.unreadable
    first = "" if controls.whole else f"; the first {controls.searched:,} of the set"
    return first + (f"; {unreadable} could not be read" if unreadable else "")


def _covered(coverage: Coverage, flip: bool) -> list[str]:
    sentences = [
        f"{coverage.read:,} of {coverage.pictures:,} pictures of {coverage.path} could be read "
        f"and were compared{', as they are and mirrored' if flip else ''}."
    ]
    if coverage.examples:
        named = "; ".join(f"{one.name} ({one.reason})" for one in coverage.examples)
        sentences.append(f"Of {coverage.unreadable:,} that could not the first are {named}.")
    if coverage.broken:
        first = coverage.broken[0]
        sentences.append(
            f"Files that could not be read to their end, and may hold more: {len(coverage.broken)}."
            f" The first: {first.name} ({first.reason})."
        )
    return sentences
