import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.ports import is_free
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.observed_store import StoreRequest
from seedsweep.workers.monitoring import broker_watch, health, http_pages, store_watch
from seedsweep.workers.monitoring.campaign_collector import registry_of
from seedsweep.workers.monitoring.health import Step
from seedsweep.workers.monitoring.http_pages import serve

WORKER = registry_of("worker")


@pytest.fixture
def taken():
    """A port of 127.0.0.1 that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def steps(monkeypatch):
    """The health of a process in which nothing has begun; broker and store do as asked."""
    monkeypatch.setattr(health, "_begun", {})
    monkeypatch.setattr(broker_watch, "_watched", broker_watch._watched[:])
    for found in (store_watch._failing, store_watch._slow, store_watch._watched):
        found.clear()


def read(port, page):
    """What a page answers: its status and text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def is_worker(port):
    families = text_string_to_metric_families(read(port, "/metrics")[1])
    return "seedsweep_stage_seconds" in {family.name for family in families}


class TestPorts:
    def test_the_first_free_port_is_taken(self, taken, free_port):
        free = free_port()
        assert serve(WORKER, "127.0.0.1", [taken, free, free_port()]) == free
        assert is_worker(free)

    def test_two_on_one_host_get_a_port_each(self, free_port):
        ports = [free_port(), free_port()]
        assert [serve(WORKER, "127.0.0.1", ports) for _ in range(2)] == ports

    def test_where_every_port_is_taken_another_is_asked_for(self, taken):
        with pytest.raises(ConfigError, match=f"{taken} to {taken} .*--metrics-port"):
            serve(WORKER, "127.0.0.1", [taken])

    @pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
    def test_a_host_that_is_not_this_machine_is_refused(self, host, free_port):
        with pytest.raises(ConfigError, match="--metrics-host"):
            serve(WORKER, host, [free_port()])

    def test_where_no_port_is_wanted_nothing_is_served(self):
        assert serve(WORKER, "127.0.0.1", []) is None


class TestPages:
    def test_nothing_answers_before_all_pages_are_there(self, free_port, monkeypatch):
        """Otherwise a service would be ready for a moment, whatever it waits for."""
        port, make_pages, was_free = free_port(), http_pages._pages, []

        def pages(*of):
            was_free.append(is_free(port))
            return make_pages(*of)

        monkeypatch.setattr(http_pages, "_pages", pages)
        assert serve(WORKER, "127.0.0.1", [port]) == port
        assert was_free == [True]

    def test_targets_have_an_answer_of_their_own_where_there_is_one(self, free_port):
        def answer(_, start_response):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [b"[]"]

        port = serve(WORKER, "127.0.0.1", [free_port()], answer)
        assert read(port, "/targets") == (200, "[]")
        assert is_worker(port)

    def test_another_page_is_not_found_and_those_that_are_there_are_named(self, free_port):
        port = serve(WORKER, "127.0.0.1", [free_port()])
        assert read(port, "/targets") == (
            404,
            "There are only /metrics, /healthz, /readyz here.\n",
        )

    def test_a_process_with_nothing_to_do_is_well(self, steps, free_port):
        port = serve(WORKER, "127.0.0.1", [free_port()])
        assert read(port, "/healthz") == read(port, "/readyz") == (200, "fine\n")

    def test_a_step_that_is_overdue_is_told_and_a_vital_one_by_both(self, steps, free_port):
        port = serve(WORKER, "127.0.0.1", [free_port()])
        waiting, stuck = Step("It rains", -1), Step("It hangs", -1, vital=True)
        health.begin(waiting)
        assert read(port, "/healthz") == (200, "fine\n")
        assert read(port, "/readyz") == (503, "It rains for 0 seconds.\n")
        health.begin(stuck)
        assert read(port, "/healthz") == (503, "It hangs for 0 seconds.\n")
        assert read(port, "/readyz")[1].count("\n") == 2
        health.end(stuck)
        health.end(waiting)
        assert read(port, "/healthz") == read(port, "/readyz") == (200, "fine\n")

    def test_a_store_that_fails_makes_it_unready_and_is_no_reason_to_start_again(
        self, steps, free_port
    ):
        port = serve(WORKER, "127.0.0.1", [free_port()])
        store_watch.note(StoreRequest("create", 0, 0.1, "It is full; give it space."))
        assert read(port, "/readyz") == (503, "It is full; give it space.\n")
        assert read(port, "/healthz") == (200, "fine\n")
        store_watch.note(StoreRequest("create", 70, 0.1))
        assert read(port, "/readyz") == (200, "fine\n")

    def test_a_silent_broker_is_said_with_its_address_how_long_and_what_to_do(
        self, steps, free_port, monkeypatch
    ):
        now = [100.0]
        clock = "seedsweep.workers.monitoring.broker_watch.time.monotonic"
        monkeypatch.setattr(clock, lambda: now[0])
        port = serve(WORKER, "127.0.0.1", [free_port()])
        broker_watch.watch("redis://:hidden@127.0.0.1:6379/0")
        status, said = read(port, "/readyz")
        assert (status, "has not answered for 0 s. Do not restart" in said) == (503, True)
        broker_watch.heard()
        assert read(port, "/readyz") == (200, "fine\n")
        now[0] += 14
        broker_watch.failed(BrokerUnavailableError("It does not answer; start it."))
        assert read(port, "/readyz") == (200, "fine\n")
        now[0] += 2
        assert read(port, "/readyz") == (
            503,
            "This service waits for the broker at 127.0.0.1:6379, which has not answered for 16 s. "
            "It does not answer; start it. Do not restart this service: it goes on by itself.\n",
        )
        assert read(port, "/healthz") == (200, "fine\n")
        broker_watch.heard()
        assert read(port, "/readyz") == (200, "fine\n")

    def test_a_store_that_is_slow_is_said_and_gets_things_done(self, steps, free_port):
        port = serve(WORKER, "127.0.0.1", [free_port()])
        store_watch.note(StoreRequest("create", 70, 34.0))
        assert read(port, "/readyz") == (
            200,
            "The store is slow: it took 34 s to write an object; look at its server and the "
            "network to it.\n",
        )


def test_a_step_that_is_expected_is_overdue_until_it_is_taken_first(steps):
    step = Step("Nobody came", 10)
    health.expect(step)
    assert health.overdue(vital=False) == ["Nobody came yet."]
    health.begin(step)
    health.expect(step)
    assert health.overdue(vital=False) == []


def test_a_step_taken_again_has_its_time_anew(steps, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("seedsweep.workers.monitoring.health.time.monotonic", lambda: now[0])
    step = Step("Nothing happened", 10)
    health.begin(step)
    now[0] += 11
    assert health.overdue(vital=False) == ["Nothing happened for 11 seconds."]
    health.begin(step)
    assert health.overdue(vital=False) == []
