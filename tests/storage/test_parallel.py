"""What waits on the store is done on several threads, in order and within bounded memory."""

import threading

import pytest

from seedsweep.storage.parallel import AHEAD, map_in_order


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first():
    later = threading.Event()

    def work(item):
        if item == 0:
            assert later.wait(10)
        else:
            later.set()
        return -item

    assert list(map_in_order(work, range(50), 2)) == [-item for item in range(50)]


def test_few_results_are_held_however_slowly_they_are_taken(wait_until):
    lock, begun = threading.Lock(), []

    def work(item):
        with lock:
            begun.append(item)
        return item

    for taken, _ in enumerate(map_in_order(work, range(40), 2)):
        assert len(begun) <= taken + 1 + 2 * AHEAD


def test_the_first_error_is_raised_in_its_place_and_the_rest_is_left_undone():
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    found = map_in_order(work, range(1000), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert len(begun) < 20


def test_a_caller_that_stops_taking_stops_the_work():
    begun = []
    found = map_in_order(begun.append, range(1000), 2)
    next(found)
    found.close()
    assert len(begun) < 20
