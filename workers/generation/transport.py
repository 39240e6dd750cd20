"""How Celery reaches the broker: certificates are checked, and no foreign message gets to it."""

import logging
from functools import partial
from typing import Any

from kombu.transport.redis import (
    Channel,
    PrefixedStrictRedis,
    SentinelChannel,
    SentinelTransport,
    Transport,
)

from seedsweep.storage.broker.connection import ROOT
from seedsweep.storage.broker.sentinel import Sentinels, SentinelTlsConnection
from seedsweep.storage.broker.tls import TlsConnection
from seedsweep.workers.generation.messages import has_unknown_fields, screen_message
from seedsweep.workers.monitoring import metrics

log = logging.getLogger(__name__)

_OF_LATER_VERSION = (
    "is of a unit with fields that this worker does not know",
    "; give the worker the version that the scheduler has",
)


class ScreeningClient(PrefixedStrictRedis):
    """Kombu's, which hands on the messages of work units; others are dropped and counted."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name != "BRPOP" or not answer:
            return answer
        queue, item = answer
        screened = screen_message(item)
        if screened is not None:
            return queue, screened
        metrics.UNITS.labels("foreign").inc()
        log.warning(
            "A message of %d bytes in %s %s and was dropped%s.",
            *(len(item), queue.decode(errors="replace")),
            *(_OF_LATER_VERSION if has_unknown_fields(item) else ("is not ours", "")),
        )
        return None


class ScreeningChannel(Channel):
    """Kombu's, with connections that check whom they reach as all of ours do."""

    connection_class_ssl = TlsConnection

    def _get_client(self) -> Any:
        return partial(ScreeningClient, global_keyprefix=ROOT)


class ScreeningTransport(Transport):
    Channel = ScreeningChannel


class WatchedChannel(ScreeningChannel, SentinelChannel):
    """The same for a broker that sentinels watch, who are asked as all of ours ask."""

    from_transport_options = (  # type: ignore[assignment]
        *SentinelChannel.from_transport_options,
        "sentinels",
    )
    connection_class_ssl = SentinelTlsConnection  # type: ignore[assignment]
    sentinels: Sentinels

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> object:
        return self.sentinels.pool(self._connparams(asynchronous))  # type: ignore[no-untyped-call]


class WatchedTransport(SentinelTransport):
    Channel = WatchedChannel
