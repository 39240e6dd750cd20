"""The connection to the broker, and its errors in our words.

Everything of ours in it lies below `seedsweep:`, Celery's queues included, so that others may use
the same broker. One database of it serves one deployment.
"""

import contextlib
from collections.abc import Iterator

import redis

from seedsweep.storage.broker.address import read_address
from seedsweep.storage.broker.tls import tls_fault
from seedsweep.storage.errors import BrokerUnavailableError

ROOT = "seedsweep:"
EPOCH = f"{ROOT}epoch"
"""Missing: the broker lost its memory, and every change is refused until it is restored."""

TIMEOUT_SECONDS, CONNECT_SECONDS = 30, 5


class EpochMissingError(BrokerUnavailableError):
    """The broker forgot everything; the leading scheduler restores it from the store."""


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


def unavailable(failed: str, error: Exception) -> BrokerUnavailableError:
    """Say that the broker `failed` because of what its client raised, and the remedy."""
    fault = tls_fault(error)
    reason, remedy = fault or (error, "start it, or correct SEEDSWEEP_BROKER_URL")
    return BrokerUnavailableError(f"The broker {failed} ({reason}); {remedy}.")


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
        raise unavailable("does not answer", error) from error
