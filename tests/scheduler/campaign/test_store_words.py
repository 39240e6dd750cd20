import pytest

from seedsweep.scheduler.campaign.store_words import store_words
from seedsweep.storage.life_signs import Complaint
from seedsweep.storage.records import StoreTrouble

FULL = StoreTrouble(kind="write", sentence="The store is full; give it space.")
AWAY = StoreTrouble(kind="read", sentence="The store is away; start it.")
SLOW = [StoreTrouble(kind="slow", sentence=f"The store took {n} s; look at it.") for n in (30, 40)]


@pytest.mark.parametrize(
    ("complaints", "words"),
    [
        ([], []),
        ([("worker", FULL)], [f"{FULL.sentence} Nothing is lost: 1 worker waits for it."]),
        (
            [("analyst", FULL), ("worker", FULL), ("worker", FULL)],
            [f"{FULL.sentence} Nothing is lost: 1 analyst and 2 workers wait for it."],
        ),
        (
            [("worker", SLOW[0]), ("worker", SLOW[1]), ("scheduler", AWAY)],
            [
                f"{AWAY.sentence} Nothing is lost: 1 scheduler waits for it.",
                f"{SLOW[0].sentence} Nothing is lost: 2 workers wait for it.",
            ],
        ),
    ],
)
def test_each_kind_of_trouble_is_said_once_with_those_who_have_it(complaints, words):
    assert store_words([Complaint(kind, trouble) for kind, trouble in complaints]) == words
