"""What is wrong with this process' store just now: what /readyz, `status` and the alerts say of it.

One process has one store, so what it knows of it is kept here as its metrics are.
"""

import threading
import time
from functools import partial
from typing import get_args

from seedsweep.storage.observed_store import ObservedStore, Operation, StoreRequest
from seedsweep.storage.records import StoreTrouble, TroubleKind
from seedsweep.storage.store import Store
from seedsweep.workers.monitoring import metrics, store_metrics

SLOW_SECONDS = 20.0
"""A request that takes longer is slow: the largest object takes less at 5 MB/s."""

STALE_SECONDS = 120.0
"""What was not found again for so long is no longer said: whoever waits for the store asks anew
within a minute."""

_WRITES: tuple[Operation, ...] = ("create", "replace", "delete")
_LISTINGS: tuple[Operation, ...] = ("list", "folders")

_lock = threading.Lock()
_failing: dict[TroubleKind, tuple[float, str]] = {}
_slow: dict[Operation, tuple[float, str]] = {}
_watched: list[ObservedStore] = []


def watched(store: Store) -> ObservedStore:
    """The store of this process: its requests are counted, and what is wrong with it is said."""
    observed = ObservedStore(store, note)
    _watched[:] = [observed]
    return observed


def note(request: StoreRequest) -> None:
    """Learn from a request of this process, or one made for it; for any thread.

    A request that the store granted ends the trouble of its kind.
    """
    store_metrics.note(request)
    kind: TroubleKind = "write" if request.operation in _WRITES else "read"
    is_slow = request.seconds > SLOW_SECONDS and request.operation not in _LISTINGS
    now = time.monotonic()
    with _lock:
        if request.failed:
            _failing[kind] = now, request.failure
            return
        _failing.pop(kind, None)
        _slow.pop(request.operation, None)
        if is_slow:
            took = f"it took {request.seconds:.0f} s to {kind} an object"
            _slow[request.operation] = now, _slow_sentence(took)


def troubles() -> list[StoreTrouble]:
    """What is wrong just now, one of a kind; the worst first: nothing can be written, or read."""
    now = time.monotonic()
    with _lock:
        failing = {kind: sentence for kind, (at, sentence) in _failing.items() if _is_new(at, now)}
        slow = [sentence for at, sentence in _slow.values() if _is_new(at, now)]
    waited = max((store.waited for store in _watched), default=0.0)
    if waited > SLOW_SECONDS:
        slow.append(_slow_sentence(f"it has not answered for {waited:.0f} s"))
    found: dict[TroubleKind, str] = failing | ({"slow": slow[-1]} if slow else {})
    kinds = [kind for kind in get_args(TroubleKind) if kind in found]
    return [StoreTrouble(kind=kind, sentence=found[kind]) for kind in kinds]


def trouble() -> StoreTrouble | None:
    """The worst of what is wrong just now, if anything is."""
    return next(iter(troubles()), None)


def _is_new(at: float, now: float) -> bool:
    return now - at < STALE_SECONDS


def _slow_sentence(what: str) -> str:
    url = f" {_watched[0].url}" if _watched else ""
    return f"The store{url} is slow: {what}; look at its server and the network to it."


def _is_said(kind: TroubleKind) -> bool:
    return any(trouble.kind == kind for trouble in troubles())


for _kind in get_args(TroubleKind):
    metrics.STORE_TROUBLE.labels(_kind).set_function(partial(_is_said, _kind))
