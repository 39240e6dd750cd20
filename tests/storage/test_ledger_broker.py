import pytest

from seedsweep.storage import ledger as module
from seedsweep.storage.broker.answers import EpochMissingError
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.ledger_view import LedgerView
from tests.support.ledger_campaigns import restored
from tests.support.ledger_play import C

CHANGES = {
    "set_state": lambda ledger: ledger.set_state(C, "paused"),
    "issue": lambda ledger: ledger.issue(C, 1),
    "claim": lambda ledger: ledger.claim(C, 0, "t"),
    "renew": lambda ledger: ledger.renew(C, [(0, "t")]),
    "complete": lambda ledger: ledger.complete(C, 0),
    "release": lambda ledger: ledger.release(C, 0, "t"),
    "fail": lambda ledger: ledger.fail(C, 0, "t"),
    "park": lambda ledger: ledger.park(C, 0),
    "reap": lambda ledger: ledger.reap(C),
    "reissue_queued": lambda ledger: ledger.reissue_queued(C),
    "reopen": lambda ledger: ledger.reopen(C, [0]),
    "retry": lambda ledger: ledger.retry(C, [0]),
    "take_back": lambda ledger: ledger.take_back(C, 0, 1),
    "take_ready": lambda ledger: ledger.take_ready(C, 1),
    "renew_ready": lambda ledger: ledger.renew_ready(C, [0]),
    "put_back": lambda ledger: ledger.put_back(C, 0, 1.0, ""),
    "wait_for_cohort": lambda ledger: ledger.wait_for_cohort(C, [0], 1.0),
    "end_wait": lambda ledger: ledger.end_wait(C, range(2)),
    "cohort_is_settled": lambda ledger: ledger.cohort_is_settled(C, range(2), 1),
    "open_stage": lambda ledger: ledger.open_stage(C, 0, 2),
    "analysed": lambda ledger: ledger.analysed(C, 0, True),
}
"""The methods that count on what the broker was told before."""

OTHERS = {
    "ping": lambda ledger: ledger.ping(),
    "has_epoch": lambda ledger: ledger.has_epoch(),
    "begin_epoch": lambda ledger: ledger.begin_epoch(),
    "restore": lambda ledger: ledger.restore(C, restored()),
    "counts": lambda ledger: ledger.counts(C),
    "campaigns": lambda ledger: ledger.campaigns(),
    "done_units": lambda ledger: ledger.done_units(C),
    "parked_units": lambda ledger: ledger.parked_units(C),
    "stages": lambda ledger: ledger.stages(C),
    "stages_of": lambda ledger: ledger.stages_of(C, [0]),
    "window": lambda ledger: ledger.window(C),
    "history": lambda ledger: ledger.history(),
    "end_epoch": lambda ledger: ledger.end_epoch(),
    "forget": lambda ledger: ledger.forget(C),
}


def test_every_method_of_the_ledger_is_tried():
    methods = {name for name in vars(Ledger) | vars(LedgerView) if not name.startswith("_")}
    assert methods == CHANGES.keys() | OTHERS.keys()


class TestBroker:
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_a_broker_that_lost_its_memory_refuses_every_change(self, broker_url, broker, change):
        with pytest.raises(EpochMissingError, match="scheduler restores it"):
            change(Ledger(broker_url))
        assert broker.dbsize() == 0

    def test_changes_are_accepted_once_the_epoch_has_begun(self, broker_url):
        ledger = Ledger(broker_url)
        assert not ledger.has_epoch()
        ledger.restore(C, restored())
        ledger.begin_epoch()
        assert ledger.has_epoch()
        assert ledger.issue(C, 1)[1] == [0]

    def test_a_second_scheduler_does_not_begin_another_epoch(self, ledger, broker):
        first = broker.get(module.EPOCH)
        ledger.begin_epoch()
        assert broker.get(module.EPOCH) == first

    @pytest.mark.parametrize("call", [*CHANGES.values(), *OTHERS.values()], ids=[*CHANGES, *OTHERS])
    def test_a_broker_that_does_not_answer_is_reported_with_the_remedy(self, free_port, call):
        ledger = Ledger(f"redis://127.0.0.1:{free_port()}/0")
        with pytest.raises(BrokerUnavailableError, match="SEEDSWEEP_BROKER_URL") as caught:
            call(ledger)
        assert not isinstance(caught.value, EpochMissingError)

    def test_a_wrong_password_is_a_broker_that_does_not_answer(self, broker_url):
        with pytest.raises(BrokerUnavailableError) as caught:
            Ledger(broker_url.replace("s3cret", "wrong-one")).ping()
        assert "wrong-one" not in str(caught.value)

    def test_a_broker_without_memory_left_is_unavailable_and_not_a_crash(self, small, broker):
        broker.config_set("maxmemory", 1)
        try:
            with pytest.raises(BrokerUnavailableError, match="refuses to write"):
                small.complete(C, 0)
        finally:
            broker.config_set("maxmemory", 0)
        assert small.counts(C).done == 0

    @pytest.mark.parametrize("url", ["", "localhost", "http://localhost:6379", "redis://h:port/0"])
    def test_a_url_that_names_no_broker_is_a_configuration_error(self, url):
        with pytest.raises(ConfigError, match="redis://:PASSWORD@HOST:PORT"):
            Ledger(url)
