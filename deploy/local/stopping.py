"""End parts of the deployment in good order, and say so."""

import time
from collections.abc import Callable, Sequence

from deploy.local.place import Place

Say = Callable[[str], None]

POLL_SECONDS = 0.1
WORD_SECONDS = 10.0
LINGER_SECONDS = 5.0
"""So long children may outlive the process that started them."""


def stop(places: Sequence[Place], patience: float, say: Say) -> list[str]:
    """Ask all to stop, and wait until nothing is left of them; returns the names of the killed.

    Killed is what runs after `patience` seconds, and what is left `LINGER_SECONDS` after the
    process that started it. Workers whose supervisor was gone before have all of the patience, as
    they finish what they have in hand. Says a line for each place, and every ten seconds who is
    waited for.
    """
    killed = []
    began = time.monotonic()
    waiting = {place.name: _Waiting(place) for place in places if not place.is_empty}
    for place in places:
        if place.name in waiting:
            place.ask_to_stop()
        else:
            say(f"{place.name:<10} did not run")
    next_word = began + WORD_SECONDS
    while waiting:
        now = time.monotonic()
        for name, each in list(waiting.items()):
            if each.is_over(now, now - began >= patience):
                say(f"{name:<10} {each.ending} after {now - began:.1f} s")
                del waiting[name]
                if each.was_killed:
                    killed.append(name)
        if waiting and now >= next_word:
            say(f"… {', '.join(waiting)}: {now - began:.0f} s of {patience:.0f} s at most")
            next_word += WORD_SECONDS
        time.sleep(POLL_SECONDS)
    return killed


class _Waiting:
    """A place that was asked to stop."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._left_at: float | None = None
        self._finishes = place.name == "worker" and place.leader is None
        self.ending = "stopped"
        self.was_killed = False

    def is_over(self, now: float, impatient: bool) -> bool:
        """Whether nothing is left; kills what has had its time."""
        if self._place.is_empty:
            self._place.forget()
            return True
        if self._left_at is None and self._place.leader is None and not self._finishes:
            self._left_at = now
        if impatient:
            self._kill("was killed")
        elif self._left_at is not None and now - self._left_at >= LINGER_SECONDS:
            self._kill("stopped, and what it left was killed")
        return False

    def _kill(self, ending: str) -> None:
        self._place.kill()
        self.ending, self.was_killed = ending, True
