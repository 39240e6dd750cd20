"""Search a training set for the pictures that a campaign's flagged prompts repeat."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from seedsweep import __version__
from seedsweep.audit.findings.control_pictures import Near, read_controls
from seedsweep.audit.findings.part_search import judge_parts, read_parts, showing_rule
from seedsweep.audit.findings.present import newest_search
from seedsweep.audit.findings.representatives import FlaggedClique, read_representatives
from seedsweep.audit.findings.shared_parts import with_second_models
from seedsweep.scheduler.campaign.current import results_now, settings_now
from seedsweep.scheduler.campaign.file import explain
from seedsweep.storage.campaigns import load_campaign, store_verification
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import (
    ControlMatch,
    UnverifiedClique,
    VerificationResult,
    VerifiedClique,
)
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.matching import adaptive_score, is_extracted, record_of
from seedsweep.workers.analysis.near_copies import grouped
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.matched import Matched
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.search import TrainingSearch
from seedsweep.workers.training.search_actors import searchers

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What to search, and what is asked for instead of the campaign's own settings; None leaves a
    setting."""

    training_set: Path | None = None
    controls: Path | None = None
    threshold: float | None = None
    neighbours_of: str | None = None
    flip: bool | None = None

    def apply(self, settings: Verification | None) -> Verification:
        """The settings with the changes; raises `ConfigError` if there is no training set."""
        if self.training_set is not None:
            named = {
                "training_set": str(self.training_set.absolute()),
                "fingerprint": "",
                "column": "",
                "folder": "",
            }
        elif settings is not None:
            named = {}
        else:
            raise ConfigError("The campaign has no [verification]; give --training-set PATH.")
        asked = {
            "threshold": self.threshold,
            "neighbours_of": self.neighbours_of,
            "flip": self.flip,
            "controls": str(self.controls.absolute()) if self.controls else None,
        }
        changed = {name: value for name, value in asked.items() if value is not None}
        known = settings.model_dump() if settings else {}
        try:
            return Verification.model_validate({**known, **named, **changed})
        except ValidationError as error:
            raise ConfigError(explain(error, Verification)) from error


def verify_campaign(
    store: Store, campaign_id: str, options: SearchOptions, actors: Actors, progress: Progress
) -> VerificationResult:
    """Search the training set for the representatives of all cliques, and for the parts that
    prompts repeat; stores what was found.

    Equal pictures and settings give an equal result, whatever the actors and however the training
    set is cut, and that of comparing all pixels. Raises `ConfigError` for what cannot be searched,
    or if no prompt is analysed or repeats anything, `TrainingSetError` if no training picture
    can be read or the set changes meanwhile, and as `searchers` does. `progress` is called with how
    many slices are done, and of how many.
    """
    submission = load_campaign(store, campaign_id)
    refuse_sizes(submission.campaign)
    settings = settings_now(store, submission)
    asked = options.apply(settings.verification)
    sampling = submission.campaign.sampling
    results = results_now(store, campaign_id)
    if not results:
        raise ConfigError(
            f"No prompt of {campaign_id} has been analysed yet by this version of the analysis; "
            f"let the campaign run, or try `seedsweep analyse {campaign_id}`."
        )
    flagged = [result for result in results if result.flagged]
    known, pictures, unknown = read_representatives(store, submission, flagged)
    rule = settings.analysis.parts
    parts, parts_unknown = read_parts(store, submission, results, rule)
    if not known and not parts:
        raise ConfigError(_nothing_to_verify(campaign_id, unknown + parts_unknown))
    try:
        training = open_set(Path(asked.training_set))
    except ConfigError as error:
        if options.training_set is not None:
            raise
        raise ConfigError(
            f"{error} If it was moved, `seedsweep resume {campaign_id} --training-set PATH` says "
            "where to."
        ) from error
    size = sampling.width, sampling.height
    controls = read_controls(asked, size)
    with searchers(actors) as crew:
        search = TrainingSearch(crew, training, asked, settings.analysis.tiles, progress)
        near = controls.nearest_to(pictures, asked)
        surrounded = sorted({len(pictures) + each.place for each in near})
        queries = np.array([*pictures, *controls.pictures], np.uint8).reshape(-1, *size[::-1], 3)
        matched = search.match(queries, len(pictures), surrounded)
        masked = [part.picture for part in parts]
        showing = showing_rule(rule, asked)
        matched_parts = search.match_parts(masked, showing, matched.coverage)
    verified = [_verified(known[i], matched, i, asked, min(size)) for i in range(len(pictures))]
    outcome = VerificationResult(
        campaign_id=campaign_id,
        analysis_id=settings.analysis_id,
        settings=asked,
        verified_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        versions=f"seedsweep {__version__}, Python {platform.python_version()}",
        coverage=matched.coverage,
        cliques=tuple(verified),
        not_verified=tuple(unknown),
        groups=_groups(verified, matched, asked),
        controls=controls.judged(
            matched,
            len(pictures),
            asked,
            [*_of_cliques(known, near, matched, asked, min(size))],
        ),
        parts=judge_parts(parts, matched_parts, controls.pictures, showing, asked.flip),
        parts_not_verified=tuple(parts_unknown),
    )
    store_verification(store, outcome)
    return with_second_models(store, outcome)


def refuse_sizes(campaign: Campaign) -> None:
    """Raise `ConfigError` if prompts have sizes of their own: training pictures are compared at
    one."""
    named = campaign.own_columns
    if named.width or named.height:
        raise ConfigError(
            f"The prompts of {campaign.campaign_id} have sizes of their own, and training pictures "
            "are compared at one; submit prompts of each size as a campaign of their own: what is "
            "made is not made again."
        )


def verification_now(store: Store, campaign_id: str) -> VerificationResult | None:
    """What the newest search for the present analysis found; None if there is none."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    return newest_search(store, campaign_id, settings)


def is_verified(store: Store, campaign_id: str) -> bool:
    """Whether nothing is left to search for: no training set is named, no prompt repeats anything,
    or each that does was looked for with the settings of the present analysis."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    results = results_now(store, campaign_id)
    flagged = {result.prompt_id for result in results if result.flagged}
    partial = {(result.prompt_id, part.part_id) for result in results for part in result.parts}
    if settings.verification is None or not (flagged or partial):
        return True
    known = verification_now(store, campaign_id)
    # By its content, not by where it lies.
    moved = {"training_set": settings.verification.training_set}
    if known is None or known.settings.model_copy(update=moved) != settings.verification:
        return False
    looked_for = known.prompts | {clique.prompt_id for clique in known.not_verified}
    unread = {part.prompt_id for part in known.parts_not_verified}
    left = partial - {(part.prompt_id, part.part_id) for part in known.parts}
    return flagged == looked_for and {prompt_id for prompt_id, _ in left} <= unread


def _nothing_to_verify(campaign_id: str, unknown: Sequence[UnverifiedClique]) -> str:
    if unknown:
        return (
            f"None of the {len(unknown)} cliques and parts of {campaign_id} has a picture to "
            f"verify ({unknown[0].reason}); make the images again with another campaign."
        )
    return (
        f"No prompt of {campaign_id} is flagged, so there is no picture to look for in a training "
        f"set. A larger edge threshold may flag some, `seedsweep analyse {campaign_id} "
        "--edge-threshold X`; docs/calibrate.md says how to choose one."
    )


def _verified(
    clique: FlaggedClique, matched: Matched, place: int, settings: Verification, side: int
) -> VerifiedClique:
    near, match = matched.fetched[place], matched.matches[place]
    return VerifiedClique(
        prompt_id=clique.result.prompt_id,
        prompt=clique.result.prompt,
        seed=clique.seed,
        match=record_of(match, near.name, near.transform, settings.threshold, side),
        copies=matched.copies[near.position],
        caption=near.caption,
    )


def _of_cliques(
    cliques: Sequence[FlaggedClique],
    near: Sequence[Near],
    matched: Matched,
    settings: Verification,
    side: int,
) -> Iterator[ControlMatch]:
    """What each clique would match if the controls were trained on as well."""
    for place, (clique, control) in enumerate(zip(cliques, near, strict=False)):
        around: Sequence[float] = matched.around[len(cliques) + control.place]
        if settings.neighbours_of == "generation":
            own = [control.l2, matched.matches[place].l2, *matched.own[place]]
            around = sorted(own)[: settings.neighbours]
        score = adaptive_score(control.l2, around, settings)
        match = replace(
            matched.matches[place],
            l2=control.l2,
            adaptive=score,
            agreement=control.agreement,
        )
        yield ControlMatch(
            prompt_id=clique.result.prompt_id,
            seed=clique.seed,
            l2=control.l2,
            adaptive=score,
            agreement=control.agreement,
            extracts_from=control.l2 if is_extracted(match, control.l2, side) else None,
        )


def _groups(
    verified: Sequence[VerifiedClique], matched: Matched, settings: Verification
) -> tuple[tuple[str, ...], ...]:
    """The extracted training pictures, near-copies of one together."""
    extracted = {
        clique.match.training_id: fetched
        for clique, fetched in zip(verified, matched.fetched, strict=False)
        if clique.match.extracted
    }
    if not extracted:
        return ()
    names = list(extracted)
    frames = frames_of(np.stack([each.pixels for each in extracted.values()]))
    groups = grouped(frames, settings.near_copies, settings.flip)
    return tuple(tuple(names[place] for place in group) for group in groups)
