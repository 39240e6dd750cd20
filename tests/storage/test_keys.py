import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keys
from storage.errors import ShardCorruptError
from storage.records import SeedRange, WorkUnit
from storage.store import open_store

GENERATION = "0123456789abcdef"
PROMPT = "fedcba9876543210"

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
ranges = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)).map(
    lambda ends: SeedRange(first=min(ends), last=max(ends))
)


@given(ids, ids, ranges)
def test_a_shards_key_says_which_prompt_and_seeds_it_holds(generation_id, prompt_id, seeds):
    key = keys.shard(generation_id, prompt_id, seeds)
    assert key.startswith(keys.shards_prefix(generation_id))
    assert keys.parse_shard(key) == (prompt_id, seeds)


def test_a_units_shard_is_a_function_of_recipe_prompt_and_seeds_alone():
    def unit(**changes):
        usual = {
            "campaign_id": "c",
            "generation_id": GENERATION,
            "index": 0,
            "prompt": "a",
            "seeds": SeedRange(first=0, last=49),
        }
        return WorkUnit(**usual | changes)

    key = keys.unit_shard(unit())
    assert key == f"shards/{GENERATION}/ca/ca978112ca1bbdca/0-49.parquet"
    assert keys.unit_shard(unit(campaign_id="d", index=7, token="t")) == key  # noqa: S106
    assert keys.unit_shard(unit(prompt="b")) != key
    assert keys.unit_shard(unit(seeds=SeedRange(first=0, last=48))) != key
    assert keys.unit_shard(unit(generation_id="f" * 16)) != key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "campaigns/x/campaign.json",
        f"shards/{GENERATION}/fe/{PROMPT}/0-49.png",
        f"shards/{GENERATION}/fe/{PROMPT}/0-49.parquet\n",
        f"shards/{GENERATION}/fe/{PROMPT}/0-49.parquet.tmp",
        f"x/shards/{GENERATION}/fe/{PROMPT}/0-49.parquet",
        f"shards/{GENERATION}/fe/{PROMPT.upper()}/0-49.parquet",
        pytest.param(f"shards/{GENERATION}/fe/{PROMPT}/9-3.parquet", id="ends before it begins"),
        pytest.param(f"shards/{GENERATION}/fe/{PROMPT}/00-49.parquet", id="not as it is written"),
        pytest.param(f"shards/{GENERATION}/aa/{PROMPT}/0-49.parquet", id="in the wrong folder"),
        pytest.param(f"shards/{GENERATION}/fe/{PROMPT}/0-{2**63}.parquet", id="too large a seed"),
    ],
)
def test_a_key_that_no_unit_has_is_refused_by_name(key):
    with pytest.raises(ShardCorruptError) as caught:
        keys.parse_shard(key)
    assert repr(key) in str(caught.value)


def test_every_key_can_be_stored_and_lies_below_its_prefix(tmp_path):
    store = open_store(str(tmp_path))
    campaign = "name-0123456789ab"
    made = {
        keys.campaign(campaign): keys.CAMPAIGNS,
        keys.prompts(campaign): keys.CAMPAIGNS,
        keys.control(campaign): keys.CAMPAIGNS,
        keys.parked(campaign, 3): keys.parked_prefix(campaign),
        keys.shard(GENERATION, PROMPT, SeedRange(first=0, last=1)): keys.shards_prefix(GENERATION),
        keys.results_part(GENERATION, campaign, "x"): keys.results_prefix(GENERATION, campaign),
    }
    for key, prefix in made.items():
        assert store.create(key, b"")
        assert key in set(store.list(prefix))
