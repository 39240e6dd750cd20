"""Random steps on a campaign in the ledger, and what must hold after each of them."""

import numpy as np
from hypothesis import strategies as st

from seedsweep.storage.live_state import DROPPED, Lot, opened
from tests.support.campaigns import nothing_done

C = "audit-0123456789ab"
KEY = f"seedsweep:{C}:"
UNITS, PER_PROMPT = 4, 2
NAMES = """
    issue issue claim claim claim complete complete fail release park park lose reap reissue
    pause activate activate take analysed judge judge late late crash reopen
    retry take_back wait
"""


def steps(units):
    """Lists of steps on a campaign of so many units."""
    number = st.integers(0, units - 1)
    names = st.sampled_from(NAMES.split())
    return st.lists(st.tuples(names, number), min_size=30, max_size=70)


class Play:
    """A small campaign, its units and prompts in the hands of workers and analysts.

    With `ends`, how many units of a prompt are open in each stage, a judged prompt goes on or is
    dropped; without, all its units are open. With `loads`, the number of the load of each unit of a
    prompt, units are issued load by load.
    """

    def __init__(self, ledger, broker, units=UNITS, per_prompt=PER_PROMPT, ends=(), loads=()):
        self.ledger, self.broker = ledger, broker
        self.units, self.per_prompt, self.ends = units, per_prompt, ends
        self.prompts = units // per_prompt
        self.lots = [Lot(number, loads) for number in sorted(set(loads))] or [None]
        self.messages, self.claims, self.late, self.taken = [], [], [], []
        stages = np.ones(self.prompts, dtype=np.uint8)
        changes = {"ends": ends, "stages": stages} if ends else {}
        ledger.restore(C, nothing_done(self.prompts, per_prompt, **changes))

    def step(self, name, number):
        getattr(self, f"do_{name}")(number)
        self.check()

    def pick(self, things, number):
        return things.pop(number % len(things)) if things else None

    def do_issue(self, number):
        self.issue(number % 4 + 1, self.lots[number % len(self.lots)])

    def issue(self, count, lot):
        token, indexes = self.ledger.issue(C, count, lot)
        places = [index % self.per_prompt for index in indexes]
        assert lot is None or {lot.numbers[place] for place in places} <= {lot.number}
        issued = [(index, token) for index in indexes]
        self.messages += issued
        return issued

    def do_claim(self, number):
        message = self.pick(self.messages, number)
        if message and self.ledger.claim(C, *message).outcome == "granted":
            assert message[0] not in self.done() | self.parked()
            self.claims.append(message)

    def do_complete(self, number):
        if claim := self.pick(self.claims, number):
            self.ledger.complete(C, claim[0])
            self.late.append(claim)

    def do_late(self, number):
        if self.late:
            self.ledger.complete(C, self.late[number % len(self.late)][0])

    def do_fail(self, number):
        claim = self.pick(self.claims, number)
        if claim and self.ledger.fail(C, *claim):
            self.ledger.park(C, claim[0])

    def do_release(self, number):
        if claim := self.pick(self.claims, number):
            self.ledger.release(C, *claim)

    def do_park(self, number):
        if claim := self.pick(self.claims, number):
            self.ledger.park(C, claim[0])
            self.late.append(claim)

    def do_lose(self, number):
        if claim := self.pick(self.claims, number):
            self.broker.zadd(f"{KEY}leases", {claim[0]: 0}, xx=True)
            self.late.append(claim)

    def do_reap(self, _):
        for index in self.ledger.reap(C).to_park:
            self.ledger.park(C, index)

    def do_reissue(self, number):
        self.ledger.reissue_queued(C, self.lots[number % len(self.lots)])

    def do_pause(self, _):
        self.ledger.set_state(C, "paused")

    def do_activate(self, _):
        self.ledger.set_state(C, "active")

    def do_take(self, number):
        self.taken += self.ledger.take_ready(C, number % 3 + 1)

    def do_analysed(self, number):
        prompt = self.pick(self.taken, number)
        if prompt is not None:
            self.judge(prompt, number)

    def judge(self, prompt, number):
        """The prompt goes on, or is dropped, or has all its images and is analysed."""
        [stage] = self.ledger.stages_of(C, [prompt]) if self.ends else [1]
        if stage < len(self.ends) and number % 3:
            self.ledger.open_stage(C, prompt, stage + 1)
        else:
            dropped = stage if stage < len(self.ends) else None
            self.ledger.analysed(C, prompt, bool(number % 2), dropped)

    def do_wait(self, number):
        prompt = self.pick(self.taken, number)
        if prompt is not None:
            self.ledger.wait_for_cohort(C, [prompt], 0)
            if number % 2:
                self.ledger.end_wait(C, range(self.prompts))

    def do_judge(self, _):
        self.do_take(2)
        while self.taken:
            self.do_analysed(0)

    def do_reopen(self, number):
        self.ledger.reopen(C, [number])

    def do_retry(self, number):
        self.ledger.retry(C, [number])

    def do_take_back(self, number):
        self.ledger.take_back(C, number, 1)

    def do_crash(self, number):
        self.broker.hdel(f"{KEY}tokens", number)
        self.broker.zrem(f"{KEY}leases", number)

    def done(self):
        bits = np.frombuffer(self.broker.get(f"{KEY}done"), dtype=np.uint8)
        return set(np.flatnonzero(np.unpackbits(bits)).tolist())

    def parked(self):
        return {int(index) for index in self.broker.smembers(f"{KEY}parked")}

    def check(self):
        counts = self.ledger.counts(C)
        done, parked = self.done(), self.parked()
        window = {int(index) for index in self.broker.hkeys(f"{KEY}tokens")}
        leased = {int(index) for index in self.broker.zrange(f"{KEY}leases", 0, -1)}
        assert counts.done == len(done)
        assert counts.parked == len(parked)
        assert counts.queued + counts.claimed == len(window)
        told = self.ledger.window(C)
        assert ({*told.queued}, {*told.claimed}) == (window - leased, leased)
        assert not done & parked
        assert not window & (done | parked)
        assert leased <= window
        flagged = {int(prompt) for prompt in self.broker.smembers(f"{KEY}flagged")}
        assert counts.flagged == len(flagged)
        ready = {int(prompt) for prompt in self.broker.zrange(f"{KEY}ready", 0, -1)}
        are_open, is_dropped = self.standings()
        are_settled = np.zeros(self.units, dtype=np.bool_)
        are_settled[list(done | parked)] = True
        are_settled = are_settled.reshape(self.prompts, self.per_prompt)
        settled = set(np.flatnonzero((are_settled | ~are_open).all(axis=1)).tolist())
        assert ready <= settled
        waiting = {int(prompt) for prompt in self.broker.smembers(f"{KEY}waiting")}
        assert waiting <= ready
        assert (counts.ready, counts.in_cohorts) == (len(ready - waiting), len(waiting))
        assert len(settled) == len(ready) + counts.analysed
        unopened = ~are_open & ~are_settled
        assert counts.dropped == unopened[is_dropped].sum()
        assert counts.held == unopened[~is_dropped].sum()

    def standings(self):
        """Which units of each prompt are open, and which prompts were dropped."""
        stages = self.ledger.stages(C)
        if stages is None:
            shape = self.prompts, self.per_prompt
            return np.ones(shape, dtype=np.bool_), np.zeros(self.prompts, dtype=np.bool_)
        return opened(self.ends, stages), stages >= DROPPED

    def settle(self):
        """Drive the campaign to its end with workers that never fail, and judge all prompts: in
        turns, since what goes on has further units."""
        for number in range(2 * len(self.ends) * self.prompts):
            self.finish()
            for prompt in {*self.taken, *self.ledger.take_ready(C, self.prompts)}:
                self.judge(prompt, number)
                self.check()
            self.taken.clear()
        counts = self.ledger.counts(C)
        assert counts.settled
        assert (counts.queued, counts.claimed, counts.held) == (0, 0, 0)
        return counts

    def finish(self):
        """Drive the open units to their end with workers that never fail."""
        self.ledger.set_state(C, "active")
        for claim in self.claims:
            self.ledger.release(C, *claim)
        for index in self.broker.zrange(f"{KEY}leases", 0, -1):
            self.broker.zadd(f"{KEY}leases", {index: 0})
        self.do_reap(0)
        self.ledger.reissue_queued(C)
        made = []
        while issued := [claim for lot in self.lots for claim in self.issue(5, lot)]:
            for claim in issued:
                assert self.ledger.claim(C, *claim).outcome == "granted"
                self.ledger.complete(C, claim[0])
                made.append(claim[0])
            self.check()
        return made
