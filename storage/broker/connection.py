"""The connection to the broker, and its errors in our words.

Everything of ours in it lies below `seedsweep:`, Celery's queues included, so that others may use
the same broker. Each deployment needs a database of its own.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import redis

from seedsweep.storage.broker.address import read_address
from seedsweep.storage.broker.answers import in_our_words, not_ours
from seedsweep.storage.errors import BrokerRefusesError

ROOT = "seedsweep:"
EPOCH = f"{ROOT}epoch"
"""The history of the broker's memory when the campaigns were restored to it. Missing: it lost that
memory, and every change is refused until they are restored again."""

TIMEOUT_SECONDS, CONNECT_SECONDS = 30, 5


def connect(url: str) -> redis.Redis:
    """Prepare connections to the broker; none is made before the first call.

    Raises `ConfigError` for a URL that names no broker, or certificates that cannot be read.
    """
    options = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "health_check_interval": 30,
    }
    return redis.Redis.from_pool(read_address(url).pool(options))


def read_info(client: redis.Redis, *sections: str) -> dict[str, Any]:
    """What the broker says of itself; nothing if its user may not ask, or it has no INFO."""
    try:
        return dict(client.info(*sections))
    except redis.ResponseError as error:
        if isinstance(in_our_words(error), BrokerRefusesError):
            return {}
        raise


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the client's errors, and what cannot be read of an answer, in our words.

    Both are `BrokerUnavailableError`.
    """
    try:
        yield
    except redis.RedisError as error:
        raise in_our_words(error) from error
    except (ValueError, LookupError) as error:
        raise not_ours(error) from error
