import pytest

from seedsweep.cli import store_notice
from seedsweep.cli.status_table import print_workers
from seedsweep.cli.store_notice import AGAIN_SECONDS, StoreNotice
from seedsweep.scheduler.campaign.progress import Services

FULL = "The store is full; give it space. Nothing is lost: 1 worker waits for it."


@pytest.fixture
def now(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(store_notice.time, "monotonic", lambda: clock[0])
    return clock


def test_trouble_is_said_once_again_each_minute_and_when_it_is_over(now, capsys):
    notice = StoreNotice()
    for sentences, seconds in (
        ([], 0.1),
        ([FULL], 0.1),
        ([FULL.replace("1 worker waits", "2 workers wait")], AGAIN_SECONDS),
        ([FULL], 0.1),
        ([], 0.1),
        ([], AGAIN_SECONDS),
    ):
        notice(sentences)
        now[0] += seconds
    over = "The store does what is asked of it again."
    assert capsys.readouterr().err.splitlines() == [FULL, FULL, over]


def test_who_asks_for_the_workers_is_told_what_they_find_wrong(capsys):
    print_workers(Services(led=True, signs=(), analysts=1, trouble=(FULL,)))
    assert capsys.readouterr().out.splitlines()[-1] == FULL
