"""One function applied to many items on several threads: for what waits on the store."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""At most so many results for each thread are held, however slowly the caller takes them."""


def map_in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield what the function returns for each item, in the order of the items.

    The first error is raised in its item's place; items that were not begun by then are dropped.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="in-order")
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            if len(under_way) == AHEAD * threads:
                yield under_way.popleft().result()
            under_way.append(pool.submit(function, item))
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
