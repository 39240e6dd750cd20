"""What the broker knows of campaigns, read and never changed.

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

from collections.abc import Iterable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.broker.connection import EPOCH, ROOT, connect, read_info, translated
from seedsweep.storage.live_state import DROPPED, LiveCounts, Window

CAMPAIGNS = f"{ROOT}campaigns"


class LedgerView:
    """The live state of all campaigns behind one broker, as it is.

    Every method raises `BrokerUnavailableError` where the broker does not answer.
    """

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    def ping(self) -> None:
        """Return if the broker answers."""
        with translated():
            self._redis.ping()

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

    def has_epoch(self) -> bool:
        """Tell whether the broker still holds all of the campaigns' state."""
        with translated():
            epoch = cast("bytes | None", self._redis.get(EPOCH))
        return epoch is not None and epoch.decode(errors="replace") == self.history()

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

    def stages_of(self, campaign_id: str, prompts: Iterable[int]) -> list[int]:
        """The number of the stage whose units are open, for each of these prompts of a campaign
        with stages."""
        with translated(), self._redis.pipeline() as pipe:
            for prompt in prompts:
                pipe.hget(f"{ROOT}{campaign_id}:stage", str(prompt))
            return [int(stage or 1) for stage in pipe.execute()]

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
