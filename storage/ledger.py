"""A campaign's live state in Redis: small, changed atomically, and rebuildable from the store.

Under which keys it lies, and what can be read of it, is in `ledger_view.py`.
"""

import uuid
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, cast

import numpy as np

from seedsweep.storage.broker.connection import EPOCH, ROOT, translated
from seedsweep.storage.ledger_view import CAMPAIGNS, LedgerView
from seedsweep.storage.live_state import DROPPED, Claim, Lot, Reaped, Restored

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


class Ledger(LedgerView):
    """The live state of all campaigns behind one broker, and all that changes it.

    Every method is atomic and safe to repeat, and raises `BrokerUnavailableError` where the broker
    does not answer, `EpochMissingError` where it has lost its memory.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._script = self._redis.register_script(SCRIPT)

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

    def take_ready(self, campaign_id: str, count: int) -> list[int]:
        """Take up to `count` prompts to analyse; they come again if no result follows."""
        return cast("list[int]", self._call(campaign_id, "take_ready", count, READY_LEASE_MS))

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
