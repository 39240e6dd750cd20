"""What lies in a queue: messages of work units, and whatever others have put there."""

import base64
import json
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from seedsweep.storage.records import WorkUnit

TASK: Literal["seedsweep.generate"] = "seedsweep.generate"

MAX_BYTES = 16 * 1024 * 1024
"""No unit's message is near this; what is longer is not even parsed."""

_BODY = TypeAdapter(tuple[tuple[WorkUnit], dict[str, Any], dict[str, Any]])
_LATER_BODY = TypeAdapter(tuple[tuple[dict[str, Any]], dict[str, Any], dict[str, Any]])
_FIELDS = frozenset(WorkUnit.model_fields)
_AFTERWARDS = ("callbacks", "errbacks", "chain", "chord")


class _MessageHeaders(BaseModel):
    model_config = ConfigDict(frozen=True)

    task: Literal["seedsweep.generate"]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)

    body: str
    headers: _MessageHeaders


def has_unknown_fields(item: bytes) -> bool:
    """Whether what is no message of a unit would be one without fields that are unknown here, as
    a later version writes them."""
    if len(item) > MAX_BYTES:
        return False
    try:
        message = _Message.model_validate_json(item)
        body = base64.b64decode(message.body, validate=True)
        (unit,), _, _ = _LATER_BODY.validate_json(body)
        WorkUnit.model_validate({name: unit[name] for name in unit.keys() & _FIELDS})
    except ValueError:
        return False
    return not unit.keys() <= _FIELDS


def screen_message(item: bytes) -> bytes | None:
    """The message of a work unit, as Celery would write it, from what lay in a queue.

    Whatever else it asks of Celery (another time, other tasks afterwards) is left out. None for
    what is no work unit's message.
    """
    if len(item) > MAX_BYTES:
        return None
    try:
        body = base64.b64decode(_Message.model_validate_json(item).body, validate=True)
        (unit,), _, _ = _BODY.validate_json(body)
    except ValueError:
        return None
    name = uuid.uuid4().hex
    arguments = [[unit.model_dump(mode="json")], {}, dict.fromkeys(_AFTERWARDS)]
    message = {
        "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TASK, "id": name},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": name,
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }
    return json.dumps(message).encode()
