"""What `calibrate`, `compare` and `duplication` found, kept in the store with the campaign."""

import dataclasses
from typing import TypeVar

from pydantic import TypeAdapter

from seedsweep.audit.findings.calibration import Calibration
from seedsweep.audit.findings.comparison import Comparison
from seedsweep.audit.findings.duplication import Duplication
from seedsweep.audit.findings.shared_parts import SharedPart, SharedParts, keep_shared_parts
from seedsweep.storage import keys
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.record import digest
from seedsweep.storage.store import Store

F = TypeVar("F", Calibration, Comparison, Duplication)

_CALIBRATION = TypeAdapter(Calibration)
_COMPARISON = TypeAdapter(Comparison)
_DUPLICATION = TypeAdapter(Duplication)


def keep(store: Store, finding: Calibration | Comparison | Duplication) -> None:
    """Store a finding; the same one found again takes its place.

    A comparison is kept with both campaigns, where the next one of the two, whichever way round,
    takes its place. What a second model shows of the first's parts is kept with these until one is
    asked again.
    """
    match finding:
        case Calibration():
            key = keys.finding(finding.campaign_id, "calibrations", _hash(_CALIBRATION, finding))
            store.replace(key, _CALIBRATION.dump_json(finding))
        case Comparison():
            data = _COMPARISON.dump_json(finding)
            store.replace(keys.finding(finding.a, "comparisons", finding.b), data)
            store.replace(keys.finding(finding.b, "comparisons", finding.a), data)
            if finding.second_model:
                common = [
                    SharedPart(prompt_id=p.prompt_id, part_id=p.part_id, pictures=p.shown)
                    for p in finding.second_model.common
                ]
                shared = SharedParts(campaign_id=finding.a, other_id=finding.b, parts=tuple(common))
                keep_shared_parts(store, shared)
        case Duplication():
            key = keys.finding(finding.campaign_id, "duplications", _hash(_DUPLICATION, finding))
            store.replace(key, _DUPLICATION.dump_json(finding))


def try_to_save(store: Store, finding: Calibration | Comparison | Duplication) -> str:
    """Store a finding, but if the store cannot be written return the sentence that says so.

    It is empty if the finding is kept.
    """
    try:
        keep(store, finding)
    except (ConfigError, StoreUnavailableError) as error:
        return f"This is not kept, so no report will show it: {error}"
    return ""


def load_calibrations(store: Store, campaign_id: str) -> list[Calibration]:
    """Load the campaign's calibrations, newest first.

    Raises `ShardCorruptError` if one is not what was written; so do the others here.
    """
    return _load(store, campaign_id, "calibrations", _CALIBRATION, "calibrate")


def load_comparisons(store: Store, campaign_id: str) -> list[Comparison]:
    """Load the campaign's comparisons, one with each other campaign, newest first."""
    return _load(store, campaign_id, "comparisons", _COMPARISON, "compare")


def load_duplications(store: Store, campaign_id: str) -> list[Duplication]:
    """Load the campaign's duplication curves, newest first."""
    return _load(store, campaign_id, "duplications", _DUPLICATION, "duplication")


def _hash(adapter: TypeAdapter[F], finding: F) -> str:
    return digest(adapter.dump_python(dataclasses.replace(finding, written_at=""), mode="json"))


def _load(
    store: Store, campaign_id: str, kind: keys.FindingKind, adapter: TypeAdapter[F], command: str
) -> list[F]:
    remedy = f"remove it, and run `seedsweep {command}` again"
    findings = []
    for key in store.list(keys.findings_prefix(campaign_id, kind)):
        data = store.read(key)
        if data is None:  # it was removed since it was listed
            continue
        with corrupt_where_wrong(f"The object {key}", remedy):
            finding = adapter.validate_json(data)
            if not _belongs(finding, key, campaign_id):
                raise ValueError("it is of another campaign")
        findings.append(finding)
    return sorted(findings, key=lambda each: each.written_at, reverse=True)


def _belongs(finding: Calibration | Comparison | Duplication, key: str, campaign_id: str) -> bool:
    if not isinstance(finding, Comparison):
        return finding.campaign_id == campaign_id
    others = {campaign_id: "", finding.a: finding.b, finding.b: finding.a}
    return key == keys.finding(campaign_id, "comparisons", others[campaign_id])
