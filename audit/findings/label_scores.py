"""What an analysis found among prompts that somebody labelled: a list of known memories, scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.counts import has_evidence
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.present import Found
from seedsweep.audit.findings.same_prompts import once
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import PromptResult


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The prompts of one label: how many are flagged, repeat a part of the picture without being
    flagged, do either, and extract a training picture or a part of one; all are of the same
    prompts. The last is None if nothing that they repeat was compared with training pictures, or if
    nothing of the campaign was. Intervals are two-sided and exact."""

    label: str
    flagged: Rate
    part_alone: Rate
    either: Rate
    extracted: Rate | None


@dataclass(frozen=True, slots=True)
class LabelScores:
    """The labels by name. Prompts that are no evidence are in no rate, and counted: `no_evidence`.
    Of a label's prompts that are the same to the model, one is in its rates, since their pictures
    are the same; `same` counts the others. `absent`: labelled prompts that were not analysed.
    `unlabelled`: analysed ones without a label. `partial`: parts were looked for."""

    scores: tuple[LabelScore, ...]
    no_evidence: int
    same: int
    absent: int
    unlabelled: int
    partial: bool


def score_labels(found: Found, labels: Mapping[str, str], partial: bool) -> LabelScores:
    """Score what was found by the label of each prompt.

    Raises `ConfigError` if no labelled prompt was analysed.
    """
    labelled = [result for result in found.results if result.prompt in labels]
    if not labelled:
        raise ConfigError(
            f"None of {count_words(len(labels), 'labelled prompt')} was analysed in "
            f"{found.campaign_id}; name "
            "a file whose prompts are those of the campaign, letter for letter."
        )
    usable = [result for result in labelled if has_evidence(result, found.min_clique_size)]
    by_label = {
        name: once([r for r in usable if labels[r.prompt] == name], found.same_as)
        for name in sorted({labels[result.prompt] for result in labelled})
    }
    examined = any(
        memory.extracted is not None for r in found.results for memory in found.memories_of(r)
    )
    return LabelScores(
        scores=tuple(_score(name, own, found, examined) for name, own in by_label.items()),
        no_evidence=len(labelled) - len(usable),
        same=len(usable) - sum(map(len, by_label.values())),
        absent=len(labels) - len(labelled),
        unlabelled=len(found.results) - len(labelled),
        partial=partial,
    )


def _score(label: str, results: Sequence[PromptResult], found: Found, examined: bool) -> LabelScore:
    n = len(results)
    verdicts = [[m.extracted for m in found.memories_of(result)] for result in results]
    told = [extracted for each in verdicts for extracted in each]
    examined = any(extracted is not None for extracted in told) if told else examined
    return LabelScore(
        label=label,
        flagged=rate(sum(r.flagged for r in results), n),
        part_alone=rate(sum(r.flagged_partial and not r.flagged for r in results), n),
        either=rate(sum(r.flagged or r.flagged_partial for r in results), n),
        extracted=rate(sum(any(each) for each in verdicts), n) if examined else None,
    )
