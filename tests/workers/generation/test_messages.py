"""What lies in a queue may be anything: only messages of work units get through."""

import base64
import contextlib
import json

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.workers.generation.celery_app import make_app, publish
from seedsweep.workers.generation.messages import MAX_BYTES, has_unknown_fields, screen_message
from seedsweep.workers.monitoring import metrics

UNIT = WorkUnit(
    campaign_id="c",
    generation_id="g",
    index=7,
    token="t",  # noqa: S106
    prompt="a “cat”\n",
    seeds=SeedRange(first=0, last=3),
)


def body(*arguments, **rest):
    text = json.dumps([list(arguments), {}, rest])
    return base64.b64encode(text.encode()).decode()


def message(body, **headers):
    return {"body": body, "headers": {"task": "seedsweep.generate", "id": "1", **headers}}


OURS = message(body(UNIT.model_dump(mode="json")))
FOREIGN = {
    "not JSON": b"hello",
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "another shape": b"[1, 2]",
    "null": b"null",
    "no body": b"{}",
    "no headers": json.dumps({"body": OURS["body"]}).encode(),
    "headers of another shape": json.dumps({**OURS, "headers": [1]}).encode(),
    "another task": json.dumps(message(OURS["body"], task="other.task")).encode(),
    "not base64": json.dumps(message("!!!")).encode(),
    "base64 of no JSON": json.dumps(message(base64.b64encode(b"\xff").decode())).encode(),
    "a unit of another shape": json.dumps(message(body({"prompt": 1}))).encode(),
    "no unit": json.dumps(message(body())).encode(),
    "two units": json.dumps(message(body(*[UNIT.model_dump(mode="json")] * 2))).encode(),
    "deeply nested": b"[" * 100_000,
    "a bomb of nesting as its body": json.dumps(
        message(base64.b64encode(b"[" * 100_000).decode())
    ).encode(),
    "huge": b" " * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("item", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_message_of_a_unit_is_told_from_one(item):
    assert screen_message(item) is None


def test_a_unit_of_a_later_version_is_told_from_what_is_none():
    unit = UNIT.model_dump(mode="json")
    later = {
        "a field": {**unit, "mask": "m"},
        "several": {**unit, "mask": None, "kind": "inpaint", "strength": 0.5},
    }
    for each in later.values():
        item = json.dumps(message(body(each))).encode()
        assert screen_message(item) is None
        assert has_unknown_fields(item)
    assert not any(map(has_unknown_fields, FOREIGN.values()))
    for none in (unit, {**unit, "index": -1, "mask": "m"}, {"mask": "m"}, {}):
        assert not has_unknown_fields(json.dumps(message(body(none))).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_whatever_are_taken_for_a_unit(item):
    assert screen_message(item) is None
    assert not has_unknown_fields(item)


def test_a_message_that_asks_celery_for_more_gets_its_unit_rendered_and_no_more():
    unit = UNIT.model_dump(mode="json")
    callback = {"task": "other.task", "args": []}
    asking = message(
        body(unit, callbacks=[callback], chain=[callback]),
        eta="2999-01-01T00:00:00",
        expires=1,
        timelimit=["x", {}],
    )
    screened = json.loads(screen_message(json.dumps(asking).encode()))
    arguments, named, afterwards = json.loads(base64.b64decode(screened["body"]))
    assert (WorkUnit.model_validate(arguments[0]), named) == (UNIT, {})
    assert not any(afterwards.values())
    assert screened["headers"].keys() == {"task", "id"}


@pytest.fixture
def consume(broker_url):
    """Take what lies in a queue, as a worker does, until so many units got through."""

    def take(queue, count):
        app, units = make_app(broker_url), []
        with app.connection_for_read() as connection:
            receiver = app.amqp.TaskConsumer(connection, queues=[app.amqp.queues[queue]])
            receiver.on_message = lambda m: units.append(json.loads(m.body)[0][0])
            receiver.consume(no_ack=True)
            while len(units) < count:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=1)
        return [WorkUnit.model_validate(unit) for unit in units]

    return take


def test_foreign_messages_are_dropped_and_counted_and_units_among_them_are_taken(
    broker, broker_url, consume
):
    foreign = metrics.UNITS.labels("foreign")
    before = foreign._value.get()
    publish(make_app(broker_url), "queue:m", [UNIT])
    for item in FOREIGN.values():
        broker.lpush("seedsweep:queue:m", item)
    publish(make_app(broker_url), "queue:m", [UNIT])
    assert consume("queue:m", 2) == [UNIT, UNIT]
    assert foreign._value.get() - before == len(FOREIGN)
    assert broker.llen("seedsweep:queue:m") == 0


def test_a_queue_that_is_no_list_is_an_answer_of_the_broker(broker, consume):
    broker.set("seedsweep:queue:m", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        consume("queue:m", 1)
