"""The error for a stored object that is not what was written."""

import contextlib
from collections.abc import Iterator

import pyarrow as pa
from pydantic import ValidationError

from seedsweep.storage.errors import ShardCorruptError

_RAISED = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, ArithmeticError)


@contextlib.contextmanager
def corrupt_where_wrong(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever reading raises into a `ShardCorruptError`. `what` names the object with its
    key, `remedy` says what to do."""
    try:
        yield
    except _RAISED as error:
        raise ShardCorruptError(
            f"{what} is not what was written ({_reason(error)}); {remedy}."
        ) from error


def _reason(error: Exception) -> str:
    """Why, in a few words: what a check said of it, else the kind of error."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
    return str(error) if type(error) is ValueError else type(error).__name__
