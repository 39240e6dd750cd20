"""Two campaigns over the same prompts and seeds, prompt by prompt."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from seedsweep.audit.findings.comparability import (
    Arm,
    Contrast,
    contrasts,
    refuse_unlike,
    same_training_set,
)
from seedsweep.audit.findings.comparison_notes import Pair, comparison_notes
from seedsweep.audit.findings.counts import has_evidence
from seedsweep.audit.findings.intervals import (
    PairedRates,
    RateDifference,
    mean_difference,
    paired_rates,
)
from seedsweep.audit.findings.part_curve import curve_sides, most_tiles
from seedsweep.audit.findings.same_prompts import same_words
from seedsweep.audit.findings.second_model import Progress, SecondModel, ask_second_model
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.results import results_by
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.store import Store

CHANGED_SHOWN = 10


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Prompts that were not compared: analysed in one alone, not with the same seeds, or with too
    few usable pictures to be flagged in one of them."""

    only_a: int
    only_b: int
    other_seeds: int
    no_evidence: int = 0


@dataclass(frozen=True, slots=True)
class ExtractedPictures:
    """Distinct training pictures extracted in each; `both` is None if their sets differ."""

    a: int
    b: int
    both: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A prompt's clique in each, 0 if it is not flagged."""

    prompt_id: str
    prompt: str
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Point:
    """So many prompts have these clique sizes."""

    a: int
    b: int
    prompts: int


@dataclass(frozen=True, slots=True)
class RepeatedShare:
    """How many prompts repeat at least `side` × `side` tiles, or all, of the picture."""

    side: int
    rates: PairedRates


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes from campaign `a` to campaign `b`; differences are b − a.

    `analysis_a` and `analysis_b` name the analyses whose results they are, present at `written_at`.
    `extracted` and `pictures` are None unless both have a training set, and something is flagged:
    nothing else is compared with training pictures. `unproven`: so many prompts
    have a clique in one of them that was not proven the largest. `shrunk` and `grown`: those that
    changed most, at most `CHANGED_SHOWN` each. `notes`: what to know before believing it. `parts`:
    the curve over how much of the picture repeats, if both looked for parts. `second_model`: what b
    shows of a's parts, if its model never saw the training pictures.
    """

    a: str
    b: str
    analysis_a: str
    analysis_b: str
    written_at: str
    prompts: int
    left_out: LeftOut
    flagged: PairedRates
    extracted: PairedRates | None
    pictures: ExtractedPictures | None
    clique_size: RateDifference
    unproven: int
    shrunk: tuple[Change, ...]
    grown: tuple[Change, ...]
    points: tuple[Point, ...]
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    parts: tuple[RepeatedShare, ...] = ()
    second_model: SecondModel | None = None

    @property
    def examined(self) -> tuple[bool, bool]:
        """If pictures of a, and of b, were compared with training pictures: flagged ones are."""
        verified = self.extracted is not None
        return verified and self.flagged.a.count > 0, verified and self.flagged.b.count > 0


def compare_campaigns(
    store: Store,
    a: str,
    b: str,
    unseen: bool = False,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Compare the present analyses of two campaigns, over the prompts analysed in both with the
    same seeds. `unseen`: the model of b never saw the training pictures, and is asked for the parts
    that are extracted of a; `progress` as of `ask_second_model`.

    Raises `ConfigError` for an unknown campaign, and for two that do not compare: other seeds,
    other settings, no prompt in common, no prompts at all; and as of `ask_second_model`.
    """
    one, other = (_arm(store, campaign_id) for campaign_id in (a, b))
    for arm in (one, other):
        if arm.submission.campaign.is_unconditional:
            raise ConfigError(
                f"The campaign {arm.submission.campaign.campaign_id} has no prompts to compare by; "
                "`seedsweep results` of each campaign tells what its generations extract."
            )
    refuse_unlike(one, other)
    size = one.settings.analysis.min_clique_size
    pairs, left_out = pair_up(_results(store, one), _results(store, other), size)
    if not pairs:
        raise ConfigError(
            f"No prompt was analysed in both {a} and {b} with the same seeds "
            f"({left_out.only_a} in the first alone, {left_out.only_b} in the second alone, "
            f"{left_out.other_seeds} with other seeds, {left_out.no_evidence} that are no evidence "
            "in one of them); name campaigns over the same prompts, and let them end."
        )
    verified = one.settings.verification is not None and other.settings.verification is not None
    examined = verified and any(x.flagged or y.flagged for x, y in pairs)
    same = same_training_set(one, other)
    return Comparison(
        a=a,
        b=b,
        analysis_a=one.settings.analysis_id,
        analysis_b=other.settings.analysis_id,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        prompts=len(pairs),
        left_out=left_out,
        flagged=paired_rates([(x.flagged, y.flagged) for x, y in pairs]),
        extracted=paired_rates([(x.extracted, y.extracted) for x, y in pairs])
        if examined
        else None,
        pictures=_pictures(pairs, same) if examined else None,
        clique_size=mean_difference(
            [x.clique_size for x, _ in pairs], [y.clique_size for _, y in pairs]
        ),
        unproven=sum(not (x.clique_proven and y.clique_proven) for x, y in pairs),
        shrunk=_changed((x, y) for x, y in pairs if y.clique_size < x.clique_size),
        grown=_changed((x, y) for x, y in pairs if y.clique_size > x.clique_size),
        points=_points(pairs),
        contrasts=contrasts(one, other),
        notes=(
            *comparison_notes(one, other, pairs, verified, same),
            *_same_notes(store, (one, other), [x.prompt for x, _ in pairs]),
        ),
        parts=_parts(pairs, one.settings.analysis),
        second_model=ask_second_model(store, one, other, [x for x, _ in pairs], progress)
        if unseen
        else None,
    )


def pair_up(
    a: Iterable[PromptResult], b: Iterable[PromptResult], min_clique_size: int
) -> tuple[list[Pair], LeftOut]:
    """Pair the results of the same prompt and seeds, by prompt id; count those without a partner.

    A prompt with a seed too few in one of them has none: a clique grows with the seeds. Nor has one
    that is no evidence in one of them: there it could not be flagged.
    """
    first, second = ({result.prompt_id: result for result in each} for each in (a, b))
    common = sorted(first.keys() & second.keys())
    alike = [
        (first[prompt_id], second[prompt_id])
        for prompt_id in common
        if first[prompt_id].seeds_digest == second[prompt_id].seeds_digest
    ]
    pairs = [pair for pair in alike if all(has_evidence(one, min_clique_size) for one in pair)]
    alone_a, alone_b = (len(each) - len(common) for each in (first, second))
    return pairs, LeftOut(alone_a, alone_b, len(common) - len(alike), len(alike) - len(pairs))


def _arm(store: Store, campaign_id: str) -> Arm:
    submission = load_campaign(store, campaign_id)
    return Arm(submission, settings_now(store, submission))


def _results(store: Store, arm: Arm) -> list[PromptResult]:
    return results_by(store, arm.settings, arm.campaign_id)


def _parts(pairs: Sequence[Pair], analysis: Analysis) -> tuple[RepeatedShare, ...]:
    """Both are judged by the same settings."""
    grid = analysis.parts.grid
    tiles = [(most_tiles(x, grid), most_tiles(y, grid)) for x, y in pairs]
    return tuple(
        RepeatedShare(side, paired_rates([(a >= side**2, b >= side**2) for a, b in tiles]))
        for side in curve_sides(analysis)
    )


def _pictures(pairs: Sequence[Pair], same_set: bool) -> ExtractedPictures:
    a, b = (
        {match.training_id for pair in pairs for match in pair[side].matches if match.extracted}
        for side in (0, 1)
    )
    return ExtractedPictures(len(a), len(b), len(a & b) if same_set else None)


def _changed(pairs: Iterable[Pair]) -> tuple[Change, ...]:
    changes = [Change(x.prompt_id, x.prompt, x.clique_size, y.clique_size) for x, y in pairs]
    changes.sort(key=lambda change: (-abs(change.b - change.a), change.prompt_id))
    return tuple(changes[:CHANGED_SHOWN])


def _points(pairs: Sequence[Pair]) -> tuple[Point, ...]:
    counts = Counter((x.clique_size, y.clique_size) for x, y in pairs)
    return tuple(Point(*sizes, count) for sizes, count in sorted(counts.items()))


def _same_notes(store: Store, arms: tuple[Arm, Arm], texts: Sequence[str]) -> dict[str, None]:
    """Each once: to both models the same prompts may be the same."""
    told = (same_words(store, arm.submission, texts) for arm in arms)
    return dict.fromkeys(note for notes in told for note in notes)
