"""Whether this process gets its work done: what /healthz and /readyz answer.

One process is one service, so its health is kept here as its metrics are. A living process says
nothing; what counts are the steps that it is to take, each within its own time. A step that is not
begun, or has ended, is none to wait for.
"""

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a service in good health has done again within `seconds`.

    `overdue` says in words what has not happened. Without a `vital` one the process should be
    started again; without another one it only waits for something else.
    """

    overdue: str
    seconds: float
    vital: bool = False


TURN = Step("The service's loop has not turned", 300, vital=True)
LISTENING = Step("Celery has not looked for units", 60)
UNIT = Step("The unit in hand has not been rendered", 3600, vital=True)
STORING = Step("A rendered unit's shard could not be stored", 30)
TICK = Step("The campaigns could not be looked after", 30)
RAY = Step("Ray has not answered", 30)
ANALYSIS = Step("None of the prompts under way has been analysed", 3600)

_lock = threading.Lock()
_begun: dict[Step, float | None] = {}


def expect(step: Step) -> None:
    """The step is overdue until it is taken for the first time."""
    with _lock:
        _begun.setdefault(step, None)


def begin(step: Step) -> None:
    """The step is to be taken from now on; if it was to be taken before, it just was."""
    with _lock:
        _begun[step] = time.monotonic()


def end(step: Step) -> None:
    """The step was taken, and need not be taken again."""
    with _lock:
        _begun.pop(step, None)


def overdue(vital: bool) -> list[str]:
    """A sentence for each step that is overdue, of all or of the vital ones."""
    now = time.monotonic()
    with _lock:
        begun = list(_begun.items())
    asked = [(step, at) for step, at in begun if step.vital or not vital]
    return [
        f"{step.overdue} yet." if at is None else f"{step.overdue} for {now - at:.0f} seconds."
        for step, at in asked
        if at is None or now - at > step.seconds
    ]
