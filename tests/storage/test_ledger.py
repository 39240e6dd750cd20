import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from seedsweep.storage import ledger as module
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.live_state import Reaped
from tests.support.ledger_campaigns import claim_one, marked, restored
from tests.support.ledger_play import KEY, PER_PROMPT, UNITS, C, Play, steps


@pytest.fixture
def short_lease(monkeypatch):
    monkeypatch.setattr(module, "LEASE_MS", 30)


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
