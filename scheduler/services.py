"""The long-running processes, each started by a command of the same name."""

import logging

from scheduler.audit import audit_ready
from scheduler.dispatch import load_plan
from scheduler.signals import stop_on_sigterm
from storage.campaigns import load_campaign
from storage.ledger import Ledger
from storage.store import Store

log = logging.getLogger(__name__)


def serve_device(store: Store, broker_url: str, device: str, threads: int, name: str) -> None:
    """Serve the queue on one device until SIGTERM; the unit in hand is finished first."""
    from workers.app import make_app
    from workers.rendering import Renderer
    from workers.tasks import serve

    _log_plainly()
    renderer = Renderer(store, Ledger(broker_url), name, device, threads)
    serve(make_app(broker_url), renderer, name)


def serve_analysis(store: Store, broker_url: str, campaign_id: str, actors: int) -> None:
    """Analyse a campaign's prompts as they become ready, until it is complete or SIGTERM."""
    _log_plainly()
    submission = load_campaign(store, campaign_id)
    plan = load_plan(store, submission)
    log.info("The analyst of %s works with %d actors.", campaign_id, actors)
    audit_ready(store, Ledger(broker_url), submission, plan, actors, stop_on_sigterm())


def _log_plainly() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
