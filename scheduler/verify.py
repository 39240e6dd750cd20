"""Search a training set for the pictures that a campaign's flagged prompts repeat."""

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from scheduler.audit import results_now, settings_now
from scheduler.campaign import explain
from storage import keys
from storage.campaigns import load_campaign, load_verifications, store_verification
from storage.errors import ConfigError, PermanentError, ShardCorruptError
from storage.prompt_results import Match, PromptResult
from storage.records import Submission, Verification
from storage.shards import decode_shard
from storage.store import Store
from storage.verified import (
    ControlMatches,
    Coverage,
    UnverifiedClique,
    VerificationResult,
    VerifiedClique,
)
from workers.actors import Actors
from workers.analysis.distances import tiled_to
from workers.analysis.matching import TrainingMatch, adaptive_score, is_extracted, near_groups
from workers.searchers import searchers
from workers.stored_prompts import decode_pixels
from workers.training_search import Matched, TrainingSearch, first_reason, open_set
from workers.verifying import Reading, readable_pictures

Progress = Callable[[int, int], None]
Pixels = NDArray[np.uint8]

CONTROLS = 1000
"""At most so many control pictures are searched for: the first ones of their set."""

CONTROL_BYTES = 1 << 28
"""And no more than these hold, since each actor has them all in memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to search, and what is asked for instead of the campaign's own settings; None leaves a
    setting."""

    training_set: Path | None = None
    controls: Path | None = None
    threshold: float | None = None
    neighbours_of: str | None = None
    flip: bool | None = None

    def apply(self, settings: Verification | None) -> Verification:
        """The settings with the changes; raises `ConfigError` where there is no training set."""
        if self.training_set is not None:
            named = {"training_set": str(self.training_set.absolute()), "fingerprint": ""}
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
    store: Store, campaign_id: str, wanted: Wanted, actors: Actors, progress: Progress
) -> VerificationResult:
    """Search the training set for the representatives of all cliques; stores what was found.

    Equal pictures and settings give an equal result, whatever the actors and however the training
    set is cut, and that of comparing all pixels. Raises `ConfigError` for what cannot be searched,
    or where no prompt is analysed or flagged, `TrainingSetError` where no training picture can be
    read or the set changes meanwhile, and as `searchers` does. `progress` is called with how many
    slices are done, and of how many.
    """
    submission = load_campaign(store, campaign_id)
    settings = settings_now(store, submission)
    asked = wanted.apply(settings.verification)
    sampling = submission.campaign.sampling
    results = results_now(store, campaign_id)
    if not results:
        raise ConfigError(
            f"No prompt of {campaign_id} has been analysed yet by this version of the analysis; "
            f"let the campaign run, or try `seedsweep analyse {campaign_id}`."
        )
    flagged = [result for result in results if result.flagged]
    known, pictures, unknown = _representatives(store, submission, flagged)
    if not known:
        raise ConfigError(_nothing_to_verify(campaign_id, unknown))
    training = open_set(Path(asked.training_set))
    size = sampling.width, sampling.height
    controls = _read_controls(asked, size)
    with searchers(actors) as crew:
        search = TrainingSearch(crew, training, asked, progress)
        found = search.match(np.stack([*pictures, *controls.pictures]), len(pictures))
    tiles, side = settings.analysis.tiles, min(size)
    verified = [
        _verified(known[i], pictures[i], found, i, asked, tiles) for i in range(len(pictures))
    ]
    outcome = VerificationResult(
        campaign_id=campaign_id,
        analysis_id=settings.analysis_id,
        settings=asked,
        verified_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        versions=f"seedsweep {version('seedsweep')}, Python {platform.python_version()}",
        coverage=found.coverage,
        cliques=tuple(verified),
        not_verified=tuple(unknown),
        groups=_groups(verified, found, asked),
        controls=_judged(controls, found, len(pictures), asked, side),
    )
    store_verification(store, outcome)
    return outcome


def verification_now(store: Store, campaign_id: str) -> VerificationResult | None:
    """What the newest search for the present analysis found; None where there is none."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    found = load_verifications(store, campaign_id)
    return next((one for one in found if one.analysis_id == settings.analysis_id), None)


def is_verified(store: Store, campaign_id: str) -> bool:
    """Whether nothing is left to search for: no training set is named, no prompt flagged, or each
    that is was looked for with the settings of the present analysis."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    flagged = {result.prompt_id for result in results_now(store, campaign_id) if result.flagged}
    if settings.verification is None or not flagged:
        return True
    known = verification_now(store, campaign_id)
    if known is None or known.settings != settings.verification:
        return False
    return flagged == known.prompts | {clique.prompt_id for clique in known.not_verified}


@dataclass(frozen=True, slots=True)
class _Clique:
    """A clique of a flagged prompt, by the seed of its representative."""

    result: PromptResult
    seed: int


def _representatives(
    store: Store, submission: Submission, flagged: Iterable[PromptResult]
) -> tuple[list[_Clique], list[Pixels], list[UnverifiedClique]]:
    """The cliques whose representatives could be read, these, and the other cliques."""
    known, pictures, unknown = [], [], []
    for result in flagged:
        for seed in (clique.representative_seed for clique in result.cliques):
            try:
                pictures.append(_representative(store, submission, result, seed))
                known.append(_Clique(result, seed))
            except PermanentError as error:
                unknown.append(
                    UnverifiedClique(
                        prompt_id=result.prompt_id,
                        prompt=result.prompt,
                        seed=seed,
                        reason=str(error),
                    )
                )
    return known, pictures, unknown


def _representative(
    store: Store, submission: Submission, result: PromptResult, seed: int
) -> Pixels:
    campaign = submission.campaign
    for cut in submission.cuts:
        if cut.first <= seed <= cut.last:
            key = keys.shard(campaign.generation_id, result.prompt_id, cut)
            data = store.read(key)
            if data is not None:
                for image in decode_shard(data, key, [seed]):
                    return decode_pixels(image, campaign.sampling)
    raise ShardCorruptError(f"The image of seed {seed} is not in the store.")


def _nothing_to_verify(campaign_id: str, unknown: Sequence[UnverifiedClique]) -> str:
    if unknown:
        return (
            f"None of the {len(unknown)} cliques of {campaign_id} has a picture to verify "
            f"({unknown[0].reason}); make the images again with another campaign."
        )
    return (
        f"No prompt of {campaign_id} is flagged, so there is no picture to look for in a training "
        f"set; let the campaign run, or try `seedsweep analyse {campaign_id} --edge-threshold …`."
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Controls:
    """Pictures to search for that were never trained on; `coverage` is None where none are."""

    pictures: list[Pixels]
    coverage: Coverage | None
    whole: bool = True


def _read_controls(settings: Verification, size: tuple[int, int]) -> _Controls:
    if not settings.controls:
        return _Controls([], None)
    path = Path(settings.controls)
    opened, reading = open_set(path, "set of control pictures"), Reading()
    most = max(1, min(CONTROLS, CONTROL_BYTES // (3 * size[0] * size[1])))
    readable = (
        pixels
        for part in opened.slices
        for _, _, pixels, _ in readable_pictures(part, settings, size, reading)
    )
    controls = list(islice(readable, most))
    whole = next(readable, None) is None
    coverage = reading.coverage(str(opened.path), opened.listing)
    if not controls:
        raise ConfigError(
            f"No control picture in {path} could be read; name another set. "
            f"{first_reason(coverage)}"
        )
    return _Controls(controls, coverage, whole)


def _verified(
    clique: _Clique,
    picture: Pixels,
    found: Matched,
    place: int,
    settings: Verification,
    tiles: int,
) -> VerifiedClique:
    near = found.fetched[place]
    match = _match(found, place, settings, tiled_to(picture, near.pixels, tiles))
    return VerifiedClique(
        prompt_id=clique.result.prompt_id,
        prompt=clique.result.prompt,
        seed=clique.seed,
        match=Match(
            training_id=near.name,
            l2=match.l2,
            tiled_l2=match.tiled_l2,
            adaptive=match.adaptive,
            extracted=is_extracted(match, settings.threshold, min(picture.shape[:2])),
            transform=near.transform,
        ),
        copies=found.copies[near.position],
        caption=near.caption,
    )


def _match(found: Matched, place: int, settings: Verification, tiled_l2: float) -> TrainingMatch:
    l2 = float(found.l2[place])
    adaptive = adaptive_score(l2, found.means[place], settings.alpha)
    return TrainingMatch(found.fetched[place].position, l2, tiled_l2, adaptive)


def _judged(
    controls: _Controls, found: Matched, first: int, settings: Verification, side: int
) -> ControlMatches | None:
    """How many of the queries from the `first` on, the controls, count as extracted."""
    if controls.coverage is None:
        return None
    matches = [
        is_extracted(_match(found, place, settings, 0.0), settings.threshold, side)
        for place in range(first, len(found.fetched))
    ]
    return ControlMatches(
        coverage=controls.coverage,
        whole=controls.whole,
        searched=len(matches),
        matches=sum(matches),
    )


def _groups(
    verified: Sequence[VerifiedClique], found: Matched, settings: Verification
) -> tuple[tuple[str, ...], ...]:
    """The extracted training pictures, those within the threshold of each other together."""
    pixels = {
        clique.match.training_id: found.fetched[place].pixels
        for place, clique in enumerate(verified)
        if clique.match.extracted
    }
    names = list(pixels)
    if not names:
        return ()
    groups = near_groups(np.stack(list(pixels.values())), settings.threshold, settings.flip)
    return tuple(tuple(names[place] for place in group) for group in groups)
