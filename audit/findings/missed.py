"""What a campaign's stages spared, and what they may have missed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.intervals import CONFIDENCE, others_of
from seedsweep.audit.findings.same_prompts import once
from seedsweep.scheduler.campaign.stages import loss_words
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.settings.campaign import Campaign


@dataclass(frozen=True, slots=True)
class StageCount:
    """How many prompts came to a stage, went on after it, were dropped, and were sampled: those
    would have been dropped, and got all their pictures to show what stages miss. A stage goes by
    the score of its `screen`, which is `above` a bound or among the best `share` of its `cohort`,
    or by a clique."""

    number: int
    seeds: int
    clique_size: int
    edge_threshold: float
    screen: str | None
    above: float | None
    share: float | None
    cohort: int | None
    prompts: int
    went_on: int
    dropped: int
    sampled: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Prompts that one stage would drop and that are equally probably sampled: how many there are,
    how many of them were sampled, how many of these have all their pictures, and how many of those
    the full attack flags. A sampled prompt that lacks pictures, as units of it were given up or are
    not made yet, tells nothing of what the full attack would do."""

    stage: int
    near: bool
    probability: float
    prompts: int
    sampled: int
    judged: int
    flagged: int

    @property
    def missed(self) -> float:
        """How many of the others would be flagged: each flagged one stands for as many as there are
        for each that was judged, and is itself found."""
        if not self.flagged:
            return 0.0
        return self.flagged * (self.sampled / self.judged / self.probability - 1)


@dataclass(frozen=True, slots=True)
class Missed:
    """What stages spared, and what they may have missed.

    Prompts that are the same to the model have the same pictures, and are missed or found together:
    strata, `found` and the estimate have one of them, and `same` says how many they leave out.
    `found` counts flagged prompts, sampled ones among them. `missed` estimates how many of the
    dropped prompts the full attack would flag (Horvitz and Thompson 1952: each flagged prompt of
    the sample stands for 1/p of its kind, and is itself found; for more if others of the sample
    lack pictures); `low` and `high` hold it with at least `confidence`: exact hypergeometric bounds
    of the others in each stratum, from what was judged, at a level that all of them share
    (Bonferroni).
    """

    stages: tuple[StageCount, ...]
    strata: tuple[Stratum, ...]
    images: int
    images_full: int
    found: int
    same: int
    missed: float
    low: float
    high: float
    confidence: float

    @property
    def recall(self) -> float | None:
        """The estimated share of the full attack's finds that was found; None if it has none."""
        return self.found / (self.found + self.missed) if self.found + self.missed else None

    @property
    def recall_at_least(self) -> float:
        """Its lower bound."""
        return self.found / (self.found + self.high) if self.found + self.high else 0.0


def gather_missed(
    campaign: Campaign, results: Sequence[PromptResult], first: Mapping[str, str]
) -> Missed | None:
    """What the analysed prompts tell of the campaign's stages; None if it has none. `first` names
    those that are the same to the model as an earlier one: `first_ones`."""
    if not campaign.stages:
        return None
    counted = once(results, first)
    strata = _strata(campaign, counted)
    open_strata = [stratum for stratum in strata if stratum.prompts > stratum.judged]
    share = CONFIDENCE if not open_strata else 1 - (1 - CONFIDENCE) / len(open_strata)
    low = high = 0.0
    for stratum in open_strata:
        least, most = others_of(stratum.flagged, stratum.judged, stratum.prompts, share)
        low, high = low + least, high + most
    return Missed(
        stages=_stages(campaign, results),
        strata=strata,
        images=sum(result.seeds for result in results),
        images_full=len(results) * campaign.sampling.seeds,
        found=sum(result.flagged for result in counted),
        same=len(results) - len(counted),
        missed=sum(stratum.missed for stratum in strata),
        low=low,
        high=high,
        confidence=CONFIDENCE,
    )


def _strata(campaign: Campaign, results: Sequence[PromptResult]) -> tuple[Stratum, ...]:
    strata = []
    kinds = [(n, near) for n in range(1, len(campaign.stages) + 1) for near in (True, False)]
    for number, near in kinds:
        of_it = [r for r in results if r.drop and (r.drop.stage, r.drop.near) == (number, near)]
        sampled = [result for result in of_it if result.drop and result.drop.sampled]
        if of_it:
            judged = [result for result in sampled if result.seeds >= campaign.sampling.seeds]
            flagged = sum(result.flagged for result in judged)
            probability = campaign.sample_probability(near)
            counts = (len(of_it), len(sampled), len(judged), flagged)
            strata.append(Stratum(number, near, probability, *counts))
    return tuple(strata)


def _stages(campaign: Campaign, results: Sequence[PromptResult]) -> tuple[StageCount, ...]:
    counts, left = [], len(results)
    for number, stage in enumerate(campaign.stages, start=1):
        drops = [result.drop for result in results if result.drop and result.drop.stage == number]
        sampled = sum(drop.sampled for drop in drops)
        counts.append(
            StageCount(
                number=number,
                seeds=stage.seeds,
                clique_size=stage.min_clique_size,
                edge_threshold=stage.edge_threshold or campaign.analysis.edge_threshold,
                screen=stage.screen,
                above=stage.above,
                share=stage.share,
                cohort=None if stage.share is None else stage.cohort,
                prompts=left,
                went_on=left - len(drops),
                dropped=len(drops) - sampled,
                sampled=sampled,
            )
        )
        left -= len(drops)
    return tuple(counts)


def stage_words(
    campaign: Campaign, results: Sequence[PromptResult], first: Mapping[str, str]
) -> tuple[str, ...]:
    """What `gather_missed` tells, in sentences; nothing without stages or results."""
    missed = gather_missed(campaign, results, first)
    return missed_words(missed, campaign) if missed and results else ()


def missed_words(missed: Missed, campaign: Campaign) -> tuple[str, ...]:
    """The same in sentences."""
    dropped = sum(stage.dropped for stage in missed.stages)
    judged = sum(stratum.judged for stratum in missed.strata)
    same = (
        f"Of these counts of what is missed and found, {count_words(missed.same, 'prompt')} "
        f"{'is' if missed.same == 1 else 'are'} left out: the same to the model as another one, "
        "with the same pictures.",
    )
    return (
        f"Stages: {count_words(dropped, 'prompt')} dropped, "
        f"{count_words(missed.images, 'picture')} judged; the full attack takes "
        f"{missed.images_full:,}.",
        f"Missed: about {missed.missed:.3g} of the dropped prompts would be flagged with all "
        f"{campaign.sampling.seeds:,} seeds [{missed.low:.3g}, {missed.high:.3g}], told from "
        f"{judged:,} of them that got all; {missed.found:,} are flagged, so at least "
        f"{missed.recall_at_least:.0%} of what the full attack would flag is found.",
        *(same if missed.same else ()),
        loss_words(campaign),
    )
