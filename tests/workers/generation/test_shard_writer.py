import threading

import numpy as np
import pytest

from seedsweep.storage.errors import StoreUnavailableError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.generation import shard_writer
from seedsweep.workers.generation.shard_writer import BUFFERED_UNITS, Writer, encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign
from tests.support.pictures import pixels_of


class Outcomes:
    """What a writer says became of its units."""

    def __init__(self):
        self.stored, self.failed = [], []

    @property
    def settled(self):
        return len(self.stored) + len(self.failed)


class AwayStore(FolderStore):
    """A folder that takes nothing while it is away."""

    def __init__(self, root):
        super().__init__(root)
        self.away, self.tries = True, 0

    def create(self, key, data):
        self.tries += 1
        if self.away:
            raise StoreUnavailableError("The store is away; bring it back.")
        return super().create(key, data)


class HeldStore(FolderStore):
    """A folder that takes as long as it is told to."""

    def __init__(self, root):
        super().__init__(root)
        self.go_on, self.order = threading.Event(), []

    def create(self, key, data):
        assert self.go_on.wait(10)
        self.order.append(key)
        return super().create(key, data)


def within_seconds(step):
    """Take a step that must not wait for long, on a thread, so that one that does ends nothing."""
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


@pytest.fixture
def outcomes():
    return Outcomes()


@pytest.fixture
def put(outcomes):
    """Hand a unit with its generations to a writer."""

    def put(writer, unit, generations):
        def encode():
            return shard_writer.encode_unit(unit, generations, DEFAULT_BLOCKS)

        writer.put(unit, unit_shard(unit), encode, outcomes.stored.append)

    return put


@pytest.fixture
def start(outcomes):
    """Start a writer that ends with the test."""
    writers = []

    def start(store):
        writer = Writer(store, lambda unit, error: outcomes.failed.append((unit, error)))
        writers.append(writer)
        return writer

    yield start
    for writer in writers:
        within_seconds(writer.close)


@pytest.fixture
def away(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "RETRY_SECONDS", 0.01)
    return AwayStore(tmp_path)


@pytest.fixture
def held(tmp_path):
    store = HeldStore(tmp_path)
    yield store
    store.go_on.set()


@pytest.fixture
def rendered(make_unit):
    """Rendered units: some with many images, some with one, each with its generations."""
    pipeline = load_pipeline(None, make_campaign(), "cpu", 1)

    def render(count):
        units = [
            make_unit(make_campaign(), index=i, first=i, last=i + 9 * (i % 2 == 0))
            for i in range(count)
        ]
        return [
            (u, pipeline.generate(u.prompt, range(u.seeds.first, u.seeds.last + 1))) for u in units
        ]

    return render


@pytest.fixture
def encodings(monkeypatch):
    """The units that were encoded."""
    seen = []
    monkeypatch.setattr(
        shard_writer,
        "encode_unit",
        lambda u, g, b: seen.append(u) or encode_unit(u, g, b),
    )
    return seen


def test_units_are_stored_with_their_pixels_in_the_order_they_come(
    start, put, held, rendered, outcomes, wait_until
):
    writer = start(held)
    units = rendered(5)
    held.go_on.set()
    for unit, generations in units:
        put(writer, unit, generations)
    wait_until(lambda: outcomes.settled == 5)
    assert outcomes.stored == [unit for unit, _ in units]
    assert held.order == [unit_shard(unit) for unit, _ in units]
    for unit, generations in units:
        images = decode_shard(held.read(unit_shard(unit)), unit_shard(unit))
        assert [image.seed for image in images] == [g.seed for g in generations]
        assert np.array_equal(
            np.stack([pixels_of(image.png) for image in images]),
            np.stack([g.pixels for g in generations]),
        )


def test_a_store_that_is_away_is_tried_until_it_takes_the_shard_which_is_encoded_once(
    start, put, away, rendered, outcomes, encodings, wait_until
):
    writer = start(away)
    ((unit, generations),) = rendered(1)
    put(writer, unit, generations)
    wait_until(lambda: away.tries > 3)
    assert outcomes.settled == 0
    away.away = False
    wait_until(lambda: outcomes.stored == [unit])
    assert away.exists(unit_shard(unit))
    assert encodings == [unit]
    assert outcomes.failed == []


def test_patience_ends_and_the_next_unit_is_tried(
    start, put, away, rendered, outcomes, monkeypatch, wait_until
):
    monkeypatch.setattr(shard_writer, "PATIENCE_SECONDS", 0.05)
    writer = start(away)
    (first, second) = rendered(2)
    put(writer, *first)
    wait_until(lambda: outcomes.failed)
    assert away.tries > 1
    ((unit, error),) = outcomes.failed
    assert unit == first[0]
    assert isinstance(error, StoreUnavailableError)
    away.away = False
    put(writer, *second)
    wait_until(lambda: outcomes.stored == [second[0]])


def test_any_other_error_is_told_at_once_and_the_writer_goes_on(
    start, put, away, rendered, outcomes, wait_until
):
    away.away = False
    writer = start(away)
    (first, second) = rendered(2)
    put(writer, first[0], [])  # a unit without its images cannot be encoded
    put(writer, *second)
    wait_until(lambda: outcomes.settled == 2)
    assert [unit for unit, _ in outcomes.failed] == [first[0]]
    assert outcomes.stored == [second[0]]
    assert away.tries == 1


def test_closing_stores_what_was_handed_over(start, put, held, rendered, outcomes):
    writer = start(held)
    units = rendered(BUFFERED_UNITS)
    within_seconds(lambda: [put(writer, *unit) for unit in units])
    held.go_on.set()
    writer.close()
    assert outcomes.stored == [unit for unit, _ in units]


def test_closing_does_not_wait_for_a_store_that_is_away(
    start, put, away, rendered, outcomes, monkeypatch, wait_until
):
    monkeypatch.setattr(shard_writer, "RETRY_SECONDS", 60.0)
    writer = start(away)
    units = rendered(BUFFERED_UNITS + 1)
    within_seconds(lambda: [put(writer, *unit) for unit in units])
    wait_until(lambda: away.tries)
    within_seconds(writer.close)
    assert [unit for unit, _ in outcomes.failed] == [unit for unit, _ in units]


def test_handing_over_waits_only_while_the_buffer_is_full(
    start, put, held, rendered, outcomes, wait_until
):
    """One unit is in the writer's hands, `BUFFERED_UNITS` wait behind it."""
    writer = start(held)
    *at_once, last = rendered(BUFFERED_UNITS + 2)
    taken = []

    def hand_over(units):
        for unit, generations in units:
            put(writer, unit, generations)
            taken.append(unit)

    within_seconds(lambda: hand_over(at_once))
    waiting = threading.Thread(target=hand_over, args=[[last]], daemon=True)
    waiting.start()
    waiting.join(timeout=0.2)
    assert waiting.is_alive()
    assert taken == [unit for unit, _ in at_once]
    held.go_on.set()
    waiting.join(timeout=60)
    assert taken[-1] == last[0]
    wait_until(lambda: outcomes.stored == taken)
