"""What all records have in common, and how their values are hashed.

Reading a record checks it: a wrong type or an unknown field raises `pydantic.ValidationError`.
"""

import hashlib
import json
import sys
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]


class Record(BaseModel):
    """A frozen record that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SeedRange(Record):
    """Consecutive seeds, both ends included; at most 2**63 - 1 of them."""

    first: Seed
    last: Seed

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.last < self.first:
            raise ValueError("a range of seeds ends before it begins")
        if self.last - self.first >= sys.maxsize:
            raise ValueError("a range holds more seeds than can be counted")
        return self

    def __len__(self) -> int:
        return self.last - self.first + 1

    def moved(self, by: int) -> Self:
        """As many seeds, so many further."""
        return type(self)(first=self.first + by, last=self.last + by) if by else self


def digest(value: object) -> str:
    """Hash a JSON value: 16 hex digits of sha256 over its canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def canonical(value: object) -> str:
    """A JSON value's one text: keys sorted, no white space, no escapes that are not needed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
