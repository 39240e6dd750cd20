"""The one Celery task, and the process that serves it: one per device."""

import logging
from typing import Any

from celery import Celery
from celery.signals import worker_shutdown

from storage.records import WorkUnit
from workers.app import QUEUE, TASK
from workers.rendering import Renderer

log = logging.getLogger(__name__)


def serve(app: Celery, renderer: Renderer, name: str) -> None:
    """Render work units until SIGTERM: the unit in hand is finished and stored first."""

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def generate(message: dict[str, Any]) -> None:
        renderer.render(WorkUnit.model_validate(message))

    def finish(**_: object) -> None:
        renderer.close()

    worker_shutdown.connect(finish, weak=False)
    worker = app.Worker(
        hostname=name,
        pool="threads",
        concurrency=1,
        queues=[QUEUE],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )
    log.info("Worker %s serves the queue %s.", name, QUEUE)
    worker.start()
