"""Analysis results as Parquet: parts are added and merged; readers keep the fullest row."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, repeat
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.corrupt import corrupt_where_wrong
from seedsweep.storage.parallel import map_in_order
from seedsweep.storage.parquet import read_table
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.prompts import SETTINGS
from seedsweep.storage.record import digest
from seedsweep.storage.records import Campaign
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.store import Store

TRANSFORM = pa.struct(
    [
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("orientation", pa.int64()),
        ("transparent", pa.bool_()),
        ("profile", pa.string()),
        ("resize", pa.string()),
        ("crop", pa.string()),
        ("flip", pa.bool_()),
    ]
)
_MATCH = pa.struct(
    [
        ("training_id", pa.string()),
        ("l2", pa.float64()),
        ("tiled_l2", pa.float64()),
        ("adaptive", pa.float64()),
        ("extracted", pa.bool_()),
        ("transform", TRANSFORM),
        ("adaptive_training", pa.float64()),
        ("adaptive_generation", pa.float64()),
        ("agreement", pa.float64()),
        ("distinct", pa.bool_()),
    ]
)
_FURTHER_CLIQUE = pa.struct(
    [
        ("clique_seeds", pa.list_(pa.int64())),
        ("mean_distance", pa.float64()),
        ("representative_seed", pa.int64()),
        ("match", _MATCH),
    ]
)
_SCALING = pa.struct([("thousandths", pa.int64()), ("down", pa.int64()), ("right", pa.int64())])
_SHIFT = pa.struct(
    [
        ("down", pa.int64()),
        ("right", pa.int64()),
        ("mirrored", pa.bool_()),
        ("scaling", _SCALING),
    ]
)
_PART = pa.struct(
    [
        ("seeds", pa.list_(pa.int64())),
        ("whole_seeds", pa.list_(pa.int64())),
        ("tiles", pa.list_(pa.int64())),
        ("share", pa.float64()),
        ("representative_seed", pa.int64()),
        ("shifts", pa.list_(_SHIFT)),
        ("match", _MATCH),
    ]
)
_DROP = pa.struct(
    [
        ("stage", pa.int64()),
        ("near", pa.bool_()),
        ("sampled", pa.bool_()),
        ("score", pa.float64()),
    ]
)
_COLUMNS: dict[str, pa.DataType] = {
    "prompt_id": pa.string(),
    "prompt": pa.string(),
    "seeds": pa.int64(),
    "seeds_digest": pa.string(),
    "excluded": pa.int64(),
    "edges": pa.int64(),
    "clique_size": pa.int64(),
    "clique_seeds": pa.list_(pa.int64()),
    "clique_proven": pa.bool_(),
    "clique_upper_bound": pa.int64(),
    "mean_distance": pa.float64(),
    "flagged": pa.bool_(),
    "representative_seed": pa.int64(),
    "match": _MATCH,
    "further_cliques": pa.list_(_FURTHER_CLIQUE),
    "parts": pa.list_(_PART),
    "parts_proven": pa.bool_(),
    "drop": _DROP,
    "settings": pa.struct([*SETTINGS.items()]),
}
SCHEMA = pa.schema(_COLUMNS)
_RESULTS = TypeAdapter(list[PromptResult])
_OUTCOME = ["prompt_id", "seeds", "flagged", "drop"]
_ANALYSIS, _CAMPAIGN = b"analysis", b"campaign"
READERS = 8

SMALL_PARTS = 64
"""So many parts become one: a large campaign on few GPUs ends a prompt now and then, each of them
a part of its own."""

PART_PROMPTS = 256
"""A part is stored once it holds so many results."""

PART_SECONDS = 2.0
"""A part that is not full is stored so many seconds after the one before."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many seeds of a prompt were analysed, whether it is flagged, and after which stage it was
    dropped, if it was."""

    seeds: int
    flagged: bool
    dropped_after: int | None = None


class Parts:
    """Adds results part by part, and merges small parts so that there are never many of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._small: dict[tuple[str, str], list[str]] = {}

    def add(self, analysis_id: str, campaign_id: str, results: Sequence[PromptResult]) -> None:
        """Store the results; a merge that is ended early loses none."""
        small = self._small.setdefault((analysis_id, campaign_id), [])
        key = store_results(self._store, analysis_id, campaign_id, results)
        if key not in small:
            small.append(key)
        if len(small) >= SMALL_PARTS:
            self._merge(analysis_id, campaign_id, small)
            small.clear()

    def _merge(self, analysis_id: str, campaign_id: str, small: Sequence[str]) -> None:
        read = partial(_read_part, self._store, _to_results)
        parts = map_in_order(read, small, READERS)
        # Read anew, since rows may have been dropped from them.
        rows = [row for part in parts if part is not None for row in part]
        merged = store_results(self._store, analysis_id, campaign_id, rows)
        for key in {*small} - {merged}:
            self._store.delete(key)


def store_results(
    store: Store, analysis_id: str, campaign_id: str, results: Sequence[PromptResult]
) -> str:
    """Add the results as one part and return its key; the same results again change nothing."""
    rows = [result.model_dump() for result in results]
    table = pa.Table.from_pylist(rows, SCHEMA)
    whose = {_ANALYSIS: analysis_id, _CAMPAIGN: campaign_id}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(whose), buffer, compression="zstd")
    name = hashlib.sha256("".join(r.model_dump_json() for r in results).encode()).hexdigest()[:16]
    key = keys.results_part(analysis_id, campaign_id, name)
    store.create(key, buffer.getvalue())
    return key


def results_by(store: Store, settings: AnalysisSettings, campaign_id: str) -> list[PromptResult]:
    """Read the results by these settings, as `read_results` does. If an earlier version of the
    analysis alone judged a prompt, or judged more seeds of it, its result is taken."""
    return read_results(store, settings.analysis_id, campaign_id, settings.earlier_ids)


def read_results(
    store: Store, analysis_id: str, campaign_id: str, earlier: Sequence[str] = ()
) -> list[PromptResult]:
    """Read one row per prompt, the one with most seeds, best first; of equally many that of
    `analysis_id` and not of an analysis `earlier`.

    Best first: flagged before not flagged, then the smaller mean distance within the clique
    (Carlini et al. 2023, section 4.2), the larger clique, more edges, and the prompt's id.
    Raises `ShardCorruptError` for a part that is not what was written, that holds what cannot be
    said of the campaign's prompts and seeds, or that contradicts another one.
    """
    fullest: dict[str, PromptResult] = {}
    for each in (analysis_id, *earlier):
        for prompt_id, result in _fullest(store, each, campaign_id).items():
            known = fullest.get(prompt_id)
            if known is None or result.seeds > known.seeds:
                fullest[prompt_id] = result
    return sorted(fullest.values(), key=_rank)


def _fullest(store: Store, analysis_id: str, campaign_id: str) -> dict[str, PromptResult]:
    parts = _read_parts(store, analysis_id, campaign_id, _to_results)
    if not any(parts.values()):
        return {}
    can_be = _Scope.of(store, campaign_id)
    fullest: dict[str, PromptResult] = {}
    for key, results in parts.items():
        with _corrupt_where_wrong(key):
            for result in results:
                can_be.check(result)
                known = fullest.get(result.prompt_id)
                if known is None or _fullness(result) > _fullness(known):
                    fullest[result.prompt_id] = result
                elif _contradict(result, known):
                    raise ValueError(f"another part says another thing of {result.prompt_id}")
    return fullest


def outcomes_by(store: Store, settings: AnalysisSettings, campaign_id: str) -> dict[str, Outcome]:
    """What `results_by` would say of each prompt id, in a fraction of time and memory.

    `results_by` finds every contradiction in the parts; this finds only those in what it reads.
    """
    fullest: dict[str, Outcome] = {}
    for each in (settings.analysis_id, *settings.earlier_ids):
        for prompt_id, outcome in _outcomes(store, each, campaign_id).items():
            known = fullest.get(prompt_id)
            if known is None or outcome.seeds > known.seeds:
                fullest[prompt_id] = outcome
    return fullest


def _outcomes(store: Store, analysis_id: str, campaign_id: str) -> dict[str, Outcome]:
    campaign = load_campaign(store, campaign_id).campaign
    most, stages = len(campaign.seeds), len(campaign.stages)
    fullest: dict[str, Outcome] = {}
    for key, outcomes in _read_parts(store, analysis_id, campaign_id, _to_outcomes).items():
        with _corrupt_where_wrong(key):
            for prompt_id, seeds, flagged, dropped_after in outcomes:
                known = fullest.get(prompt_id)
                found = Outcome(seeds, flagged, dropped_after)
                if known is None or _fullness(found) > _fullness(known):
                    fullest[prompt_id] = found
                elif seeds == known.seeds == most and flagged != known.flagged:
                    raise ValueError("another part says another thing")
            if any(seeds > most for _, seeds, _, _ in outcomes):
                raise ValueError("more seeds than the campaign has")
            if any((dropped_after or 0) > stages for *_, dropped_after in outcomes):
                raise ValueError("more stages than the campaign has")
    return fullest


def _fullness(row: PromptResult | Outcome) -> tuple[int, bool]:
    """The row with the larger value is kept: that of more seeds, then one that says that the prompt
    was dropped, since an earlier row could not know it."""
    return row.seeds, row.dropped_after is not None


def drop_results(store: Store, campaign_id: str, prompt_ids: Collection[str]) -> None:
    """Remove the prompts' rows from every analysis of the campaign, and nothing else.

    The other rows of a part are stored before the part is deleted, so none is lost if this ends
    early, and the same call goes on from there. Rows that are stored meanwhile may stay. Raises
    `ShardCorruptError` for a part that is not what was written.
    """
    for analysis_id in store.folders(keys.RESULTS):
        for key, results in _read_parts(store, analysis_id, campaign_id, _to_results).items():
            rest = [result for result in results if result.prompt_id not in prompt_ids]
            if len(rest) == len(results):
                continue
            if rest:
                store_results(store, analysis_id, campaign_id, rest)
            store.delete(key)


def _rank(result: PromptResult) -> tuple[bool, float, int, int, str]:
    distance = result.mean_distance if result.mean_distance is not None else float("inf")
    return (not result.flagged, distance, -result.clique_size, -result.edges, result.prompt_id)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What results of a campaign can be of: its prompts' ids, each with the settings that the
    prompt has of its own, if any."""

    campaign: Campaign
    prompts: Mapping[str, PromptSettings | None]

    @classmethod
    def of(cls, store: Store, campaign_id: str) -> "_Scope":
        """Read it of a campaign."""
        prompts = load_prompts(store, campaign_id)
        settings = chain(prompts.settings, repeat(None))
        own = dict(zip(prompts.prompt_ids(), settings))  # noqa: B905 - endless
        return cls(load_campaign(store, campaign_id).campaign, own)

    def check(self, result: PromptResult) -> None:
        """Raise `ValueError` unless the result can be one of the campaign's."""
        if result.prompt_id not in self.prompts:
            raise ValueError(f"the campaign has no prompt {result.prompt_id}")
        own = self.prompts[result.prompt_id]
        if result.settings != own:
            raise ValueError("it is of other settings than the prompt's own")
        seeds = self.campaign.of(own).seeds
        count = len(seeds)
        if result.seeds > count or (
            result.seeds == count and result.seeds_digest != _digest(seeds)
        ):
            raise ValueError("it is of other seeds than the campaign's")
        if result.drop and result.drop.stage > len(self.campaign.stages):
            raise ValueError("it was dropped after a stage that the campaign has not")
        for clique in result.cliques if result.flagged else ():
            if not all(seed in seeds for seed in clique.clique_seeds):
                raise ValueError("a clique has seeds that the campaign has not")
        for part in result.parts:
            if not all(seed in seeds for seed in part.seeds):
                raise ValueError("a part has seeds that the campaign has not")


@lru_cache(maxsize=64)
def _digest(seeds: range) -> str:
    return digest([*seeds])


def _contradict(one: PromptResult, other: PromptResult) -> bool:
    """Whether two results of the same seeds differ in more than what rounding may do."""
    if (one.seeds, one.seeds_digest) != (other.seeds, other.seeds_digest):
        return False
    cliques = [[clique.clique_seeds for clique in each.cliques] for each in (one, other)]
    matches = [[(m.training_id, m.extracted) for m in each.matches] for each in (one, other)]
    parts = [[(part.seeds, part.tiles) for part in each.parts] for each in (one, other)]
    return any(found[0] != found[1] for found in (cliques, matches, parts))


def _read_parts(
    store: Store, analysis_id: str, campaign_id: str, decode: Callable[[pa.Table], list[T]]
) -> dict[str, list[T]]:
    """Every part's rows by its key; if a part is replaced meanwhile, all are read anew."""
    prefix = keys.results_prefix(analysis_id, campaign_id)
    read = partial(_read_part, store, decode)
    while True:
        listed = [key for key in store.list(prefix) if not keys.is_beside_parts(key)]
        rows_by_key = dict(zip(listed, map_in_order(read, listed, READERS), strict=True))
        parts = {key: rows for key, rows in rows_by_key.items() if rows is not None}
        if len(parts) == len(listed):
            return parts


def _read_part(store: Store, decode: Callable[[pa.Table], list[T]], key: str) -> list[T] | None:
    analysis_id, campaign_id = keys.parse_results_part(key)
    data = store.read(key)
    if data is None:
        return None
    with _corrupt_where_wrong(key):
        table = read_table(data, _OUTCOME if decode is _to_outcomes else None)
        about = table.schema.metadata or {}
        # Parts of before say neither.
        for name, wanted in ((_ANALYSIS, analysis_id), (_CAMPAIGN, campaign_id)):
            if about.get(name, wanted.encode()) != wanted.encode():
                raise ValueError(f"it is of the {name.decode()} {about[name]!r}")
        return decode(table)


def _corrupt_where_wrong(key: str) -> contextlib.AbstractContextManager[None]:
    remedy = f"delete that object and run `seedsweep analyse {key.split('/')[2]}`"
    return corrupt_where_wrong(f"The part of the results {key}", remedy)


def _to_results(table: pa.Table) -> list[PromptResult]:
    return _RESULTS.validate_python(table.to_pylist())


def _to_outcomes(table: pa.Table) -> list[tuple[str, int, bool, int | None]]:
    """Parts of before know of no stages."""
    names = [name for name in _OUTCOME if name in table.column_names]
    columns = [column.to_pylist() for column in table.select(names).columns]
    drops = columns.pop() if names == _OUTCOME else [None] * table.num_rows
    after = [drop["stage"] if drop and not drop["sampled"] else None for drop in drops]
    return list(zip(*columns, after, strict=True))
