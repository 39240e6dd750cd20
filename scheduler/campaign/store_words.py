"""What the services find wrong with the store, in sentences for people."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from seedsweep.storage.life_signs import Complaint
from seedsweep.storage.records import TroubleKind


def store_words(complaints: Sequence[Complaint]) -> list[str]:
    """One sentence or two for each kind of trouble: what it is, who has it, and what becomes."""
    words = []
    for kind in get_args(TroubleKind):
        those = [c for c in complaints if c.trouble.kind == kind]
        if those:
            services = Counter(c.kind for c in those)
            who = " and ".join(f"{n} {service}{'s' * (n > 1)}" for service, n in services.items())
            wait = "waits" if len(those) == 1 else "wait"
            words.append(f"{those[0].trouble.sentence} Nothing is lost: {who} {wait} for it.")
    return words
