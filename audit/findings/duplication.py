"""How often prompts are flagged and extracted by the number of copies of their training picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from seedsweep.audit.findings.copies_file import copies_beside
from seedsweep.audit.findings.counts import has_evidence
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.part_curve import CurvePoint, part_curve
from seedsweep.audit.findings.same_prompts import same_words
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Prompt, Submission
from seedsweep.storage.results import results_by
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.store import Store

CHOSEN = (
    "Prompts that were chosen for their copies say nothing of how common memorisation is, and "
    "those of one number of copies need not be like others of it. The sample is drawn from the "
    "whole file of copies, each prompt with the same chance, whatever its copies."
)


@dataclass(frozen=True, slots=True)
class Bin:
    """Prompts of `first` to `last` copies, both included; `parts`: the curve over how much of the
    picture they repeat, empty if no parts were looked for."""

    first: int
    last: int
    flagged: Rate
    extracted: Rate | None
    parts: tuple[CurvePoint, ...] = ()

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class DuplicationCurve:
    """`prompts` of the file's were analysed; bins of powers of two, and all of them together.

    Empty bins between others are there, with rates of n = 0. `extracted` is None without a
    training set, and if nothing is flagged: nothing was compared. `parts` as of a bin.
    """

    prompts: int
    flagged: Rate
    extracted: Rate | None
    bins: tuple[Bin, ...]
    parts: tuple[CurvePoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Prompts drawn uniformly from the file of copies with the seed `seed`.

    `not_analysed`: those of the drawn that the campaign did not analyse, or that are no evidence;
    while there are any, what is left is no uniform sample.
    """

    drawn: int
    seed: int
    not_analysed: tuple[str, ...]
    curve: DuplicationCurve


@dataclass(frozen=True, slots=True)
class Duplication:
    """Of the analysis `analysis_id`, present at `written_at`.

    `without_copies`: so many analysed prompts are not in the file, and left out;
    `without_evidence`: so many of it could not be flagged, and are left out too.
    """

    campaign_id: str
    analysis_id: str
    written_at: str
    file: str
    without_copies: int
    curve: DuplicationCurve
    sample: Sample | None
    notes: tuple[str, ...]
    without_evidence: int = 0


def measure_duplication(
    store: Store,
    campaign_id: str,
    file: Path,
    column: str | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> Duplication:
    """Join the present results of a campaign with the copies of their prompts.

    `column` names the file's column of prompts; unless given, that of the campaign's prompts, or
    `prompt`, which `select` writes. Equal arguments draw equal samples. Raises `ConfigError` if the
    campaign is not known, the file cannot be read, it shares no prompt with the results, or it has
    fewer prompts than the sample.
    """
    submission = load_campaign(store, campaign_id)
    prompts = submission.campaign.prompts
    if prompts is None:
        raise ConfigError(
            f"The campaign {campaign_id} has no prompts, so no copies can be told by them; "
            "`seedsweep results` tells those of each training picture that it extracts."
        )
    copies = copies_beside(prompts, file, column)
    settings = settings_now(store, submission)
    analysed = results_by(store, settings, campaign_id)
    size = settings.analysis.min_clique_size
    results = {each.prompt_id: each for each in analysed if has_evidence(each, size)}
    if not analysed:
        raise ConfigError(
            f"No prompt of {campaign_id} is analysed yet; wait for some, or `seedsweep analyse "
            f"{campaign_id}`."
        )
    ids = {Prompt(text=text).prompt_id: text for text in copies}
    without = sum(each.prompt_id in ids and each.prompt_id not in results for each in analysed)
    joined = [(results[key], copies[text]) for key, text in ids.items() if key in results]
    if not joined:
        raise ConfigError(
            f"None of {count_words(len(copies), 'prompt')} in {file} was analysed by {campaign_id}"
            f"{f' and is evidence ({without} are none)' if without else ''}; give a file with the "
            "campaign's prompts, and --column if they stand in another column."
        )
    flagged = any(result.flagged for result, _ in joined)
    examined = settings.verification is not None and flagged
    drawn = _sample(list(ids), file, sample, seed) if sample is not None else None
    return Duplication(
        campaign_id=campaign_id,
        analysis_id=settings.analysis_id,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        file=str(file),
        without_copies=len(results) - len(joined),
        curve=bin_curve(joined, examined, settings.analysis),
        sample=None
        if drawn is None
        else Sample(
            drawn=len(drawn),
            seed=seed,
            not_analysed=tuple(ids[key] for key in drawn if key not in results),
            curve=bin_curve(
                [(results[key], copies[ids[key]]) for key in drawn if key in results],
                examined,
                settings.analysis,
            ),
        ),
        notes=(
            *_stage_notes(submission),
            *_notes(ids, results, drawn, without),
            *same_words(store, submission, [result.prompt for result, _ in joined]),
        ),
        without_evidence=without,
    )


def bin_curve(
    joined: Sequence[tuple[PromptResult, int]], verified: bool, analysis: Analysis
) -> DuplicationCurve:
    """Bin results of an analysis by their copies: 0, 1, 2, 3–4, 5–8 and so on, from the first that
    is not empty to the last."""
    places = [bin_of(copies) for _, copies in joined]
    bins = []
    for place in range(min(places, default=0), max(places, default=-1) + 1):
        members = [result for (result, _), at in zip(joined, places, strict=True) if at == place]
        parts = _parts(members, analysis)
        bins.append(Bin(*_ends(place), *_rates(members, verified), parts))
    every = [result for result, _ in joined]
    parts = _parts(every, analysis)
    return DuplicationCurve(len(joined), *_rates(every, verified), tuple(bins), parts)


def bin_of(copies: int) -> int:
    """The bin's place: 0 for none, 1 for 1, 2 for 2, 3 for 3 and 4, 4 for 5 to 8 …"""
    return (copies - 1).bit_length() + 1 if copies else 0


def _ends(place: int) -> tuple[int, int]:
    if place < 2:
        return place, place
    return 2 ** (place - 2) + 1, 2 ** (place - 1)


def _rates(results: Sequence[PromptResult], verified: bool) -> tuple[Rate, Rate | None]:
    flagged = rate(sum(result.flagged for result in results), len(results))
    if not verified:
        return flagged, None
    extracted = sum(result.extracted for result in results)
    return flagged, rate(extracted, len(results))


def _parts(results: Sequence[PromptResult], analysis: Analysis) -> tuple[CurvePoint, ...]:
    curve = part_curve(results, analysis, None)
    return curve.points if curve else ()


def _sample(ids: list[str], file: Path, count: int, seed: int) -> list[str]:
    if count > len(ids):
        raise ConfigError(
            f"{file} holds {count_words(len(ids), 'prompt')}, so a sample of {count} cannot be "
            "drawn; ask for fewer with --sample."
        )
    # Sorted, so that another order of the file draws the same prompts.
    chosen = np.random.default_rng(seed).choice(len(ids), count, replace=False)
    ordered = sorted(ids)
    return [ordered[place] for place in sorted(chosen.tolist())]


def _notes(
    ids: Mapping[str, str],
    results: Mapping[str, PromptResult],
    drawn: Iterable[str] | None,
    without_evidence: int,
) -> Iterator[str]:
    without = len(results.keys() - ids.keys())
    if without:
        yield f"Left out: {count_words(without, 'analysed prompt')} without copies in the file."
    if without_evidence:
        yield (
            f"Left out, as no evidence: {count_words(without_evidence, 'analysed prompt')} with "
            "fewer usable pictures than a clique takes."
        )
    if drawn is None:
        return
    yield CHOSEN
    missing = sum(key not in results for key in drawn)
    if missing:
        yield (
            f"Not analysed, or no evidence: {count_words(missing, 'prompt')} of the sample, so "
            "what is shown of it is no uniform sample; submit a campaign with them too. --json "
            "lists them."
        )


def _stage_notes(submission: Submission) -> tuple[str, ...]:
    if not submission.campaign.stages:
        return ()
    return (
        "Prompts that stages dropped count as not flagged, so the full attack's shares are no "
        "smaller.",
    )
