"""What `verify` prints: for people and for scripts."""

from collections.abc import Mapping

from seedsweep.audit.findings.intervals import CONFIDENCE, Rate, poisson_bound, rate
from seedsweep.audit.findings.same_prompts import ALL_DIFFER, ids_once
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.verification_results import Coverage, VerificationResult
from seedsweep.workers.training.file_kinds import left_out_words
from seedsweep.workers.training.pictures import sentences_on


def summary(
    verification: VerificationResult,
    earlier: bool = True,
    first: Mapping[str, str] = ALL_DIFFER,
) -> list[str]:
    """What came of it, in sentences: the headline first. `earlier`: say also which matches an
    earlier version scored; `first`: as of `first_ones`."""
    settings = verification.settings
    pictures = sum(map(len, verification.groups))
    distinct = len(verification.groups)
    apart = f" ({pictures} with near-copies counted apart)" if pictures > distinct else ""
    sentences = [
        f"Distinct training pictures extracted: {distinct}{apart}. "
        f"Prompts that extract them: {len(verification.prompts_extracted)}.",
        f"Flagged prompts that extract one: {flagged_rate(verification, first)} "
        f"({_method(verification)}){_left_out(same_flagged(verification, first))}.",
    ]
    if controls := control_rate(verification):
        sentences.append(
            f"Control pictures that would be extractions, none of which was trained on: {controls} "
            f"(likewise){_of_controls(verification)}."
        )
    sentences += _by_chance(verification)
    sentences += _of_parts(verification)
    sentences += _covered(verification.coverage, settings.flip)
    whose = {"training": "the training picture's", "generation": "the generation's"}
    sentences.append(
        f"An extraction is a match with (1) l2 ≤ {settings.threshold:g}, (2) an agreement that is "
        f"not 0, the share of the picture where both have the same texture, and (3) below 256 px "
        f"an adaptive score ≤ 1: l2 ÷ ({settings.alpha:g} × the mean l2 to "  # noqa: RUF001
        f"{whose[settings.neighbours_of]} {settings.neighbours} nearest distinct training "
        "pictures)."
    )
    sentences += _of_matches(verification, earlier)
    if verification.not_verified:
        sentences.append(
            f"Cliques whose picture could not be looked at: {len(verification.not_verified)}. "
            f"The first: {verification.not_verified[0].reason}"
        )
    return sentences


def _of_parts(verification: VerificationResult) -> list[str]:
    """What the parts came to that prompts repeat."""
    parts, sentences = verification.parts, []
    if parts:
        prompts = len({part.prompt_id for part in parts})
        extracted = sum(part.match.extracted for part in parts)
        common = sum(part.match.is_common for part in parts)
        controls = [part.match.controls for part in parts if part.match.controls is not None]
        sentence = (
            f"Parts of the picture: {len(parts)}, of {count_words(prompts, 'prompt')}. Extracted, "
            "as a training "
            f"picture shows the part and nothing unrelated does: {extracted}, of "
            f"{count_words(len(verification.prompts_extracted_partial), 'prompt')}. Common, as "
            "unrelated captions "
            f"or prompts show it too: {common}."
        )
        if asked := sum(bool(part.match.second_model) for part in parts):
            sentence += (
                f" A second model, which never saw the training pictures, shows {asked} of these, "
                "which makes them common."
            )
        if controls:
            shown = sum(count > 0 for count in controls)
            sentence += f" Of these {len(parts)} parts control pictures show {shown}."
        sentences.append(sentence)
    if unknown := verification.parts_not_verified:
        sentences.append(
            f"Parts whose picture could not be looked at: {len(unknown)}. The first: "
            f"{unknown[0].reason}"
        )
    return sentences


def _by_chance(verification: VerificationResult) -> list[str]:
    """How many of the extractions may be false, told from what the controls would give: no more
    than there are cliques."""
    controls = verification.controls
    if controls is None or not controls.of_cliques:
        return []
    threshold, cliques = verification.settings.threshold, len(controls.of_cliques)
    false = controls.false_extractions(threshold)
    scale = verification.coverage.read / controls.searched
    limits = [m.extracts_from for m in controls.of_cliques if m.extracts_from is not None]
    at_most = poisson_bound(false) * scale
    how = f"one-sided {CONFIDENCE:.0%}, Poisson, exact"
    by_chance = (
        f"False extractions by chance: about {false * scale:.3g}, at most {at_most:.3g} ({how})."
        if at_most < cliques
        else f"{count_words(controls.searched, 'control picture')} are too few to bound how many "
        f"of the {count_words(cliques, 'clique')} are false extractions by chance: the bound "
        f"({how}) is {at_most:.3g}."
    )
    remedy = (
        f"Below an l2 of {min(limits):.4f} no control is extracted: --threshold sets it."
        if limits
        else "No control is extracted at any l2."
    )
    return [
        f"Each clique was compared with the control pictures too, as if these had been trained on: "
        f"{false} of {cliques} extract one, falsely. The training set has {scale:.3g} times as "
        f"many pictures. {by_chance} {remedy}"
    ]


def _of_matches(verification: VerificationResult, earlier: bool) -> list[str]:
    """What the pictures that are within the threshold do not show."""
    settings, sentences = verification.settings, []
    matches = [clique.match for clique in verification.cliques]
    near = [match for match in matches if match.distinct and match.l2 <= settings.threshold]
    if earlier and (before := sum(not match.distinct for match in matches)):
        sentences.append(
            f"Matches of an earlier version, scored by neighbours that need not be distinct, so "
            f"that copies in the training set hide extractions: {before}; run the search again."
        )
    if background := sum(match.agreement == 0 for match in near):
        sentences.append(
            f"Matches within the threshold with an agreement of 0, a background alone, which is no "
            f"extraction: {background}."
        )
    if plain := sum(match.extracted and match.agreement is None for match in near):
        sentences.append(
            f"Extractions that rest on plain tiles alone, since neither picture has texture: "
            f"{plain}; look at them."
        )
    if unscored := sum(match.adaptive is None for match in near):
        sentences.append(
            f"Matches that are not scored, since the training set has fewer than "
            f"{settings.neighbours} distinct pictures beside the matched one: {unscored}; below "
            "256 px they are no extraction. For so small a set lower `neighbours` in the "
            "[verification] of the campaign file."
        )
    return sentences


def flagged_rate(verification: VerificationResult, first: Mapping[str, str] = ALL_DIFFER) -> Rate:
    """How many of the flagged prompts that were looked at extract a training picture; of those that
    are the same to the model one counts, as of `ids_once`."""
    prompts = ids_once(verification.prompts, first)
    return rate(len(prompts & verification.prompts_extracted), len(prompts))


def same_flagged(verification: VerificationResult, first: Mapping[str, str]) -> int:
    """How many of these prompts that rate leaves out."""
    return len(verification.prompts) - len(ids_once(verification.prompts, first))


def _left_out(same: int) -> str:
    return f"; {same:,} left out, the same to the model as another one of them" if same else ""


def _method(verification: VerificationResult) -> str:
    share = flagged_rate(verification)
    return f"{100 * share.confidence:g} %, {share.method}"


def control_rate(verification: VerificationResult) -> Rate | None:
    """How many of the controls would be extractions, None if there are none."""
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
