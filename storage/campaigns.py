"""Campaigns in the store: what was submitted, what the user wants of it, which units were parked.

All of it is written here before it is acted on elsewhere, so that a lost broker loses nothing.
"""

import contextlib
import json
import time
import zlib
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.pieces import pieces_of
from seedsweep.storage.prompts import NO_PROMPTS, StoredPrompts, encode_prompts
from seedsweep.storage.records import Control, Parked, Prompt, Submission
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult

R = TypeVar("R", bound=BaseModel)

_REMEDY = "restore it, or submit the campaign again"

SERVED_SECONDS = 150.0
"""A campaign is served if somebody said so within this time, by this host's clock."""


def store_campaign(
    store: Store,
    submission: Submission,
    prompts: Sequence[str],
    settings: Sequence[PromptSettings] = (),
) -> Submission:
    """Store a campaign, once: where it is known already, the first submission is returned.

    `settings`: what the prompts have of their own, none if none has any. The prompts are stored
    first, so a campaign that can be seen is whole.
    """
    campaign_id = submission.campaign.campaign_id
    store.create(keys.prompts(campaign_id), encode_prompts(prompts, settings))
    store.create(keys.campaign(campaign_id), _to_json(submission))
    return load_campaign(store, campaign_id)


def load_campaign(store: Store, campaign_id: str) -> Submission:
    """Load what was submitted.

    Raises `ConfigError` if the store knows no such campaign, `ShardCorruptError` if its
    record is not what was written: the id is that of all its settings.
    """
    data = _read_campaign(store, campaign_id)
    if data is None:
        raise ConfigError(
            f"The store {store.url} knows no campaign {campaign_id!r}; `seedsweep status` lists "
            "those it knows."
        )
    return _to_submission(campaign_id, data)


def load_prompts(store: Store, campaign_id: str) -> StoredPrompts:
    """Load the campaign's prompts, in the order of its units.

    Raises `ShardCorruptError` if they are not those that were submitted.
    """
    key, wanted = keys.prompts(campaign_id), load_campaign(store, campaign_id).campaign
    digest = wanted.prompts.digest if wanted.prompts else NO_PROMPTS
    prompts = StoredPrompts(key, store.read(key) or b"", digest)
    with corrupt_where_wrong(f"The list of prompts {key}", _REMEDY):
        if {*wanted.own_columns.named} != {
            *(prompts.settings[0].given if prompts.settings else ())
        }:
            raise ValueError("its prompts have other settings than the campaign names")
    return prompts


def load_settings(store: Store, campaign_id: str) -> dict[str, PromptSettings]:
    """Load the settings that the campaign's prompts have of their own, by text; empty if none has
    any. Errors as of `load_prompts`."""
    if not load_campaign(store, campaign_id).campaign.own_columns.named:
        return {}
    prompts = load_prompts(store, campaign_id)
    return dict(zip(prompts, prompts.settings, strict=True))


def list_campaigns(store: Store) -> list[str]:
    """Name every campaign in the store, newest first; those that cannot be read come last."""
    submitted = []
    for campaign_id in store.folders(keys.CAMPAIGNS):
        data = _read_campaign(store, campaign_id)
        if data is not None:
            at = ""
            with contextlib.suppress(ShardCorruptError):
                at = _to_submission(campaign_id, data).submitted_at
            submitted.append((at, campaign_id))
    return [campaign_id for _, campaign_id in sorted(submitted, reverse=True)]


def load_control(store: Store, campaign_id: str) -> Control:
    """Load what the user wants of the campaign."""
    key = keys.control(campaign_id)
    data = store.read(key)
    remedy = "remove it, and say again what is wanted of the campaign"
    return Control() if data is None else _from_json(Control, key, data, remedy)


def store_control(store: Store, campaign_id: str, control: Control) -> None:
    """Store what the user wants of the campaign."""
    store.replace(keys.control(campaign_id), _to_json(control))


def store_served(store: Store, campaign_id: str) -> None:
    """Say that the campaign is served now."""
    store.replace(keys.served(campaign_id), json.dumps({"at": time.time()}).encode())


def drop_served(store: Store, campaign_id: str) -> None:
    """Say that the campaign is served no more."""
    store.delete(keys.served(campaign_id))


def is_served(store: Store, campaign_id: str) -> bool:
    """Whether the campaign was served within the last `SERVED_SECONDS`; what cannot be read says
    no."""
    try:
        at = float(json.loads(store.read(keys.served(campaign_id)) or b"")["at"])
    except (ValueError, TypeError, KeyError):
        return False
    return abs(time.time() - at) < SERVED_SECONDS


def store_parked(store: Store, campaign_id: str, parked: Parked) -> None:
    """Record a unit that was given up; the first reason stays."""
    store.create(keys.parked(campaign_id, parked.index), _to_json(parked))


def drop_parked(store: Store, campaign_id: str, index: int) -> None:
    """Forget that a unit was given up; fine if it was not."""
    store.delete(keys.parked(campaign_id, index))


def load_parked(store: Store, campaign_id: str, limit: int | None = None) -> list[Parked]:
    """Load the campaign's parked units, or `limit` of them, by index.

    Raises `ShardCorruptError` for one that is not among the campaign's units.
    """
    listed = list(islice(store.list(keys.parked_prefix(campaign_id)), limit))
    if not listed:
        return []
    submission, prompts = load_campaign(store, campaign_id), load_prompts(store, campaign_id)
    settings = prompts.settings
    parked, remedy = [], "remove it, and its unit is made again"
    for key in listed:
        data = store.read(key)
        if data is None:  # it was dropped since it was listed
            continue
        unit = _from_json(Parked, key, data, remedy)
        with corrupt_where_wrong(f"The object {key}", remedy):
            prompt, place = divmod(unit.index, len(pieces_of(submission.campaign, submission.cuts)))
            text, own = prompts[prompt], submission.of(settings[prompt] if settings else None)
            seeds = pieces_of(own.campaign, own.cuts)[place].seeds
            wanted = keys.parked(campaign_id, unit.index), Prompt(text=text).prompt_id, seeds
            if (key, unit.prompt_id, unit.seeds) != wanted:
                raise ValueError("it is of another unit")
        parked.append(unit)
    return sorted(parked, key=lambda parked: parked.index)


def store_verification(store: Store, result: VerificationResult) -> None:
    """Store what a search of a training set found; the same search again takes its place."""
    key = keys.finding(result.campaign_id, "verifications", result.verification_id)
    store.replace(key, _to_json(result))


def load_verifications(store: Store, campaign_id: str) -> list[VerificationResult]:
    """Load what every search found for the campaign, newest first."""
    listed = store.list(keys.findings_prefix(campaign_id, "verifications"))
    stored = ((key, store.read(key)) for key in listed)
    remedy = "remove it, and run `seedsweep verify` again"
    results = []
    for key, data in stored:
        if data is None:  # it was removed since it was listed
            continue
        result = _from_json(VerificationResult, key, data, remedy)
        with corrupt_where_wrong(f"The object {key}", remedy):
            wanted = keys.finding(campaign_id, "verifications", result.verification_id)
            if (key, result.campaign_id) != (wanted, campaign_id):
                raise ValueError("it is of another search")
        results.append(result)
    return sorted(results, key=lambda result: result.verified_at, reverse=True)


def store_done(store: Store, campaign_id: str, done: NDArray[np.bool_]) -> None:
    """Note which units are done: (units,) bool."""
    store.replace(keys.done(campaign_id), zlib.compress(np.packbits(done).tobytes()))


def load_done(store: Store, campaign_id: str, units: int) -> NDArray[np.bool_] | None:
    """Load which units were noted as done: (units,) bool; None if that is not known, or cannot be
    read. The shards tell it too.
    """
    data, size = store.read(keys.done(campaign_id)), -(-units // 8)
    try:
        packed = zlib.decompressobj().decompress(data or b"", size + 1)
    except zlib.error:
        return None
    if len(packed) != size:
        return None
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=units).astype(np.bool_)


def forget_done(store: Store, campaign_id: str) -> None:
    """Forget the note of what is done, so that it is read from the shards again. Call it before a
    shard is deleted."""
    store.delete(keys.done(campaign_id))


def _read_campaign(store: Store, campaign_id: str) -> bytes | None:
    try:
        return store.read(keys.campaign(campaign_id))
    except ValueError:  # no campaign has such an id
        return None


def _to_submission(campaign_id: str, data: bytes) -> Submission:
    with corrupt_where_wrong(f"The campaign {keys.campaign(campaign_id)}", _REMEDY):
        submission = Submission.model_validate_json(data)
        if submission.campaign.campaign_id != campaign_id:
            raise ValueError(f"with these settings it is {submission.campaign.campaign_id}")
    return submission


def _to_json(record: BaseModel) -> bytes:
    return (record.model_dump_json(indent=2) + "\n").encode()


def _from_json(
    record: type[R],
    key: str,
    data: bytes,
    remedy: str,
) -> R:
    with corrupt_where_wrong(f"The object {key}", remedy):
        return record.model_validate_json(data)
