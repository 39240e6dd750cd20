import logging
import threading

import pytest

from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.workers.monitoring.log_context import Context, about_campaign, about_unit

UNIT = WorkUnit(
    campaign_id="small-1",
    generation_id="0" * 16,
    prompt="a cat",
    seeds=SeedRange(first=20, last=39),
    index=7,
    token="t",  # noqa: S106
)
NAMES = ("campaign", "unit", "prompt_id", "seeds")


def told():
    """What a line that is written now is about."""
    record = logging.makeLogRecord({})
    assert Context().filter(record)
    return {name: getattr(record, name) for name in NAMES if hasattr(record, name)}


def test_a_line_within_the_block_is_about_the_unit():
    with about_unit(UNIT):
        about = {"campaign": "small-1", "unit": 7, "prompt_id": UNIT.prompt_id, "seeds": "20-39"}
        assert told() == about
    assert told() == {}


def test_a_block_within_another_counts_until_its_end():
    with about_unit(UNIT):
        with about_campaign("other-2"):
            assert told() == {"campaign": "other-2"}
        assert told()["unit"] == 7


def test_a_block_that_fails_ends_too():
    with pytest.raises(ValueError, match="broken"), about_campaign("small-1"):
        raise ValueError("broken")
    assert told() == {}


def test_other_threads_write_about_something_else():
    found = []
    with about_unit(UNIT):
        thread = threading.Thread(target=lambda: found.append(told()))
        thread.start()
        thread.join()
    assert found == [{}]
