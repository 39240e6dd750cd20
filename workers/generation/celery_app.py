"""The Celery app and its settings: Celery carries messages, the ledger's lease redelivers them."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES

from seedsweep.storage.broker.address import read_address
from seedsweep.storage.broker.answers import in_our_words
from seedsweep.storage.broker.connection import CONNECT_SECONDS, ROOT, TIMEOUT_SECONDS
from seedsweep.storage.records import WorkUnit
from seedsweep.workers.generation import consumer, transport
from seedsweep.workers.generation.messages import TASK

IDLE_QUEUE = "queue:idle"
"""What a worker serves before it has a model; nothing is ever sent there."""

for scheme, kind in [
    ("redis", transport.ScreeningTransport),
    ("rediss", transport.ScreeningTransport),
    ("sentinel", transport.WatchedTransport),
]:
    TRANSPORT_ALIASES[scheme] = f"{transport.__name__}:{kind.__name__}"


def queue_of(load: str) -> str:
    """The queue of all units of this load: of those that one model makes, the model's id."""
    return f"queue:{load}"


def make_app(broker_url: str) -> Celery:
    """Make an app that speaks JSON only, acknowledges early and keeps no results.

    Raises `ConfigError` for a URL that names no broker, or certificates that cannot be read.
    """
    address = read_address(broker_url)
    url = (
        f"sentinel:{address.url.partition(':')[2]}"
        if address.sentinels
        else _kombu_url(address.url)
    )
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
        broker_channel_error_retry=True,
        # Only tasks acknowledged late would be; without it each lost connection is warned of.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_consumer=f"{consumer.__name__}:{consumer.PatientConsumer.__name__}",
        # Never left to kombu: it would leave the server's certificate unchecked.
        broker_use_ssl=address.tls,
        broker_transport_options={
            "global_keyprefix": ROOT,
            "ack_emulation": False,
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "sentinels": address.sentinels,
        },
    )
    return app


def _kombu_url(url: str) -> str:
    """A broker's URL as kombu writes it: it has words of its own for a socket's."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    return f"redis+socket://{parts.path}?virtual_host={parts.query.removeprefix('db=') or 0}"


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
        raise in_our_words(error.__cause__ or error) from error
