"""The Celery app and its settings: Celery carries messages, the ledger's lease redelivers them."""

from collections.abc import Iterable

from celery import Celery
from kombu.exceptions import OperationalError

from storage.errors import BrokerUnavailableError
from storage.records import WorkUnit

QUEUE = "seedsweep"
TASK = "seedsweep.generate"


def make_app(broker_url: str) -> Celery:
    """Make an app that speaks JSON only, acknowledges early and keeps no results."""
    app = Celery("seedsweep", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_timeout": 30, "socket_connect_timeout": 5},
    )
    return app


def publish(app: Celery, units: Iterable[WorkUnit]) -> None:
    """Send one message per work unit, through one producer.

    Raises `BrokerUnavailableError` where the broker does not take them.
    """
    try:
        with app.producer_or_acquire() as producer:
            for unit in units:
                app.send_task(TASK, args=[unit.model_dump(mode="json")], producer=producer)
    except (OperationalError, ConnectionError) as error:
        raise BrokerUnavailableError(
            f"The broker takes no messages ({error}); start it, or correct SEEDSWEEP_BROKER_URL."
        ) from error
