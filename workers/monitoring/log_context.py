"""What a log line is about: its campaign and unit, wherever in the code it is written."""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

from seedsweep.storage.records import WorkUnit

_ABOUT: ContextVar[dict[str, str | int]] = ContextVar("about")


@contextlib.contextmanager
def about_campaign(campaign_id: str) -> Iterator[None]:
    """Every log line of this thread within the block is about the campaign."""
    with _about({"campaign": campaign_id}):
        yield


@contextlib.contextmanager
def about_unit(unit: WorkUnit) -> Iterator[None]:
    """Every log line of this thread within the block is about the work unit."""
    seeds = f"{unit.seeds.first}-{unit.seeds.last}"
    prompt_id = unit.prompt_id
    with _about(
        {"campaign": unit.campaign_id, "unit": unit.index, "prompt_id": prompt_id, "seeds": seeds}
    ):
        yield


class Context(logging.Filter):
    """Adds to each record what its line is about; for a handler of the root logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _ABOUT.get({}).items():
            setattr(record, name, value)
        return True


@contextlib.contextmanager
def _about(what: dict[str, str | int]) -> Iterator[None]:
    before = _ABOUT.set(what)
    try:
        yield
    finally:
        _ABOUT.reset(before)
