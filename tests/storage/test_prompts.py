"""A campaign's prompts are kept compressed and come back in their order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage import prompts as prompts_module
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.prompts import StoredPrompts, encode_prompts

texts = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=30
)


@settings(deadline=None)
@given(texts, st.integers(1, 7))
def test_prompts_come_back_as_any_sequence_has_them(prompts, group):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts_module, "GROUP", group)
        stored = StoredPrompts("k", encode_prompts(prompts))
    assert (len(stored), list(stored), stored[1:-1:2]) == (len(prompts), prompts, prompts[1:-1:2])
    assert [stored[-i] for i in range(1, len(prompts) + 1)] == prompts[::-1]
    for outside in (len(prompts), -len(prompts) - 1):
        with pytest.raises(IndexError):
            stored[outside]


def test_few_groups_are_decoded_at_a_time(monkeypatch):
    monkeypatch.setattr(prompts_module, "GROUP", 5)
    stored = StoredPrompts("k", encode_prompts([f"prompt {i}" for i in range(100)]))
    assert list(stored) == [f"prompt {i}" for i in range(100)]
    decoded = stored._group.cache_info()
    assert (decoded.misses, decoded.currsize) == (20, prompts_module.GROUPS_HELD)


def test_no_flipped_bit_gives_other_prompts():
    prompts = [f"prompt {i}" for i in range(20)]
    data, refused = encode_prompts(prompts), 0
    for place in range(0, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 4
        try:
            assert list(StoredPrompts("k", bytes(broken))) == prompts
        except ShardCorruptError:
            refused += 1
    assert refused
