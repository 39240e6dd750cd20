"""What `doctor` finds, and the words and figures that its rooms share."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from seedsweep.storage.errors import SeedsweepError, TransientError


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at; `remedy` says how to mend what is not fine.

    `unreachable`: the failure is that a service did not answer.
    """

    about: str
    verdict: Literal["fine", "warning", "failure"]
    says: str
    remedy: str = ""
    unreachable: bool = False


def exit_code(diagnoses: Iterable[Diagnosis]) -> int:
    """0 if nothing failed, 3 if something failed because it was unreachable, else 2."""
    failed = [diagnosis for diagnosis in diagnoses if diagnosis.verdict == "failure"]
    if any(diagnosis.unreachable for diagnosis in failed):
        return 3
    return 2 if failed else 0


def guarded(about: str, check: Iterator[Diagnosis]) -> Iterator[Diagnosis]:
    try:
        yield from check
    except SeedsweepError as error:
        unreachable = isinstance(error, TransientError)
        yield Diagnosis(about, "failure", str(error), unreachable=unreachable)
    except Exception as error:  # whatever it is, the other checks go on
        yield Diagnosis(about, "failure", f"The check itself failed: {in_words(error)}.")


def in_words(error: Exception) -> str:
    """An error of ours as it is, any other with its type; on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SeedsweepError) else f"{type(error).__name__}: {text}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False
