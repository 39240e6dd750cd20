import pytest

from seedsweep.storage import ledger as module
from tests.support.ledger_campaigns import claim_one
from tests.support.ledger_play import KEY, C


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
