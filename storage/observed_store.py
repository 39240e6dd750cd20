"""A store that tells of every request made to it."""

import contextlib
import itertools
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

    `size`: the bytes of objects that were moved, read or written; 0 if it failed. `seconds`: the
    store's own, without the caller's between the keys of a listing. `failure`: what the store said
    if it failed, or refused who asks, with "objects" for the key; empty if it did not.
    """

    operation: Operation
    size: int
    seconds: float
    failure: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended in `StoreUnavailableError` or `ConfigError`."""
        return bool(self.failure)


class ObservedStore:
    """A store that passes each call on to another one, and then calls `observe`, in the same
    thread, also if the call raised. A listing is observed once it ends or is given up, if it was
    begun. `observe` must not raise; `inspect` is no request.
    """

    def __init__(self, store: Store, observe: Callable[[StoreRequest], None]) -> None:
        self.url = store.url
        self._store, self._observe = store, observe
        self._under_way: dict[int, float] = {}
        self._numbers = itertools.count()

    @property
    def waited(self) -> float:
        """For how many seconds the oldest request under way has waited; 0 if there is none."""
        begun = list(self._under_way.values())
        return time.perf_counter() - min(begun) if begun else 0.0

    def create(self, key: str, data: bytes) -> bool:
        return self._asked("create", key, partial(self._store.create, key, data), len(data))

    def replace(self, key: str, data: bytes) -> None:
        return self._asked("replace", key, partial(self._store.replace, key, data), len(data))

    def read(self, key: str) -> bytes | None:
        return self._asked("read", key, partial(self._store.read, key))

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        call = partial(self._store.read_range, key, start, length)
        return self._asked("read_range", key, call)

    def exists(self, key: str) -> bool:
        return self._asked("exists", key, partial(self._store.exists, key))

    def list(self, prefix: str) -> Iterator[str]:
        return self._listed("list", prefix, self._store.list(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        return self._listed("folders", prefix, self._store.folders(prefix))

    def delete(self, key: str) -> None:
        return self._asked("delete", key, partial(self._store.delete, key))

    def inspect(self) -> StoreFacts:
        return self._store.inspect()

    def _asked(self, operation: Operation, key: str, call: Callable[[], T], written: int = 0) -> T:
        size, failure, began = 0, "", time.perf_counter()
        try:
            with self._waiting(began):
                answer = call()
            size = len(answer) if isinstance(answer, bytes) else written
            return answer
        except (StoreUnavailableError, ConfigError) as error:
            failure = _without_key(error, key)
            raise
        finally:
            self._observe(StoreRequest(operation, size, time.perf_counter() - began, failure))

    def _listed(self, operation: Operation, prefix: str, listing: Iterator[str]) -> Iterator[str]:
        seconds, failure = 0.0, ""
        try:
            while True:
                began = time.perf_counter()
                try:
                    with self._waiting(began):
                        key = next(listing, None)
                finally:
                    seconds += time.perf_counter() - began
                if key is None:
                    return
                yield key
        except (StoreUnavailableError, ConfigError) as error:
            failure = _without_key(error, prefix)
            raise
        finally:
            self._observe(StoreRequest(operation, 0, seconds, failure))

    @contextlib.contextmanager
    def _waiting(self, since: float) -> Iterator[None]:
        number = next(self._numbers)
        self._under_way[number] = since
        try:
            yield
        finally:
            del self._under_way[number]


def _without_key(error: Exception, key: str) -> str:
    """The error's words without the key, so that all objects have the same sentence."""
    return str(error).replace(f" {key}", " objects", 1) if key else str(error)
