import hashlib

import pytest
from pydantic import ValidationError

from seedsweep.storage.record import SeedRange, canonical, digest


def test_records_are_frozen():
    seeds = SeedRange(first=0, last=1)
    with pytest.raises(ValidationError):
        seeds.last = 2


def test_a_digest_is_that_of_canonical_json_so_that_any_process_finds_the_same():
    canonical = '{"a":null,"b":[1.5,"é"]}'
    expected = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert digest({"b": [1.5, "é"], "a": None}) == expected


def test_canonical_text_is_compact_sorted_and_not_escaped():
    assert canonical({"b": [1.5, "é"], "a": None}) == '{"a":null,"b":[1.5,"é"]}'


def test_a_digest_ignores_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.0})
    assert digest([1, 2]) != digest([2, 1])


def test_a_range_of_seeds_counts_both_ends():
    assert len(SeedRange(first=5, last=5)) == 1
    assert len(SeedRange(first=0, last=49)) == 50


@pytest.mark.parametrize(("first", "last"), [(5, 4), (-1, 3), (0, 2**63), (0, 2**63 - 1)])
def test_a_range_of_seeds_that_cannot_be_is_refused(first, last):
    with pytest.raises(ValidationError):
        SeedRange(first=first, last=last)
