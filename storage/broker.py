"""The connection to the broker, and its errors in our words.

Everything of ours in it lies below `seedsweep:`, Celery's queues included, so that others may use
the same broker. One database of it serves one deployment.
"""

import contextlib
from collections.abc import Iterator

import redis

from storage.errors import BrokerUnavailableError, ConfigError

ROOT = "seedsweep:"
EPOCH = f"{ROOT}epoch"
"""Missing: the broker lost its memory, and every change is refused until it is restored."""


class EpochMissingError(BrokerUnavailableError):
    """The broker forgot everything; the leading scheduler restores it from the store."""


def connect(url: str) -> redis.Redis:
    """Prepare connections to the broker; none is made before the first call.

    Raises `ConfigError` for a URL that names no broker.
    """
    try:
        return redis.Redis.from_url(
            url, socket_timeout=30, socket_connect_timeout=5, health_check_interval=30
        )
    except ValueError as error:
        raise ConfigError(
            f"The broker's URL cannot be read ({error}); write redis://HOST:PORT/NUMBER."
        ) from error


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the client's errors as `BrokerUnavailableError` or `EpochMissingError`."""
    try:
        yield
    except redis.ResponseError as error:
        if "NOEPOCH" in str(error):
            raise EpochMissingError(
                "The broker has lost the campaigns' state; a running scheduler restores it."
            ) from error
        refuses = isinstance(error, redis.OutOfMemoryError | redis.ReadOnlyError)
        if refuses or "MISCONF" in str(error):
            raise BrokerUnavailableError(
                f"The broker refuses to write ({error}); give it room, or name the primary one."
            ) from error
        raise
    except redis.RedisError as error:
        raise BrokerUnavailableError(
            f"The broker does not answer ({error}); start it, or correct SEEDSWEEP_BROKER_URL."
        ) from error
