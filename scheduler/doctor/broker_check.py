"""Is the broker one that a campaign can rely on?"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from seedsweep.scheduler.doctor.diagnosis import Diagnosis, is_loopback
from seedsweep.scheduler.quantities import size_words
from seedsweep.storage.broker.facts import BrokerFacts

OLDEST_REDIS = (6, 0)
"""The first with HELLO, with which the Python client opens each connection."""

TESTED_REDIS = (7, 2)
"""What the Valkey of our tests says that it speaks."""


def judge_broker(facts: BrokerFacts, url: str) -> Iterator[Diagnosis]:
    """Say what a broker is, and what about it is wrong or worth a thought."""
    limit = f"of {size_words(facts.max_bytes)}" if facts.max_bytes else "without a limit"
    named = f" at {facts.primary}, which the sentinels call the primary," if facts.primary else ""
    yield Diagnosis(
        "broker",
        "fine",
        f"{facts.product.capitalize()} {facts.version or 'of unknown version'}{named} answers in "
        f"{facts.round_trip_ms:.1f} ms and uses {size_words(facts.used_bytes)}, {limit}.",
    )
    yield from _broker_age(facts)
    yield from _broker_memory(facts)
    yield from _broker_disk(facts)
    yield from _broker_door(facts, url)


def _broker_age(facts: BrokerFacts) -> Iterator[Diagnosis]:
    speaks = _release(facts.redis_version)
    oldest, tested = (f"{a}.{b}" for a, b in (OLDEST_REDIS, TESTED_REDIS))
    if speaks is None:
        yield Diagnosis(
            "broker",
            "warning",
            "The broker does not tell its version.",
            f"Make sure that it speaks Redis {tested} or later.",
        )
    elif speaks < OLDEST_REDIS:
        yield Diagnosis(
            "broker",
            "failure",
            f"The broker speaks Redis {facts.redis_version}, which lacks HELLO; the Python client "
            "opens each connection with it.",
            f"Install Valkey, or Redis {oldest} or later.",
        )
    elif speaks < TESTED_REDIS:
        yield Diagnosis(
            "broker",
            "warning",
            f"The broker speaks Redis {facts.redis_version}; nothing below {tested} is tested.",
            f"Install Valkey, or Redis {tested} or later.",
        )


def _broker_memory(facts: BrokerFacts) -> Iterator[Diagnosis]:
    if facts.eviction_policy is None:
        yield Diagnosis(
            "broker",
            "warning",
            "The broker does not tell what it does when its memory is full.",
            "Make sure that its maxmemory-policy is noeviction.",
        )
    elif facts.eviction_policy != "noeviction":
        yield Diagnosis(
            "broker",
            "failure",
            f"The broker's maxmemory-policy is {facts.eviction_policy}: when its memory is full "
            "it drops campaigns' state and messages.",
            "Run CONFIG SET maxmemory-policy noeviction, and set it in its configuration.",
        )


def _broker_disk(facts: BrokerFacts) -> Iterator[Diagnosis]:
    if facts.persistence_error:
        yield Diagnosis(
            "broker",
            "failure",
            "The broker's last write to its disk failed; it may refuse all changes.",
            "Free its disk, or correct the rights of its folder; its log says which.",
        )
    if facts.append_only is None:
        yield Diagnosis(
            "broker",
            "warning",
            "The broker does not tell whether it keeps an append-only file.",
            "Switch its persistence on: workers then keep what they have in hand over a restart.",
        )
    elif not facts.append_only:
        yield Diagnosis(
            "broker",
            "warning",
            "The broker keeps no append-only file: a restart loses nothing but time, as the "
            "scheduler rebuilds everything from the store.",
            "Run CONFIG SET appendonly yes, and set it in its configuration.",
        )


def _broker_door(facts: BrokerFacts, url: str) -> Iterator[Diagnosis]:
    parts = urlsplit(url)
    host = facts.primary.rpartition(":")[0] or parts.hostname or ""
    if parts.scheme == "unix" or is_loopback(host):
        return
    if not facts.needs_password:
        yield Diagnosis(
            "broker",
            "warning",
            f"The broker at {host} lets everyone in who can reach it.",
            "Set requirepass or an ACL, and put the password into SEEDSWEEP_BROKER_URL.",
        )
    if not parts.scheme.startswith("rediss"):
        yield Diagnosis(
            "broker",
            "warning",
            f"The connection to {host} is not encrypted, its password included.",
            "Give the broker a certificate and write rediss://, or keep it in a private network.",
        )


def _release(version: str) -> tuple[int, int] | None:
    numbers = version.split(".")[:2]
    if len(numbers) < 2 or not all(number.isdigit() for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])
