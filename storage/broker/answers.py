"""Refusals of the broker, each in our words, in one place."""

import re
from dataclasses import dataclass

import redis

from seedsweep.storage.broker.tls import tls_fault
from seedsweep.storage.errors import BrokerRefusesError, BrokerUnavailableError


class EpochMissingError(BrokerUnavailableError):
    """The broker forgot everything; the leading scheduler restores it from the store."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an answer says of the broker, what helps, and whether it passes without anybody."""

    says: str
    remedy: str
    passes: bool = True


_REPLICA = _Meaning(
    "takes no writes while another server takes over",
    "this passes once there is a primary; if it lasts, name that one in SEEDSWEEP_BROKER_URL",
)
_ALONE = _Meaning(
    "refuses to write without its replicas", "start them, or lower its min-replicas-to-write"
)
_BUSY = _Meaning("is busy", "this passes once that has ended")
_FULL = _Meaning("refuses to write", "give it room")
_CROWDED = _Meaning("takes no more connections", "raise its maxclients")
_STRANGER = _Meaning("refuses our user or password", "correct SEEDSWEEP_BROKER_URL", passes=False)
_FORBIDDEN = _Meaning(
    "forbids our user what is asked", "give the user in SEEDSWEEP_BROKER_URL that right", False
)
_CLUSTER = _Meaning(
    "is a Redis Cluster, which is not supported",
    "name a server without cluster mode in SEEDSWEEP_BROKER_URL",
    passes=False,
)
_FOREIGN = _Meaning(
    "holds at one of our keys what is not ours",
    "delete its keys that begin with seedsweep:, and a running scheduler restores them from the "
    "store",
    passes=False,
)
_UNKNOWN = _Meaning("refuses what it is asked", "see `seedsweep doctor`", passes=False)
_SILENT = _Meaning("does not answer", "start it, or correct SEEDSWEEP_BROKER_URL")

_MEANINGS = {
    **dict.fromkeys(("READONLY", "UNBLOCKED", "MASTERDOWN", "NOMASTERLINK"), _REPLICA),
    "NOREPLICAS": _ALONE,
    **dict.fromkeys(("LOADING", "BUSY", "NOSCRIPT", "EXECABORT", "INPROG"), _BUSY),
    **dict.fromkeys(("OOM", "MISCONF"), _FULL),
    **dict.fromkeys(("NOAUTH", "WRONGPASS", "DENIED"), _STRANGER),
    "NOPERM": _FORBIDDEN,
    **dict.fromkeys(("MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "CLUSTERDOWN"), _CLUSTER),
    "WRONGTYPE": _FOREIGN,
}
_CAUSES = [code for code in _MEANINGS if code not in ("EXECABORT", "NOSCRIPT")]
_CODES = {
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.NoScriptError: "NOSCRIPT",
    redis.exceptions.ExecAbortError: "EXECABORT",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
}
"""The client cuts off the codes that it knows."""


def in_our_words(error: BaseException) -> BrokerUnavailableError:
    """Turn what a client of the broker raised into one sentence with the remedy. A
    `BrokerRefusesError` lasts until somebody mends something.
    """
    text = str(error).rpartition("caused error: ")[2]  # a pipeline's error repeats the command
    if "NOEPOCH" in text:
        return EpochMissingError(
            "The broker has lost the campaigns' state; a running scheduler restores it."
        )
    if fault := tls_fault(error):
        return BrokerUnavailableError(f"The broker does not answer ({fault[0]}); {fault[1]}.")
    code = _CODES.get(type(error), "") or text.partition(" ")[0]
    meaning = _meaning(error, code, text)
    said = text if text.startswith(code) else f"{code} {text}"
    kind = BrokerUnavailableError if meaning.passes else BrokerRefusesError
    return kind(f"The broker {meaning.says} ({said.rstrip('.')}); {meaning.remedy}.")


def not_ours(what: object) -> BrokerRefusesError:
    """The error for a value at one of our keys that we did not write."""
    return BrokerRefusesError(f"The broker {_FOREIGN.says} ({what!r}); {_FOREIGN.remedy}.")


def _meaning(error: BaseException, code: str, text: str) -> _Meaning:
    if code in _CAUSES:
        return _MEANINGS[code]
    if isinstance(error, redis.AuthenticationError):
        return _STRANGER
    if text.startswith("max number of clients"):
        return _CROWDED
    if not isinstance(error, redis.ResponseError):
        return _SILENT
    # Why a transaction was discarded, or an old server's script ended, stands within the answer.
    cause = re.search(rf"\b({'|'.join(_CAUSES)})\b", text)
    if cause or code in _MEANINGS:
        return _MEANINGS[cause.group() if cause else code]
    # Our scripts stumble only over what they have not written.
    return _FOREIGN if "script" in text else _UNKNOWN
