"""The Celery app and its settings: Celery carries messages, the ledger's lease redelivers them."""

from collections.abc import Iterable

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from seedsweep.storage.broker.address import read_address
from seedsweep.storage.broker.connection import CONNECT_SECONDS, ROOT, TIMEOUT_SECONDS, unavailable
from seedsweep.storage.broker.sentinel import Sentinels, SentinelTlsConnection
from seedsweep.storage.broker.tls import TlsConnection
from seedsweep.storage.records import WorkUnit

IDLE_QUEUE = "queue:idle"
"""What a worker serves before it has a model; nothing is ever sent there."""

TASK = "seedsweep.generate"


class TlsChannel(kombu_redis.Channel):
    """Kombu's, with connections that check whom they reach as all of ours do."""

    connection_class_ssl = TlsConnection


class TlsTransport(kombu_redis.Transport):
    Channel = TlsChannel


class SentinelChannel(kombu_redis.SentinelChannel):
    """Kombu's, which asks the sentinels as all of ours do."""

    from_transport_options = (  # type: ignore[assignment]
        *kombu_redis.SentinelChannel.from_transport_options,
        "sentinels",
    )
    connection_class_ssl = SentinelTlsConnection  # type: ignore[assignment]
    sentinels: Sentinels

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> object:
        return self.sentinels.pool(self._connparams(asynchronous))  # type: ignore[no-untyped-call]


class SentinelTransport(kombu_redis.SentinelTransport):
    Channel = SentinelChannel


TRANSPORT_ALIASES["rediss"] = f"{__name__}:{TlsTransport.__name__}"
TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{SentinelTransport.__name__}"


def queue_of(model_id: str) -> str:
    """The queue of all units that one loaded model can make."""
    return f"queue:{model_id}"


def make_app(broker_url: str) -> Celery:
    """Make an app that speaks JSON only, acknowledges early and keeps no results.

    Raises `ConfigError` for a URL that names no broker, or certificates that cannot be read.
    """
    address = read_address(broker_url)
    url = f"sentinel:{address.url.partition(':')[2]}" if address.sentinels else address.url
    app = Celery("seedsweep", broker=url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=IDLE_QUEUE,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Never left to kombu: it would leave the server's certificate unchecked.
        broker_use_ssl=address.tls,
        broker_transport_options={
            "global_keyprefix": ROOT,
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "sentinels": address.sentinels,
        },
    )
    return app


def publish(app: Celery, queue: str, units: Iterable[WorkUnit]) -> None:
    """Send one message per work unit, through one producer.

    Raises `BrokerUnavailableError` where the broker does not take them.
    """
    messages = [unit.model_dump(mode="json") for unit in units]
    try:
        # A pooled producer whose reconnecting failed would stay broken.
        with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
            for message in messages:
                app.send_task(TASK, args=[message], queue=queue, producer=producer)
    except (OperationalError, ConnectionError, AttributeError) as error:
        # AttributeError is what kombu says of a connection that was lost again while it came back.
        raise unavailable("takes no messages", error) from error
