"""A worker's signs of life: they renew its leases, and bring it the load that it should serve."""

import logging
import random
import threading
from collections.abc import Callable, Collection

from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.records import FIRST_KINDS, Worker, WorkUnit
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.monitoring import broker_watch, health, metrics, store_watch

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0

Describe = Callable[[], Worker]
Follow = Callable[[str], None]


class Heartbeat:
    """A thread that beats until it is closed, whatever the broker does.

    `describe` says what the worker is; `follow` is called after each beat with the load to serve.
    A worker that took itself out gets none, and counts as lost, but what it holds is still its own.
    It serves loads of `kinds` alone; that units of another kind wait is logged once.
    """

    def __init__(
        self,
        ledger: Ledger,
        workforce: Workforce,
        describe: Describe,
        follow: Follow,
        kinds: Collection[str] = FIRST_KINDS,
    ) -> None:
        self._ledger, self._workforce = ledger, workforce
        self._describe, self._follow = describe, follow
        self._kinds, self._left = kinds, set[str]()
        self._held: dict[tuple[str, int], WorkUnit] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._is_heard, self._store_fails = True, False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def hold(self, unit: WorkUnit) -> bool:
        """Renew the unit's lease from now on; False where an earlier issue of it is held already,
        in place of which this one then is."""
        name = unit.campaign_id, unit.index
        with self._lock:
            is_new = name not in self._held
            self._held[name] = unit
            metrics.HELD_UNITS.set(len(self._held))
        return is_new

    def let_go(self, unit: WorkUnit) -> WorkUnit | None:
        """Renew the unit's lease no more; returns the issue of it that was held last, if any."""
        with self._lock:
            held = self._held.pop((unit.campaign_id, unit.index), None)
            metrics.HELD_UNITS.set(len(self._held))
        return held

    def close(self) -> None:
        """Stop, and take leave; a worker that took itself out stays shown, with the reason."""
        self._closing.set()
        self._thread.join()
        worker = self._describe()
        try:
            if worker.why_out:
                self._workforce.take_out(worker)
            else:
                self._workforce.leave(worker.name)
        except BrokerUnavailableError as error:
            log.warning("The worker leaves without a word: %s", error)

    def _run(self) -> None:
        while True:
            health.begin(health.TURN)
            rest = BEAT_SECONDS
            try:
                self._beat()
                self._note(True)
                self._note_store()
                broker_watch.heard()
            except BrokerUnavailableError as error:
                broker_watch.failed(error)
                self._note(False, str(error))
                rest *= random.uniform(0.5, 1)  # noqa: S311 - no secret
            if self._closing.wait(rest):
                return

    def _beat(self) -> None:
        worker = self._describe()
        if worker.why_out:
            self._workforce.take_out(worker)
        else:
            self._follow(self._workforce.beat(worker, self._kinds))
            self._note_kinds()
        with self._lock:
            held = list(self._held.values())
        for campaign_id in {unit.campaign_id for unit in held}:
            mine = [(u.index, u.token) for u in held if u.campaign_id == campaign_id]
            self._ledger.renew(campaign_id, mine)

    def _note_kinds(self) -> None:
        """Say once of each kind that units wait which only others can make."""
        for kind in self._workforce.later_kinds() - {*self._kinds} - self._left:
            self._left.add(kind)
            log.warning(
                "Units of the kind %r wait, which this worker does not know: it leaves them to "
                "others. Give it the version that the scheduler has.",
                kind,
            )

    def _note_store(self) -> None:
        """Say once that the store is back; that it went is said of the unit that waits for it."""
        trouble = store_watch.trouble()
        fails = trouble is not None and trouble.kind != "slow"
        if self._store_fails and not fails:
            log.info("The store answers again.")
        self._store_fails = fails

    def _note(self, is_heard: bool, why: str = "") -> None:
        """Say once that the broker went, and once that it came back."""
        if is_heard != self._is_heard:
            self._is_heard = is_heard
            if is_heard:
                log.info("The broker answers again.")
            else:
                log.warning("No sign of life could be given, which is tried again: %s", why)
