from seedsweep.storage.broker.pace import FIRST_SECONDS, LONGEST_SECONDS, Pace


def test_waits_grow_to_a_limit_and_begin_anew_once_it_is_back():
    pace = Pace()
    waits = [pace.next_wait() for _ in range(20)]
    assert 0 < waits[0] <= FIRST_SECONDS
    assert all(LONGEST_SECONDS / 2 <= wait <= LONGEST_SECONDS for wait in waits[5:])
    pace.reset()
    assert pace.next_wait() <= FIRST_SECONDS


def test_no_two_services_ask_in_step():
    assert len({Pace().next_wait() for _ in range(20)}) == 20
