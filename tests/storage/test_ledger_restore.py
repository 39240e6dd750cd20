import numpy as np
import pytest

from tests.support.ledger_campaigns import marked, restored
from tests.support.ledger_play import KEY, C


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
