"""Campaigns in the store: what was submitted, what the user wants of it, which units were parked.

All of it is written here before it is acted on elsewhere, so that a lost broker loses nothing.
"""

import zlib
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.prompts import StoredPrompts, encode_prompts
from seedsweep.storage.records import Control, Parked, Submission
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult

R = TypeVar("R", bound=BaseModel)


def store_campaign(store: Store, submission: Submission, prompts: Sequence[str]) -> Submission:
    """Store a campaign, once: where it is known already, the first submission is returned.

    The prompts are stored first, so a campaign that can be seen is whole.
    """
    campaign_id = submission.campaign.campaign_id
    store.create(keys.prompts(campaign_id), encode_prompts(prompts))
    store.create(keys.campaign(campaign_id), _to_json(submission))
    return load_campaign(store, campaign_id)


def load_campaign(store: Store, campaign_id: str) -> Submission:
    """Load what was submitted.

    Raises `ConfigError` where the store knows no such campaign, `ShardCorruptError` where its
    record is not what was written.
    """
    key, data = keys.campaign(campaign_id), _read_campaign(store, campaign_id)
    if data is None:
        others = (known for known in store.folders(keys.CAMPAIGNS) if known != campaign_id)
        raise ConfigError(
            f"The store {store.url} knows no campaign {campaign_id!r}; "
            f"it knows: {', '.join(others) or 'none'}."
        )
    return _from_json(Submission, key, data)


def load_prompts(store: Store, campaign_id: str) -> StoredPrompts:
    """Load the campaign's prompts, in the order of its units.

    Raises `ShardCorruptError` where they are not what was written.
    """
    key = keys.prompts(campaign_id)
    return StoredPrompts(key, store.read(key) or b"")


def list_campaigns(store: Store) -> list[str]:
    """Name every campaign in the store, newest first."""
    submitted = []
    for campaign_id in store.folders(keys.CAMPAIGNS):
        data = _read_campaign(store, campaign_id)
        if data is not None:
            submission = _from_json(Submission, keys.campaign(campaign_id), data)
            submitted.append((submission.submitted_at, campaign_id))
    return [campaign_id for _, campaign_id in sorted(submitted, reverse=True)]


def load_control(store: Store, campaign_id: str) -> Control:
    """Load what the user wants of the campaign."""
    key = keys.control(campaign_id)
    data = store.read(key)
    return Control() if data is None else _from_json(Control, key, data)


def store_control(store: Store, campaign_id: str, control: Control) -> None:
    """Store what the user wants of the campaign."""
    store.replace(keys.control(campaign_id), _to_json(control))


def store_parked(store: Store, campaign_id: str, parked: Parked) -> None:
    """Record a unit that was given up; the first reason stays."""
    store.create(keys.parked(campaign_id, parked.index), _to_json(parked))


def drop_parked(store: Store, campaign_id: str, index: int) -> None:
    """Have a unit count as given up no more; fine where it did not."""
    store.delete(keys.parked(campaign_id, index))


def load_parked(store: Store, campaign_id: str, limit: int | None = None) -> list[Parked]:
    """Load the campaign's parked units, or `limit` of them, by index."""
    listed = islice(store.list(keys.parked_prefix(campaign_id)), limit)
    stored = ((key, store.read(key)) for key in listed)
    # One that was dropped since it was listed is parked no more.
    records = [_from_json(Parked, key, data) for key, data in stored if data is not None]
    return sorted(records, key=lambda parked: parked.index)


def store_verification(store: Store, result: VerificationResult) -> None:
    """Store what a search of a training set found; the same search again takes its place."""
    key = keys.finding(result.campaign_id, "verifications", result.verification_id)
    store.replace(key, _to_json(result))


def load_verifications(store: Store, campaign_id: str) -> list[VerificationResult]:
    """Load what every search found for the campaign, newest first."""
    listed = store.list(keys.findings_prefix(campaign_id, "verifications"))
    stored = ((key, store.read(key)) for key in listed)
    remedy = "remove it, and run `seedsweep verify` again"
    results = [
        _from_json(VerificationResult, key, data, remedy)
        for key, data in stored
        if data is not None
    ]
    return sorted(results, key=lambda result: result.verified_at, reverse=True)


def store_done(store: Store, campaign_id: str, done: NDArray[np.bool_]) -> None:
    """Note which units are done: (units,) bool."""
    store.replace(keys.done(campaign_id), zlib.compress(np.packbits(done).tobytes()))


def load_done(store: Store, campaign_id: str, units: int) -> NDArray[np.bool_] | None:
    """Which units were noted as done: (units,) bool; None where that is not known.

    What cannot be read counts as not known: all of it can be learnt from the shards.
    """
    data = store.read(keys.done(campaign_id))
    try:
        packed = np.frombuffer(zlib.decompress(data or b""), dtype=np.uint8)
    except zlib.error:
        return None
    if len(packed) != -(-units // 8):
        return None
    return np.unpackbits(packed, count=units).astype(np.bool_)


def forget_done(store: Store, campaign_id: str) -> None:
    """Have what is done learnt from the shards again; call it before any of them goes."""
    store.delete(keys.done(campaign_id))


def _read_campaign(store: Store, campaign_id: str) -> bytes | None:
    try:
        return store.read(keys.campaign(campaign_id))
    except ValueError:  # no campaign has such an id
        return None


def _to_json(record: BaseModel) -> bytes:
    return (record.model_dump_json(indent=2) + "\n").encode()


def _from_json(
    record: type[R],
    key: str,
    data: bytes,
    remedy: str = "restore it, or submit the campaign again",
) -> R:
    try:
        return record.model_validate_json(data)
    except ValidationError as error:
        raise ShardCorruptError(f"The object {key} is not what was written; {remedy}.") from error
