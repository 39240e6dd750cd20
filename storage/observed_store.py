"""A store that tells of every request made to it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.store import Store, StoreFacts

T = TypeVar("T")

Operation = Literal[
    "create", "replace", "read", "read_range", "exists", "list", "folders", "delete"
]


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One call of a store's method, and what it took.

    `size`: the bytes of objects that were moved, read or written; 0 where it failed. `seconds`: the
    store's own, without the caller's between the keys of a listing. `failed`: it ended in
    `StoreUnavailableError`, or in `ConfigError` where the store refuses who asks.
    """

    operation: Operation
    size: int
    seconds: float
    failed: bool


class ObservedStore:
    """A store that does whatever another one does, and calls `observe` after each call.

    That happens in the thread that called, whether or not the call raised; for a listing once it
    ends or is given up, and not if it was never begun. `observe` must not raise; `inspect` is no
    request.
    """

    def __init__(self, store: Store, observe: Callable[[StoreRequest], None]) -> None:
        self.url = store.url
        self._store, self._observe = store, observe

    def create(self, key: str, data: bytes) -> bool:
        return self._asked("create", partial(self._store.create, key, data), len(data))

    def replace(self, key: str, data: bytes) -> None:
        return self._asked("replace", partial(self._store.replace, key, data), len(data))

    def read(self, key: str) -> bytes | None:
        return self._asked("read", partial(self._store.read, key))

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        return self._asked("read_range", partial(self._store.read_range, key, start, length))

    def exists(self, key: str) -> bool:
        return self._asked("exists", partial(self._store.exists, key))

    def list(self, prefix: str) -> Iterator[str]:
        return self._listed("list", self._store.list(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        return self._listed("folders", self._store.folders(prefix))

    def delete(self, key: str) -> None:
        return self._asked("delete", partial(self._store.delete, key))

    def inspect(self) -> StoreFacts:
        return self._store.inspect()

    def _asked(self, operation: Operation, call: Callable[[], T], written: int = 0) -> T:
        size, failed, began = 0, False, time.perf_counter()
        try:
            answer = call()
            size = len(answer) if isinstance(answer, bytes) else written
            return answer
        except (StoreUnavailableError, ConfigError):
            failed = True
            raise
        finally:
            self._observe(StoreRequest(operation, size, time.perf_counter() - began, failed))

    def _listed(self, operation: Operation, listing: Iterator[str]) -> Iterator[str]:
        seconds, failed = 0.0, False
        try:
            while True:
                began = time.perf_counter()
                try:
                    key = next(listing, None)
                finally:
                    seconds += time.perf_counter() - began
                if key is None:
                    return
                yield key
        except (StoreUnavailableError, ConfigError):
            failed = True
            raise
        finally:
            self._observe(StoreRequest(operation, 0, seconds, failed))
