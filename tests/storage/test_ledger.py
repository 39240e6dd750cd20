import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from seedsweep.storage import ledger as module
from seedsweep.storage.broker.answers import EpochMissingError
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import Reaped
from tests.support.campaigns import nothing_done
from tests.support.ledger_play import KEY, PER_PROMPT, UNITS, C, Play, steps


def restored(units=6, per_prompt=2, **changes):
    units = len(changes.get("done", range(units)))
    return nothing_done(units // per_prompt, per_prompt, **changes)


def marked(units, *done):
    bits = np.zeros(units, dtype=np.bool_)
    bits[list(done)] = True
    return bits


def claim_one(ledger):
    """Issue one unit and claim it: its index and its token."""
    token, [index] = ledger.issue(C, 1)
    assert ledger.claim(C, index, token).outcome == "granted"
    return index, token


@pytest.fixture
def short_lease(monkeypatch):
    monkeypatch.setattr(module, "LEASE_MS", 30)


@pytest.fixture
def small(ledger):
    """A ledger with one campaign of six units, three prompts of two."""
    ledger.restore(C, restored())
    return ledger


class TestIssuing:
    def test_units_are_issued_in_order_and_never_twice_while_in_the_window(self, small):
        assert small.issue(C, 2)[1] == [0, 1]
        assert small.issue(C, 3)[1] == [2, 3, 4]
        assert small.issue(C, 9)[1] == [5]
        assert small.issue(C, 9)[1] == []

    def test_a_unit_in_the_window_is_not_issued_however_often_it_is_said_to_have_come_back(
        self, small, broker
    ):
        small.issue(C, 2)
        broker.rpush(f"{KEY}again", 0, 5, 0, 5)
        assert small.issue(C, 9)[1] == [5, 2, 3, 4]

    def test_every_issue_has_its_own_token(self, small):
        assert small.issue(C, 1)[0] != small.issue(C, 1)[0]

    def test_racing_feeders_share_the_units_out(self, ledger, broker_url):
        ledger.restore(C, restored(units=200))

        def feed(_):
            feeder, issued = Ledger(broker_url), []
            while found := feeder.issue(C, 7)[1]:
                issued += found
            return issued

        with ThreadPoolExecutor(4) as pool:
            issued = [index for part in pool.map(feed, range(4)) for index in part]
        assert sorted(issued) == list(range(200))

    def test_done_and_parked_units_are_not_issued(self, ledger):
        ledger.restore(C, restored(done=marked(6, 0, 3), parked=frozenset({1})))
        assert ledger.issue(C, 9)[1] == [2, 4, 5]

    def test_an_unknown_campaign_has_nothing_to_issue(self, ledger):
        assert ledger.issue("nope", 9)[1] == []

    @pytest.mark.parametrize("state", ["paused", "cancelled"])
    def test_a_paused_or_cancelled_campaign_issues_nothing(self, small, state):
        small.set_state(C, state)
        assert small.issue(C, 9)[1] == []
        small.set_state(C, "active")
        assert small.issue(C, 9)[1] == [0, 1, 2, 3, 4, 5]

    def test_a_unit_that_came_back_is_issued_first(self, small):
        index, token = claim_one(small)
        assert index == 0
        small.release(C, index, token)
        assert small.issue(C, 2)[1] == [0, 1]

    def test_queued_units_whose_messages_are_lost_are_issued_again(self, small):
        token, _ = small.issue(C, 2)
        assert small.claim(C, 0, token).outcome == "granted"
        small.reissue_queued(C)
        again, indexes = small.issue(C, 9)
        assert sorted(indexes) == [1, 2, 3, 4, 5]
        assert small.claim(C, 1, token).outcome == "stale"
        assert small.claim(C, 1, again).outcome == "granted"

    def test_the_cursor_finds_what_a_crash_left_out(self, small, broker):
        small.issue(C, 6)
        broker.delete(f"{KEY}tokens")
        assert small.issue(C, 9)[1] == [0, 1, 2, 3, 4, 5]

    def test_the_cursor_waits_until_the_window_is_empty(self, small, broker):
        token, _ = small.issue(C, 6)
        broker.hdel(f"{KEY}tokens", 2)
        assert small.issue(C, 9)[1] == []
        for index in (0, 1, 3, 4, 5):
            assert small.claim(C, index, token).outcome == "granted"
            small.complete(C, index)
        assert small.issue(C, 9)[1] == [2]

    def test_the_end_of_a_long_and_nearly_done_campaign_is_found_in_a_few_calls(self, ledger):
        done = np.ones(100_000, dtype=np.bool_)
        done[99_999] = False
        ledger.restore(C, restored(done=done))
        assert [99_999] in [ledger.issue(C, 5)[1] for _ in range(6)]


class TestClaiming:
    def test_only_one_of_many_racing_claims_is_granted(self, small, broker_url):
        token, [index] = small.issue(C, 1)
        workers, gate = [Ledger(broker_url) for _ in range(8)], threading.Barrier(8)

        def claim(worker):
            worker.ping()
            gate.wait()
            return worker.claim(C, index, token).outcome

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(claim, workers)) == ["granted"] + ["stale"] * 7

    def test_a_granted_claim_tells_how_long_its_unit_was_queued(self, small, broker, wait_until):
        token, [index] = small.issue(C, 1)
        issued = broker.time()
        wait_until(lambda: broker.time()[0] > issued[0])
        waited = small.claim(C, index, token).waited_seconds
        later = broker.time()
        assert 0 < waited <= later[0] - issued[0] + (later[1] - issued[1]) / 1e6 + 0.1

    def test_a_claim_that_is_not_granted_waited_for_nothing(self, small):
        assert small.claim(C, 0, "never issued").waited_seconds == 0

    def test_a_second_delivery_of_a_claimed_message_is_stale(self, small):
        index, token = claim_one(small)
        assert small.claim(C, index, token).outcome == "stale"

    def test_a_claim_with_a_token_of_no_issue_is_stale(self, small):
        assert small.claim(C, 0, "never issued").outcome == "stale"
        small.issue(C, 1)
        assert small.claim(C, 0, "another").outcome == "stale"

    def test_a_late_message_of_a_done_unit_is_told_so(self, small):
        index, token = claim_one(small)
        small.complete(C, index)
        assert small.claim(C, index, token).outcome == "done"

    def test_a_late_message_of_a_parked_unit_is_stale(self, small):
        index, token = claim_one(small)
        small.park(C, index)
        assert small.claim(C, index, token).outcome == "stale"

    def test_a_message_of_an_unknown_campaign_is_stale(self, ledger):
        assert ledger.claim("nope", 0, "t").outcome == "stale"

    @pytest.mark.parametrize("state", ["paused", "cancelled"])
    def test_a_paused_or_cancelled_campaign_refuses_and_takes_the_unit_back(self, small, state):
        token, _ = small.issue(C, 1)
        small.set_state(C, state)
        assert small.claim(C, 0, token).outcome == state
        assert small.counts(C).queued == 0
        small.set_state(C, "active")
        assert small.claim(C, 0, token).outcome == "stale"
        assert small.issue(C, 1)[1] == [0]

    def test_a_unit_that_is_under_way_when_its_campaign_is_paused_may_finish(self, small):
        index, token = claim_one(small)
        small.set_state(C, "paused")
        assert small.renew(C, [(index, token)]) == 1
        small.complete(C, index)
        assert small.counts(C).done == 1


class TestLeases:
    def test_an_expired_unit_is_issued_again_and_its_old_token_is_worth_nothing(
        self, small, short_lease, wait_until
    ):
        index, old = claim_one(small)

        def reaped():
            assert small.reap(C).to_park == ()
            return small.counts(C).claimed == 0

        wait_until(reaped)
        new, [again] = small.issue(C, 1)
        assert again == index
        assert new != old
        assert small.claim(C, index, old).outcome == "stale"
        assert small.renew(C, [(index, old)]) == 0
        assert small.fail(C, index, old) is False
        small.release(C, index, old)
        assert small.counts(C).queued == 1
        assert small.claim(C, index, new).outcome == "granted"

    def test_the_shard_of_a_worker_that_lost_its_lease_counts_all_the_same(
        self, small, short_lease, wait_until
    ):
        index, _ = claim_one(small)
        wait_until(lambda: small.reap(C).to_park == () and small.counts(C).claimed == 0)
        token, _ = small.issue(C, 1)
        small.complete(C, index)
        assert small.counts(C).done == 1
        assert small.claim(C, index, token).outcome == "done"
        assert small.counts(C).queued == 0

    def test_a_lease_that_has_not_run_out_is_not_reaped(self, small):
        claim_one(small)
        assert small.reap(C).to_park == ()
        assert small.counts(C).claimed == 1

    def test_a_renewed_lease_outlives_the_one_it_replaced(
        self, small, monkeypatch, broker, wait_until
    ):
        monkeypatch.setattr(module, "LEASE_MS", 40)
        index, token = claim_one(small)
        first = broker.zscore(f"{KEY}leases", index)
        monkeypatch.setattr(module, "LEASE_MS", 60_000)
        assert small.renew(C, [(index, token)]) == 1
        wait_until(lambda: broker.time()[0] * 1000 + broker.time()[1] / 1000 > first)
        assert small.reap(C).to_park == ()
        assert small.counts(C).claimed == 1

    def test_renewing_says_how_many_claims_are_still_held(self, small):
        claims = [claim_one(small) for _ in range(3)]
        small.complete(C, claims[0][0])
        small.release(C, *claims[1])
        assert small.renew(C, claims) == 1
        assert small.renew(C, []) == 0

    def test_a_unit_whose_workers_vanish_five_times_is_to_be_parked(self, small, broker):
        for _ in range(4):
            index, _ = claim_one(small)
            assert index == 0
            broker.zadd(f"{KEY}leases", {index: 0})
            assert small.reap(C) == Reaped(expired=1, to_park=())
        claim_one(small)
        broker.zadd(f"{KEY}leases", {0: 0})
        assert small.reap(C) == Reaped(expired=1, to_park=(0,))
        assert small.issue(C, 1)[1] == [1]
        assert small.reap(C).to_park == ()

    def test_the_reaper_names_a_poisonous_unit_again_until_someone_parks_it(self, small, broker):
        claim_one(small)
        broker.hset(f"{KEY}losses", 0, 4)
        for _ in range(2):
            broker.zadd(f"{KEY}leases", {0: 0})
            assert small.reap(C).to_park == (0,)
        small.park(C, 0)
        assert small.reap(C).to_park == ()
        assert small.counts(C).parked == 1


class TestFailing:
    def test_the_third_failure_says_park(self, small):
        for expected in (False, False, True):
            index, token = claim_one(small)
            assert index == 0
            assert small.fail(C, index, token) is expected

    def test_a_unit_that_is_to_be_parked_is_not_issued_meanwhile(self, small):
        for _ in range(3):
            small.fail(C, *claim_one(small))
        assert small.issue(C, 1)[1] == [1]

    def test_releasing_a_unit_is_no_failure(self, small):
        for _ in range(5):
            small.release(C, *claim_one(small))
        assert small.fail(C, *claim_one(small)) is False

    def test_a_failure_reported_twice_counts_once(self, small):
        for _ in range(2):
            claim = claim_one(small)
            small.fail(C, *claim)
            assert small.fail(C, *claim) is False
        assert small.counts(C).parked == 0

    def test_a_parked_unit_leaves_the_window_and_is_not_issued(self, small):
        index, _ = claim_one(small)
        small.park(C, index)
        counts = small.counts(C)
        assert (counts.parked, counts.claimed, counts.queued) == (1, 0, 0)
        assert small.issue(C, 9)[1] == [1, 2, 3, 4, 5]

    def test_parking_twice_counts_once(self, small):
        small.park(C, 0)
        small.park(C, 0)
        assert small.counts(C).parked == 1

    def test_a_done_unit_cannot_be_parked(self, small):
        small.complete(C, 0)
        small.park(C, 0)
        assert (small.counts(C).done, small.counts(C).parked) == (1, 0)

    def test_a_parked_unit_whose_shard_appears_is_done(self, small):
        small.park(C, 0)
        small.complete(C, 0)
        assert (small.counts(C).done, small.counts(C).parked) == (1, 0)

    def test_failures_that_are_taken_back_count_no_more_and_a_unit_parked_by_them_is_open(
        self, small
    ):
        for _ in range(3):
            small.fail(C, *claim_one(small))
        small.park(C, 0)
        small.take_back(C, 0, 2)
        assert small.counts(C).parked == 0
        assert small.fail(C, *claim_one(small)) is False
        assert small.fail(C, *claim_one(small)) is True

    def test_no_more_failures_are_taken_back_than_there_were(self, small):
        small.fail(C, *claim_one(small))
        small.take_back(C, 0, 5)
        assert small.counts(C).failing == 0
        for expected in (False, False, True):
            assert small.fail(C, *claim_one(small)) is expected

    def test_taking_failures_back_leaves_a_unit_to_whoever_makes_it_or_made_it(self, small):
        small.fail(C, *claim_one(small))
        held = claim_one(small)
        assert held[0] == 0
        small.take_back(C, 0, 1)
        assert small.renew(C, [held]) == 1
        small.complete(C, 0)
        small.take_back(C, 0, 1)
        assert (small.counts(C).done, small.counts(C).failing) == (1, 0)


class TestPrompts:
    def test_a_prompt_is_ready_when_its_last_unit_is_done(self, small):
        small.complete(C, 2)
        assert small.take_ready(C, 9) == []
        small.complete(C, 3)
        assert small.take_ready(C, 9) == [1]

    @pytest.mark.parametrize("parked", [[0], [1], [0, 1]])
    def test_a_prompt_is_ready_when_each_unit_is_done_or_parked(self, small, parked):
        first, second = (small.park if i in parked else small.complete for i in (0, 1))
        second(C, 1)
        assert small.take_ready(C, 9) == []
        first(C, 0)
        assert small.take_ready(C, 9) == [0]

    def test_a_taken_prompt_is_not_taken_again_within_its_lease(self, small):
        for index in range(6):
            small.complete(C, index)
        assert small.take_ready(C, 2) == [0, 1]
        assert small.take_ready(C, 9) == [2]
        assert small.take_ready(C, 9) == []
        assert small.counts(C).ready == 3

    def test_a_taken_prompt_comes_again_if_no_result_follows(self, small, monkeypatch, wait_until):
        monkeypatch.setattr(module, "READY_LEASE_MS", 30)
        small.complete(C, 0)
        small.complete(C, 1)
        assert small.take_ready(C, 9) == [0]
        assert wait_until(lambda: small.take_ready(C, 9)) == [0]

    def test_an_analysed_prompt_is_ready_no_more(self, small):
        for index in range(4):
            small.complete(C, index)
        small.take_ready(C, 9)
        small.analysed(C, 0, flagged=True)
        small.analysed(C, 1, flagged=False)
        counts = small.counts(C)
        assert (counts.ready, counts.analysed, counts.flagged) == (0, 2, 1)

    def test_a_result_reported_twice_counts_once(self, small):
        small.complete(C, 0)
        small.complete(C, 1)
        small.take_ready(C, 9)
        small.analysed(C, 0, flagged=True)
        small.analysed(C, 0, flagged=True)
        assert (small.counts(C).analysed, small.counts(C).flagged) == (1, 1)

    @pytest.mark.parametrize("repeat", ["complete", "park"])
    def test_a_report_that_is_no_news_does_not_have_a_prompt_analysed_again(self, small, repeat):
        small.complete(C, 0)
        getattr(small, repeat)(C, 1)
        assert small.take_ready(C, 9) == [0]
        getattr(small, repeat)(C, 1)
        small.complete(C, 0)
        assert small.take_ready(C, 9) == []
        small.analysed(C, 0, flagged=False)
        getattr(small, repeat)(C, 1)
        assert small.counts(C).ready == 0

    def test_a_prompt_is_ready_again_when_a_parked_unit_of_it_is_made_after_all(self, small):
        small.complete(C, 0)
        small.park(C, 1)
        small.take_ready(C, 9)
        small.analysed(C, 0, flagged=False)
        assert small.counts(C).analysed == 1
        small.complete(C, 1)
        assert small.counts(C).analysed == 0
        assert small.take_ready(C, 9) == [0]
        small.analysed(C, 0, flagged=False)
        assert small.counts(C).analysed == 1

    def test_a_prompt_that_is_flagged_no_more_is_counted_no_more(self, small):
        small.complete(C, 0)
        small.park(C, 1)
        small.take_ready(C, 9)
        small.analysed(C, 0, flagged=True)
        assert small.counts(C).flagged == 1
        small.complete(C, 1)
        small.take_ready(C, 9)
        small.analysed(C, 0, flagged=False)
        assert (small.counts(C).analysed, small.counts(C).flagged) == (1, 0)

    def test_a_renewed_prompt_is_not_taken_again_and_one_put_back_is(
        self, small, monkeypatch, wait_until
    ):
        for index in range(4):
            small.complete(C, index)
        monkeypatch.setattr(module, "READY_LEASE_MS", 1)
        assert small.take_ready(C, 9) == [0, 1]
        monkeypatch.setattr(module, "READY_LEASE_MS", 60_000)
        small.renew_ready(C, [0, 1])
        assert small.take_ready(C, 9) == []
        small.put_back(C, 1, 0.0, "The training set is away.")
        assert small.counts(C).trouble == "The training set is away."
        assert wait_until(lambda: small.take_ready(C, 9)) == [1]
        small.analysed(C, 1, flagged=False)
        assert small.counts(C).trouble == ""

    @pytest.mark.parametrize("state", ["paused", "cancelled"])
    def test_nothing_is_taken_of_a_campaign_that_is_not_active(self, small, state):
        small.complete(C, 0)
        small.complete(C, 1)
        small.set_state(C, state)
        assert small.take_ready(C, 9) == []
        small.set_state(C, "active")
        assert small.take_ready(C, 9) == [0]

    def test_a_reopened_unit_is_made_again_and_its_prompt_analysed_again(self, small):
        for index in range(6):
            small.complete(C, index)
        for prompt in small.take_ready(C, 9):
            small.analysed(C, prompt, flagged=True)
        assert small.counts(C).settled
        small.reopen(C, [3])
        counts = small.counts(C)
        assert (counts.done, counts.analysed, counts.remaining) == (5, 2, 1)
        token, indexes = small.issue(C, 9)
        assert indexes == [3]
        assert small.claim(C, 3, token).outcome == "granted"
        small.complete(C, 3)
        assert small.take_ready(C, 9) == [1]
        small.analysed(C, 1, flagged=False)
        assert small.counts(C).settled
        assert small.counts(C).flagged == 2

    def test_a_result_that_comes_after_its_prompt_was_reopened_does_not_count(self, small):
        small.complete(C, 0)
        small.complete(C, 1)
        assert small.take_ready(C, 9) == [0]
        small.reopen(C, [0])
        small.analysed(C, 0, flagged=True)
        assert (small.counts(C).analysed, small.counts(C).flagged) == (0, 0)

    def test_a_parked_unit_can_be_reopened(self, small):
        small.park(C, 0)
        small.reopen(C, [0])
        assert small.counts(C).parked == 0
        assert small.issue(C, 1)[1] == [0]

    def test_parked_units_are_retried_as_if_nothing_had_failed_and_no_others(self, small, broker):
        for _ in range(3):
            small.fail(C, *claim_one(small))
        small.park(C, 0)
        broker.hset(f"{KEY}losses", 0, 4)
        small.complete(C, 1)
        small.take_ready(C, 9)
        small.analysed(C, 0, flagged=True)
        held = claim_one(small)
        assert small.parked_units(C) == {0}
        small.retry(C, [0, 1, held[0]])
        counts = small.counts(C)
        assert (counts.parked, counts.done, counts.analysed, counts.failing) == (0, 1, 0, 0)
        assert small.renew(C, [held]) == 1
        assert small.parked_units(C) == set()
        assert small.issue(C, 1)[1] == [0]
        small.complete(C, 0)
        assert small.take_ready(C, 9) == [0]
        small.analysed(C, 0, flagged=True)
        assert (small.counts(C).analysed, small.counts(C).flagged) == (1, 1)

    def test_a_retried_unit_that_is_parked_again_has_its_prompt_analysed_again(self, small):
        small.complete(C, 1)
        for _ in range(2):
            small.park(C, 0)
            assert small.take_ready(C, 9) == [0]
            small.analysed(C, 0, flagged=False)
            assert small.counts(C).analysed == 1
            small.retry(C, [0])
            assert small.counts(C).analysed == 0

    def test_a_prompt_under_analysis_is_counted_once_when_a_parked_unit_of_it_is_made(self, small):
        small.complete(C, 0)
        small.park(C, 1)
        assert small.take_ready(C, 9) == [0]
        small.complete(C, 1)
        assert small.take_ready(C, 9) == [0]
        small.analysed(C, 0, flagged=False)
        small.analysed(C, 0, flagged=False)
        assert small.counts(C).analysed == 1


class TestRestoring:
    def test_restoring_puts_the_stores_knowledge_in_place(self, ledger):
        ledger.restore(
            C,
            restored(
                units=9,
                per_prompt=3,
                done=marked(9, 0, 1, 2, 8),
                parked=frozenset({3}),
                ready=(0,),
                analysed=marked(3, 2),
                flagged=frozenset({2}),
                state="paused",
            ),
        )
        counts = ledger.counts(C)
        assert (counts.units, counts.done, counts.parked) == (9, 4, 1)
        assert (counts.queued, counts.claimed) == (0, 0)
        assert (counts.ready, counts.analysed, counts.flagged) == (1, 1, 1)
        assert counts.state == "paused"
        ledger.set_state(C, "active")
        assert ledger.issue(C, 99)[1] == [4, 5, 6, 7]
        assert ledger.take_ready(C, 9) == [0]

    def test_restoring_forgets_whatever_was_there_save_what_workers_hold(self, small, broker):
        token, _ = small.issue(C, 6)
        small.claim(C, 0, token)
        small.fail(C, 0, token)
        small.claim(C, 1, token)
        small.park(C, 2)
        small.complete(C, 4)
        small.complete(C, 5)
        small.restore(C, restored(units=4))
        assert small.renew(C, [(0, token), (1, token), (3, token)]) == 1
        assert small.take_ready(C, 9) == []
        assert small.issue(C, 99)[1] == [0, 2, 3]
        assert {key.decode() for key in broker.keys(f"{KEY}*")} == {
            f"{KEY}meta",
            f"{KEY}done",
            f"{KEY}tokens",
            f"{KEY}leases",
            f"{KEY}analysed",
        }

    def test_a_unit_under_way_is_not_issued_twice_and_its_worker_has_a_fresh_lease(
        self, small, broker
    ):
        token, _ = small.issue(C, 3)
        for index in range(3):
            small.claim(C, index, token)
            broker.zadd(f"{KEY}leases", {index: 0})
        state = restored(units=4, done=marked(4, 1), parked=frozenset({2}))
        small.restore(C, state)
        assert (small.reap(C).expired, small.counts(C).claimed) == (0, 1)
        assert small.issue(C, 99)[1] == [3]

    @pytest.mark.parametrize("units", [1, 7, 8, 9, 1001])
    def test_the_bitmap_is_the_one_that_the_scripts_write(self, ledger, units):
        done = np.random.default_rng(units).random(units) < 0.5
        ledger.restore(C, restored(done=done, per_prompt=1))
        issued = ledger.issue(C, units)[1]
        assert issued == np.flatnonzero(~done).tolist()
        for index in issued:
            ledger.complete(C, index)
        assert ledger.counts(C).done == units

    def test_campaigns_do_not_touch_each_other(self, small):
        small.restore("other", restored(units=2))
        token, _ = small.issue("other", 2)
        assert small.claim(C, 0, token).outcome == "stale"
        small.complete("other", 0)
        small.set_state("other", "paused")
        assert small.counts(C).done == 0
        assert small.counts(C).state == "active"

    def test_what_a_worker_says_of_a_campaign_that_was_not_restored_leaves_no_trace(self, ledger):
        ledger.complete("nope", 0)
        ledger.park("nope", 0)
        ledger.set_state("nope", "paused")
        ledger.release("nope", 0, "t")
        ledger.reissue_queued("nope")
        assert ledger.reap("nope").to_park == ()
        assert ledger.take_ready("nope", 9) == []
        ledger.analysed("nope", 0, flagged=True)
        ledger.reopen("nope", [0])
        ledger.retry("nope", [0])
        ledger.take_back("nope", 0, 1)
        assert ledger.parked_units("nope") == set()
        ledger.renew_ready("nope", [0])
        ledger.put_back("nope", 0, 1.0, "trouble")
        assert ledger.counts("nope") is None
        assert ledger.done_units("nope") is None
        assert ledger.campaigns() == []

    def test_restored_campaigns_are_known_by_name_until_they_are_forgotten(self, small, broker):
        small.restore("another", restored())
        assert small.campaigns() == ["another", C]
        small.forget(C)
        assert small.campaigns() == ["another"]
        assert broker.keys(f"{KEY}*") == []
        assert small.counts(C) is None

    @pytest.mark.parametrize("units", [1, 8, 13])
    def test_the_done_units_are_told_as_they_were_restored(self, ledger, units):
        done = np.random.default_rng(units).random(units) < 0.5
        ledger.restore(C, restored(done=done, per_prompt=1))
        assert ledger.done_units(C).tolist() == done.tolist()


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
    "analysed": lambda ledger: ledger.analysed(C, 0, True),
}
OTHERS = {
    "ping": lambda ledger: ledger.ping(),
    "has_epoch": lambda ledger: ledger.has_epoch(),
    "begin_epoch": lambda ledger: ledger.begin_epoch(),
    "restore": lambda ledger: ledger.restore(C, restored()),
    "counts": lambda ledger: ledger.counts(C),
    "campaigns": lambda ledger: ledger.campaigns(),
    "done_units": lambda ledger: ledger.done_units(C),
    "parked_units": lambda ledger: ledger.parked_units(C),
    "forget": lambda ledger: ledger.forget(C),
}


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


@settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps(UNITS))
def test_whatever_happens_every_unit_is_done_once_or_parked_and_every_prompt_is_judged(
    ledger, broker, steps
):
    play = Play(ledger, broker)
    for step in steps:
        play.step(*step)
    before = play.done() | play.parked()
    made = play.finish()
    assert len(made) == len(set(made))
    assert not before & set(made)
    assert play.done() | play.parked() == set(range(UNITS))
    counts = ledger.counts(C)
    assert (counts.queued, counts.claimed) == (0, 0)
    assert counts.done + counts.parked == UNITS
    for prompt in ledger.take_ready(C, UNITS):
        ledger.analysed(C, prompt, flagged=False)
    for prompt in play.taken:
        ledger.analysed(C, prompt, flagged=False)
    assert ledger.counts(C).analysed == UNITS // PER_PROMPT
