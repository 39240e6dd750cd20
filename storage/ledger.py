"""A campaign's live state in Redis: small, changed atomically, and rebuildable from the store.

Per campaign, below `seedsweep:<campaign_id>:`
    meta     hash: units, per_prompt, cursor, done, parked, held, dropped, analysed, state, trouble;
             with stages also ends: how many units of a prompt are open in each
    done     bitmap, one bit per unit
    tokens   hash: the window, unit → the token of its present issue (queued or claimed)
    leases   sorted set: claimed unit → when its lease ends, milliseconds of Redis time
    again    list: units that came back and are issued first
    aside    sorted set, with several loads: units of `again` that were met when those of another
             load were issued → their load's number and their turn; meta then has `turn`, and
             cursor:<number> for each load
    errors, losses   hashes: how often a unit failed, or its worker vanished
    parked   set: units given up
    ready    sorted set: prompts whose units are all done or parked → when they may be taken
    analysed bitmap, one bit per prompt whose result is stored
    flagged  set: prompts that are flagged
    waiting  set, with stages: those of `ready` that wait for others of their cohort
    stage    hash, with stages: prompt → the number of the stage whose units are open, if not 1
    dropped  bitmap, with stages: one bit per prompt whose other units are not made
Over all campaigns: `seedsweep:campaigns`, the set of those restored, and the epoch.
"""

import uuid
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.broker.connection import EPOCH, ROOT, connect, read_info, translated
from seedsweep.storage.live_state import (
    DROPPED,
    Claim,
    LiveCounts,
    Lot,
    Reaped,
    Restored,
    Window,
)

CAMPAIGNS = f"{ROOT}campaigns"
SCRIPT = files("seedsweep.storage").joinpath("ledger.lua").read_text()
PARTS = (
    *("meta", "done", "tokens", "leases", "again", "errors", "losses", "parked", "ready"),
    *("analysed", "flagged", "waiting", "stage", "dropped", "aside"),
)

LEASE_MS = 15_000
"""How long a claim holds without a sign of life: a killed worker's units run again after it."""
READY_LEASE_MS = 30_000
MAX_ERRORS = 3
MAX_LOSSES = 5


class Ledger:
    """The live state of all campaigns behind one broker.

    Every method is atomic and safe to repeat, and raises `BrokerUnavailableError` where the broker
    does not answer, `EpochMissingError` where it has lost its memory.
    """

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._script = self._redis.register_script(SCRIPT)

    def ping(self) -> None:
        """Return if the broker answers."""
        with translated():
            self._redis.ping()

    def restore(self, campaign_id: str, restored: Restored) -> None:
        """Put the state in place of whatever was there, at once, before the epoch begins.

        Units that were claimed and are not settled stay so, with a fresh lease; nothing else is in
        the window then.
        """
        name = f"{ROOT}{campaign_id}:"
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            claims = self._claims(name, restored)
            ends = self._now() + LEASE_MS
            pipe.delete(*(name + part for part in PARTS))
            pipe.set(f"{name}done", np.packbits(restored.done).tobytes())
            meta = {
                "units": len(restored.done),
                "per_prompt": restored.per_prompt,
                "cursor": 0,
                "done": int(restored.done.sum()),
                "parked": len(restored.parked),
                "held": restored.held,
                "dropped": restored.dropped,
                "ends": " ".join(map(str, restored.ends)),
                "analysed": int(restored.analysed.sum()),
                "state": restored.state,
            }
            pipe.hset(f"{name}meta", mapping=cast("Any", meta))
            if claims:
                pipe.hset(f"{name}tokens", mapping=cast("Any", claims))
                pipe.zadd(f"{name}leases", cast("Any", dict.fromkeys(claims, ends)))
            if restored.parked:
                pipe.sadd(f"{name}parked", *restored.parked)
            if restored.ready:
                pipe.zadd(f"{name}ready", dict.fromkeys(map(str, restored.ready), 0))
            pipe.set(f"{name}analysed", np.packbits(restored.analysed).tobytes())
            if restored.flagged:
                pipe.sadd(f"{name}flagged", *restored.flagged)
            numbers = restored.stages % DROPPED
            if later := np.flatnonzero(numbers > 1).tolist():
                pipe.hset(f"{name}stage", mapping={i: int(numbers[i]) for i in later})
            if restored.ends:
                bits = np.packbits(restored.stages >= DROPPED)
                pipe.set(f"{name}dropped", bits.tobytes())
            pipe.sadd(CAMPAIGNS, campaign_id)
            pipe.execute()

    def forget(self, campaign_id: str) -> None:
        """Remove all that is known of a campaign; what workers say of it afterwards is ignored."""
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(*(f"{ROOT}{campaign_id}:{part}" for part in PARTS))
            pipe.srem(CAMPAIGNS, campaign_id)
            pipe.execute()

    def campaigns(self) -> list[str]:
        """Name the campaigns that were restored, in alphabetical order."""
        with translated():
            names = cast("set[bytes]", self._redis.smembers(CAMPAIGNS))
            return sorted(name.decode() for name in names)

    def history(self) -> str:
        """Name the history of the broker's memory; empty where its user may not ask for it.

        Whoever starts has another one, and so has a replica that is promoted: both may lack what
        was last told to the broker before.
        """
        with translated():
            return str(read_info(self._redis, "replication").get("master_replid", ""))

    def end_epoch(self) -> str:
        """Have every change refused until the next epoch begins; returns the history to begin it
        with, so that it does not count where that changes before all campaigns are restored."""
        history = self.history()
        with translated():
            self._redis.delete(EPOCH)
        return history

    def begin_epoch(self, history: str | None = None) -> None:
        """Declare all campaigns restored: from here on changes are accepted."""
        name = self.history() if history is None else history
        with translated():
            self._redis.set(EPOCH, name, nx=True)

    def has_epoch(self) -> bool:
        """Tell whether the broker still holds all of the campaigns' state."""
        with translated():
            epoch = cast("bytes | None", self._redis.get(EPOCH))
        return epoch is not None and epoch.decode(errors="replace") == self.history()

    def set_state(self, campaign_id: str, state: str) -> None:
        """Let workers claim (`active`) or not (`paused`, `cancelled`)."""
        self._call(campaign_id, "set_state", state)

    def issue(self, campaign_id: str, count: int, lot: Lot | None = None) -> tuple[str, list[int]]:
        """Put up to `count` pending units into the window; returns their token and indexes.

        With a lot, only its units. All calls for a campaign tell of the same loads.
        """
        arguments = count, uuid.uuid4().hex, *_told(lot)
        token, indexes = self._call(campaign_id, "issue", *arguments)
        return token.decode(), indexes

    def claim(self, campaign_id: str, index: int, token: str) -> Claim:
        """Claim an issued unit for `LEASE_MS`; only one claim of an issue is ever granted."""
        outcome, waited = self._call(campaign_id, "claim", index, token, LEASE_MS)
        return Claim(outcome.decode(), waited / 1000)

    def renew(self, campaign_id: str, claims: Iterable[tuple[int, str]]) -> int:
        """Renew the leases of claimed units; returns how many are still this holder's."""
        flat = [part for claim in claims for part in claim]
        return int(self._call(campaign_id, "renew", LEASE_MS, *flat)) if flat else 0

    def complete(self, campaign_id: str, index: int) -> None:
        """Record that the unit's shard exists, whoever made it."""
        self._call(campaign_id, "complete", index)

    def release(self, campaign_id: str, index: int, token: str) -> None:
        """Hand an unfinished unit back, without counting it as a failure."""
        self._call(campaign_id, "release", index, token)

    def fail(self, campaign_id: str, index: int, token: str) -> bool:
        """Count a failure; True when it was the last allowed one and the caller must park it."""
        return int(self._call(campaign_id, "fail", index, token, MAX_ERRORS)) >= MAX_ERRORS

    def park(self, campaign_id: str, index: int) -> None:
        """Give the unit up; its prompt is analysed without it."""
        self._call(campaign_id, "park", index)

    def reap(self, campaign_id: str) -> Reaped:
        """Take back units whose lease ran out; those lost `MAX_LOSSES` times are to be parked."""
        expired, to_park = self._call(campaign_id, "reap", MAX_LOSSES, LEASE_MS)
        return Reaped(expired, tuple(to_park))

    def reissue_queued(self, campaign_id: str, lot: Lot | None = None) -> int:
        """Take back all units, or those of the lot, that are queued but not claimed: their messages
        are lost.

        Returns how many there were.
        """
        return int(self._call(campaign_id, "reissue_queued", *_told(lot)))

    def reopen(self, campaign_id: str, indexes: Iterable[int]) -> None:
        """Have units made again whatever became of them, and their prompts analysed again."""
        for index in indexes:
            self._call(campaign_id, "reopen", index)

    def retry(self, campaign_id: str, indexes: Iterable[int]) -> None:
        """Have parked units made again as if nothing had failed, and their prompts analysed again.

        Units that are not parked stay as they are.
        """
        for index in indexes:
            self._call(campaign_id, "retry", index)

    def take_back(self, campaign_id: str, index: int, failures: int) -> None:
        """Count so many failures of a unit less; where it was parked, it is open again."""
        self._call(campaign_id, "take_back", index, failures)

    def parked_units(self, campaign_id: str) -> set[int]:
        """Which units are parked; none where the broker does not know the campaign."""
        with translated():
            parked = cast("set[bytes]", self._redis.smembers(f"{ROOT}{campaign_id}:parked"))
            return {int(index) for index in parked}

    def done_units(self, campaign_id: str) -> NDArray[np.bool_] | None:
        """Which units are done: (units,) bool; None where the broker does not know the campaign."""
        name = f"{ROOT}{campaign_id}:"
        with translated(), self._redis.pipeline() as pipe:
            pipe.get(f"{name}done")
            pipe.hget(f"{name}meta", "units")
            bits, units = pipe.execute()
            if bits is None or units is None:
                return None
            packed = np.frombuffer(bits, dtype=np.uint8)
            return np.unpackbits(packed, count=int(units)).astype(np.bool_)

    def stages(self, campaign_id: str) -> NDArray[np.uint8] | None:
        """The stage of each prompt as `Restored.stages` tells it: (prompts,) uint8; None where the
        campaign has no stages, or the broker does not know it."""
        name = f"{ROOT}{campaign_id}:"
        with translated(), self._redis.pipeline() as pipe:
            pipe.hmget(f"{name}meta", "units", "per_prompt", "ends")
            pipe.hgetall(f"{name}stage")
            pipe.get(f"{name}dropped")
            (units, per_prompt, ends), later, bits = pipe.execute()
            if not ends:
                return None
            stages = np.ones(int(units) // int(per_prompt), dtype=np.uint8)
            for prompt, stage in later.items():
                stages[int(prompt)] = int(stage)
            packed = np.frombuffer(bits or b"", dtype=np.uint8)
            is_dropped = np.unpackbits(packed)[: len(stages)].astype(np.bool_)
            stages[: len(is_dropped)][is_dropped] += DROPPED
            return stages

    def take_ready(self, campaign_id: str, count: int) -> list[int]:
        """Take up to `count` prompts to analyse; they come again if no result follows."""
        return cast("list[int]", self._call(campaign_id, "take_ready", count, READY_LEASE_MS))

    def stages_of(self, campaign_id: str, prompts: Iterable[int]) -> list[int]:
        """The number of the stage whose units are open, for each of these prompts of a campaign
        with stages."""
        with translated(), self._redis.pipeline() as pipe:
            for prompt in prompts:
                pipe.hget(f"{ROOT}{campaign_id}:stage", str(prompt))
            return [int(stage or 1) for stage in pipe.execute()]

    def renew_ready(self, campaign_id: str, prompts: Iterable[int]) -> None:
        """Keep taken prompts from being taken again."""
        self._call(campaign_id, "postpone", READY_LEASE_MS, *prompts)

    def put_back(self, campaign_id: str, prompt: int, seconds: float, trouble: str) -> None:
        """Have a prompt that could not be analysed, for that reason, taken again in a while."""
        self._call(campaign_id, "put_back", prompt, int(seconds * 1000), trouble)

    def wait_for_cohort(self, campaign_id: str, prompts: Iterable[int], seconds: float) -> None:
        """Have ready prompts wait for others of their cohort: they are taken again once
        `end_wait` says so, or after so many seconds."""
        self._call(campaign_id, "wait", int(seconds * 1000), *prompts)

    def end_wait(self, campaign_id: str, prompts: range) -> None:
        """Have those of these prompts that wait for their cohort taken again at once."""
        self._call(campaign_id, "end_wait", prompts.start, prompts.stop - 1)

    def cohort_is_settled(self, campaign_id: str, prompts: range, stage: int) -> bool:
        """Whether each of these prompts was dropped, or all its units up to this stage are settled
        and open."""
        first, last = prompts.start, prompts.stop - 1
        return bool(self._call(campaign_id, "cohort_is_settled", first, last, stage))

    def open_stage(self, campaign_id: str, prompt: int, stage: int) -> None:
        """Have the prompt go on: its units up to this stage come next.

        Where that is known already, nothing changes.
        """
        self._call(campaign_id, "open", prompt, stage)

    def analysed(
        self, campaign_id: str, prompt: int, flagged: bool, dropped_after: int | None = None
    ) -> None:
        """Record that the prompt's result is stored, and that analysing is no trouble now.

        `dropped_after`: the stage after which the prompt was dropped; its other units are not made.
        """
        self._call(campaign_id, "analysed", prompt, int(flagged), dropped_after or 0)

    def counts(self, campaign_id: str) -> LiveCounts | None:
        """Count a campaign's units and prompts; None where the broker does not know it."""
        name = f"{ROOT}{campaign_id}:"
        with translated(), self._redis.pipeline() as pipe:
            pipe.hgetall(f"{name}meta")
            pipe.hlen(f"{name}tokens")
            pipe.zcard(f"{name}leases")
            pipe.zcard(f"{name}ready")
            pipe.scard(f"{name}waiting")
            pipe.scard(f"{name}flagged")
            pipe.hlen(f"{name}errors")
            pipe.hlen(f"{name}losses")
            meta, window, claimed, ready, waiting, flagged, errors, losses = pipe.execute()
            if not meta:
                return None
            words = {b"state", b"trouble", b"ends"}
            numbers = {k.decode(): int(v) for k, v in meta.items() if k not in words}
            return LiveCounts(
                units=numbers["units"],
                done=numbers["done"],
                parked=numbers["parked"],
                queued=window - claimed,
                claimed=claimed,
                failing=max(errors, losses),
                ready=ready - waiting,
                in_cohorts=waiting,
                analysed=numbers["analysed"],
                flagged=flagged,
                state=meta[b"state"].decode(),
                trouble=meta.get(b"trouble", b"").decode(),
                per_prompt=numbers["per_prompt"],
                held=numbers.get("held", 0),
                dropped=numbers.get("dropped", 0),
            )

    def window(self, campaign_id: str) -> Window:
        """Which units are queued, and which are claimed."""
        name = f"{ROOT}{campaign_id}:"
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hkeys(f"{name}tokens")
            pipe.zrange(f"{name}leases", 0, -1)
            tokens, leases = pipe.execute()
        claimed = {int(index) for index in leases}
        queued = {int(index) for index in tokens} - claimed
        return Window(tuple(sorted(queued)), tuple(sorted(claimed)))

    def _claims(self, name: str, restored: Restored) -> dict[bytes, bytes]:
        """The claimed units that are not settled in the restored state, each with its token."""
        tokens = cast("dict[bytes, bytes]", self._redis.hgetall(f"{name}tokens"))
        claimed = cast("list[bytes]", self._redis.zrange(f"{name}leases", 0, -1))
        done, parked = restored.done, restored.parked
        return {
            i: tokens[i] for i in claimed if i in tokens and not (done[int(i)] or int(i) in parked)
        }

    def _now(self) -> int:
        seconds, micro = self._redis.time()
        return int(seconds) * 1000 + int(micro) // 1000

    def _call(self, campaign_id: str, name: str, *arguments: object) -> Any:
        with translated():
            return self._script(
                keys=[f"{ROOT}{campaign_id}:", EPOCH], args=[name, *cast("Any", arguments)]
            )


def _told(lot: Lot | None) -> tuple[object, ...]:
    """How the script is told of a lot."""
    return (lot.number, " ".join(map(str, lot.numbers))) if lot else ()
