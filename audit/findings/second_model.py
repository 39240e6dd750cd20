"""Look for parts in the pictures of a second model, which never saw the training pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.comparability import Arm
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.memories import parts_matched
from seedsweep.audit.findings.part_search import (
    RepeatedPart,
    count_showing,
    read_parts,
    showing_rule,
)
from seedsweep.audit.findings.verification import verification_now
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.campaigns import load_settings
from seedsweep.storage.errors import ConfigError, PermanentError, ShardCorruptError
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult
from seedsweep.workers.analysis.part_matching import PartReference
from seedsweep.workers.analysts.stored_prompt import read_prompt

_SHOWN = 20
"""So many common parts are named; --json has all."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CommonPart:
    """A part that the search calls extracted, and `shown` of the second model's usable `pictures`
    of the same prompt show."""

    prompt_id: str
    prompt: str
    part_id: str
    shown: int
    pictures: int


@dataclass(frozen=True, slots=True)
class SecondModel:
    """What the second model shows of `parts` that the search calls extracted of the first.

    `common`: those that it shows too. `extracted`: the share of prompts compared of which a part is
    left that it does not show. `unread`: why parts, or its pictures, could not be read; these count
    as not extracted.
    """

    parts: int
    common: tuple[CommonPart, ...]
    extracted: Rate
    unread: tuple[str, ...]


def ask_second_model(
    store: Store, first: Arm, second: Arm, results: Sequence[PromptResult], progress: Progress
) -> SecondModel:
    """Look for each part of the first's results that a search calls extracted in all usable
    pictures that the second model made of the same prompt: one that shows it will do, by the rule
    of the search. `progress` is called with how many prompts are done, and of how many.

    Raises `ConfigError` if no part of the first was compared with training pictures.
    """
    search = verification_now(store, first.campaign_id)
    if search is None or not search.parts:
        raise ConfigError(
            f"No part of {first.campaign_id} was compared with training pictures; run `seedsweep "
            f"verify {first.campaign_id}` after `analyse --partial`."
        )
    asked = _extracted(results, search)
    rule = showing_rule(first.settings.analysis.parts, search.settings)
    common, left, unread = [], set(), []
    own = load_settings(store, second.campaign_id)
    parts = 0
    for done, result in enumerate(asked):
        progress(done, len(asked))
        parts += len(result.parts)
        known, unknown = read_parts(
            store, first.submission, [result], first.settings.analysis.parts
        )
        unread += [f"{each.prompt}: {each.reason}" for each in unknown]
        for part in known:
            references = [
                PartReference(part.picture.at(way), rule)
                for way in part.picture.ways(search.settings.flip)
            ]
            try:
                submission = second.submission.of(own.get(result.prompt))
                shown, pictures = _shown(store, submission, part, references)
            except PermanentError as error:
                unread.append(f"{result.prompt}: {error}")
                continue
            if shown:
                common.append(
                    CommonPart(result.prompt_id, result.prompt, part.part.part_id, shown, pictures)
                )
            else:
                left.add(result.prompt_id)
    progress(len(asked), len(asked))
    return SecondModel(parts, tuple(common), rate(len(left), len(results)), tuple(unread))


def _extracted(results: Sequence[PromptResult], search: VerificationResult) -> list[PromptResult]:
    """The results that have parts which the search calls extracted, with these alone."""
    matched = parts_matched(search)
    kept = [
        result.model_copy(
            update={
                "parts": tuple(
                    part
                    for part in result.parts
                    if (match := matched.get((result.prompt_id, part.part_id))) and match.extracted
                )
            }
        )
        for result in results
    ]
    return [result for result in kept if result.parts]


def _shown(
    store: Store, second: Submission, part: RepeatedPart, references: Sequence[PartReference]
) -> tuple[int, int]:
    """How many of the second model's pictures of the prompt show the part, of so many usable.

    Raises `PermanentError` if none does, and not all are there.
    """
    stored = read_prompt(store, second, part.result.prompt)
    usable = [place for place, image in enumerate(stored.images) if image.flaw is None]
    shown = count_showing(references, [*stored.pixels(usable)])[0]
    if not shown and not stored.whole:
        raise ShardCorruptError(f"Not all pictures of {second.campaign.campaign_id} can be read.")
    return shown, len(usable)


def second_model_words(found: SecondModel) -> tuple[str, ...]:
    """What the second model shows, a sentence each."""
    told = [
        "B's model never saw the training pictures, so what it shows is common: "
        f"{len(found.common)} of {count_words(found.parts, 'part')} extracted of A. Prompts of "
        f"which a part is left, and extracted: {found.extracted}."
    ]
    told += [
        f"Common: {part.prompt[:80]} (shown in {part.shown} of "
        f"{count_words(part.pictures, 'picture')} of B)"
        for part in found.common[:_SHOWN]
    ]
    if found.unread:
        told.append(
            "What could not be looked for counts as not extracted: "
            f"{count_words(len(found.unread), 'part')}. The first: {found.unread[0]}"
        )
    return tuple(told)
