"""What `compare --unseen` found, kept with the first campaign: which parts are common."""

from collections.abc import Mapping

from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.record import Record
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult


class SharedPart(Record):
    """A part, and how many of the second model's pictures of the same prompt show it."""

    prompt_id: str
    part_id: str
    pictures: int


class SharedParts(Record):
    """The parts of a campaign that the model of another one shows too, which never saw the training
    pictures."""

    campaign_id: str
    other_id: str
    parts: tuple[SharedPart, ...]


def keep_shared_parts(store: Store, shared: SharedParts) -> None:
    """Store them, in place of what the other campaign showed before."""
    key = keys.finding(shared.campaign_id, "second-models", shared.other_id)
    store.replace(key, shared.model_dump_json().encode())


def with_second_models(store: Store, search: VerificationResult) -> VerificationResult:
    """What a search found of parts, and what second models show of these.

    Raises `ShardCorruptError` if what is stored of one is not what was written.
    """
    shown = _shown(store, search.campaign_id)
    parts = tuple(
        part.model_copy(
            update={"match": part.match.model_copy(update={"second_model": shown[whose]})}
        )
        if (whose := (part.prompt_id, part.part_id)) in shown
        else part
        for part in search.parts
    )
    return search.model_copy(update={"parts": parts})


def _shown(store: Store, campaign_id: str) -> Mapping[tuple[str, str], int]:
    """By prompt and part the most pictures of one model that show it."""
    shown: dict[tuple[str, str], int] = {}
    for key in store.list(keys.findings_prefix(campaign_id, "second-models")):
        data = store.read(key)
        if data is None:  # it was removed since it was listed
            continue
        remedy = "remove it, and run `seedsweep compare --unseen` again"
        with corrupt_where_wrong(f"The object {key}", remedy):
            shared = SharedParts.model_validate_json(data)
            if key != keys.finding(campaign_id, "second-models", shared.other_id):
                raise ValueError("it is of another campaign")
        for part in shared.parts:
            whose = part.prompt_id, part.part_id
            shown[whose] = max(part.pictures, shown.get(whose, 0))
    return shown
