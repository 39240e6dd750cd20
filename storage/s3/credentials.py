"""The credentials that a store in S3 is used with, fetched and kept fresh."""

import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC

from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider

from seedsweep.storage.errors import SeedsweepError, StoreUnavailableError
from seedsweep.storage.s3.address import Address
from seedsweep.storage.s3.sources import find_source

log = logging.getLogger(__name__)

EARLY = 300.0
"""So many seconds before they expire, credentials are fetched anew."""

LOOK_AGAIN = 60.0
"""So often, in seconds, others are looked for if they do not expire, or none could be fetched."""


@dataclass(frozen=True, slots=True)
class _Held:
    credentials: Credentials
    renew_at: float
    expires: float


class StoreCredentials(Provider):
    """The credentials of the first source that this process has, for many threads.

    The sources, in their order: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, MINIO_ACCESS_KEY and
    MINIO_SECRET_KEY, web identity, the profile AWS_PROFILE of the shared credentials and config
    files, the container's role, the instance's role. One that is set up and fails is an error:
    nobody else's credentials are taken in its place.

    Making it asks no server; it raises `ConfigError` if no source is left to ask, and
    `retrieve` if the source gives none. Credentials that expire are fetched anew `EARLY` before
    they do, or after half of a life shorter than that; others are looked for every `LOOK_AGAIN`.
    Those held are used until they expire, whatever becomes of that.
    """

    def __init__(self, address: Address) -> None:
        self.source = find_source(address)
        self._url = address.url
        self._lock = threading.Lock()
        self._held = None if self.source.kind == "server" else _hold(self.source.fetch())

    def retrieve(self) -> Credentials:
        held, now = self._held, time.time()
        if held and now < held.renew_at:
            return held.credentials
        if held and now < held.expires and self._lock.locked():
            return held.credentials  # another thread renews them
        with self._lock:
            if self._held is None or self._held is held:
                self._held = self._renewed(held)
            return self._held.credentials

    def _renewed(self, held: _Held | None) -> _Held:
        try:
            return _hold(self.source.fetch())
        except SeedsweepError as error:
            if held is None:
                raise
            left = held.expires - time.time()
            if left <= 0:
                raise StoreUnavailableError(str(error)) from None
            log.warning("The credentials for the store %s stay as they are: %s", self._url, error)
            return replace(held, renew_at=time.time() + min(LOOK_AGAIN, left / 2))


def _hold(credentials: Credentials) -> _Held:
    now = time.time()
    if credentials.expiration is None:
        return _Held(credentials, now + LOOK_AGAIN, float("inf"))
    expires = credentials.expiration.replace(tzinfo=UTC).timestamp()
    left = expires - now
    return _Held(credentials, now + max(left - EARLY, left / 2), expires)
