"""How campaigns share the window of their model: by priority, then by weight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.scheduler.dispatch.fair_share import demand_of, fair_shares
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.records import Control


def live(queued=0, claimed=0, left=100, state="active"):
    return LiveCounts(
        units=100,
        done=100 - left,
        parked=0,
        queued=queued,
        claimed=claimed,
        failing=0,
        ready=0,
        analysed=0,
        flagged=0,
        state=state,
        trouble="",
        per_prompt=1,
    )


EVEN = {"a": Control(), "b": Control()}


@pytest.mark.parametrize(
    ("counts", "missing", "shares"),
    [
        ({}, 5, {}),
        ({"a": live()}, 0, {}),
        ({"a": live()}, -3, {}),
        ({"a": live()}, 3, {"a": 3}),
        ({"a": live(queued=4), "b": live()}, 4, {"b": 4}),
        ({"a": live(queued=1, claimed=1), "b": live()}, 4, {"a": 1, "b": 3}),
        ({"a": live(left=1), "b": live()}, 6, {"a": 1, "b": 5}),
        ({"a": live(left=2, queued=2), "b": live(queued=9)}, 3, {"b": 3}),
    ],
)
def test_what_a_window_lacks_is_shared_out_evenly_and_never_beyond_what_is_pending(
    counts, missing, shares
):
    assert fair_shares(counts, EVEN, missing) == shares


@pytest.mark.parametrize(
    ("weights", "missing", "shares"),
    [
        ((3, 1), 8, {"a": 6, "b": 2}),
        ((1, 0.5), 6, {"a": 4, "b": 2}),
        ((1000, 1), 100, {"a": 100}),
    ],
)
def test_windows_become_proportional_to_the_weights(weights, missing, shares):
    controls = {name: Control(weight=weight) for name, weight in zip("ab", weights, strict=True)}
    assert fair_shares({"a": live(), "b": live()}, controls, missing) == shares


def test_a_campaign_of_higher_priority_goes_first_and_leaves_what_it_cannot_use():
    controls = {"a": Control(priority=1, weight=0.01), "b": Control(weight=100)}
    assert fair_shares({"a": live(), "b": live()}, controls, 10) == {"a": 10}
    assert fair_shares({"a": live(left=3), "b": live()}, controls, 10) == {"a": 3, "b": 7}
    paused = live(state="paused")
    assert fair_shares({"a": paused, "b": live()}, controls, 10) == {"b": 10}


campaigns = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(
        st.builds(live, left=st.integers(20, 40), queued=st.integers(0, 20)),
        st.builds(Control, priority=st.integers(-1, 1), weight=st.floats(0.01, 100)),
    ),
    min_size=1,
)


@given(campaigns, st.integers(0, 100))
def test_nothing_pending_is_left_while_the_window_lacks_units_and_priority_is_never_passed_over(
    known, missing
):
    counts = {name: count for name, (count, _) in known.items()}
    controls = {name: control for name, (_, control) in known.items()}
    shares = fair_shares(counts, controls, missing)
    assert sum(shares.values()) == min(missing, sum(c.pending for c in counts.values()))
    for name, share in shares.items():
        assert 0 < share <= counts[name].pending
        for other, control in controls.items():
            if control.priority > controls[name].priority:
                assert shares.get(other, 0) == counts[other].pending


def test_a_model_is_wanted_as_much_as_its_most_urgent_campaigns_that_wait():
    assert demand_of({}, {}) is None
    assert demand_of({"a": live(left=0)}, {"a": Control(priority=9)}) is None
    urgent = Control(priority=2, weight=3)
    wanted = demand_of(
        {"b": live(), "a": live(), "c": live(left=5), "d": live(left=0)},
        {"b": urgent, "a": urgent, "c": Control(), "d": Control(priority=9)},
    )
    assert wanted == Demand(6, 205, 2, ("a", "b", "c"))
