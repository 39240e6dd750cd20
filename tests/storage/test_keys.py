from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.stores import open_store

GENERATION = "0123456789abcdef"
PROMPT = "fedcba9876543210"
MODEL = f"sha256:{GENERATION * 4}"

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
ranges = (
    st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
    .filter(lambda ends: abs(ends[0] - ends[1]) < 2**63 - 1)
    .map(lambda ends: SeedRange(first=min(ends), last=max(ends)))
)


@given(ids, ids, ranges)
def test_a_shards_key_says_which_prompt_and_seeds_it_holds(generation_id, prompt_id, seeds):
    key = keys.shard(generation_id, prompt_id, seeds)
    assert key.startswith(keys.shards_prefix(generation_id))
    assert keys.parse_shard(key) == (prompt_id, seeds)


@given(ids, ranges)
def test_a_receipts_key_says_which_prompt_and_seeds_it_covers(prompt_id, seeds):
    key = keys.receipt("name-0123456789ab", prompt_id, seeds)
    assert key.startswith(keys.receipts_prefix("name-0123456789ab"))
    assert keys.parse_receipt(key) == (prompt_id, seeds)


def test_a_shards_key_is_that_of_no_receipt():
    key = keys.shard(GENERATION, PROMPT, SeedRange(first=0, last=1))
    with pytest.raises(ShardCorruptError, match="receipt"):
        keys.parse_receipt(key)


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
        pytest.param(f"shards/{GENERATION}/fe/{PROMPT}/0-{2**63 - 1}.parquet", id="all seeds"),
    ],
)
def test_a_key_that_no_unit_has_is_refused_by_name(key):
    with pytest.raises(ShardCorruptError) as caught:
        keys.parse_shard(key)
    assert repr(key) in str(caught.value)


def test_a_models_files_lie_below_the_digits_of_its_fingerprint():
    assert keys.model_prefix(MODEL) == f"model/{GENERATION * 4}/"
    assert keys.model_prefix(f"commit:{'a' * 40}") == f"model/{'a' * 40}/"


@pytest.mark.parametrize(
    "fingerprint",
    ["", "noise:", "noise:v2", "sha256:", "sha256:..", "sha256:../x", f"{MODEL}\n", f"{MODEL}0"],
)
def test_what_is_no_fingerprint_of_files_has_no_place(fingerprint):
    with pytest.raises(ConfigError) as caught:
        keys.model_prefix(fingerprint)
    assert repr(fingerprint) in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd.json",
        "../x.json",
        "unet/../../x.json",
        "unet//x.json",
        "unet/.hidden.json",
        "unet/a b.json",
        "unet/é.json",
        "unet\\x.json",
        "x.json\n",
        "x.json/",
    ],
)
def test_a_models_file_that_no_key_can_hold_is_refused_by_name(path):
    with pytest.raises(ConfigError, match="rename it") as caught:
        keys.model_file(MODEL, path)
    assert repr(path) in str(caught.value)


def test_the_parts_of_a_models_file_are_in_order_and_no_file_is_the_manifest():
    parts = [keys.model_part(MODEL, "unet/x.safetensors", i) for i in (0, 2, 10, 99_999)]
    assert parts == sorted(parts)
    assert keys.model_file(MODEL, "manifest.json") != keys.model_manifest(MODEL)


def test_every_key_can_be_stored_and_lies_below_its_prefix(tmp_path):
    store = open_store(str(tmp_path))
    campaign = "name-0123456789ab"
    made = {
        keys.campaign(campaign): keys.CAMPAIGNS,
        keys.prompts(campaign): keys.CAMPAIGNS,
        keys.control(campaign): keys.CAMPAIGNS,
        keys.parked(campaign, 3): keys.parked_prefix(campaign),
        **{
            keys.finding(campaign, kind, "other-0123456789ab"): keys.findings_prefix(campaign, kind)
            for kind in get_args(keys.FindingKind)
        },
        keys.shard(GENERATION, PROMPT, SeedRange(first=0, last=1)): keys.shards_prefix(GENERATION),
        keys.receipt(campaign, PROMPT, SeedRange(first=0, last=1)): keys.receipts_prefix(campaign),
        keys.model_manifest(MODEL): keys.model_prefix(MODEL),
        keys.model_file(MODEL, "unet/x.json"): keys.model_prefix(MODEL),
        keys.model_part(MODEL, "unet/x.safetensors", 7): keys.model_prefix(MODEL),
        keys.results_part(GENERATION, campaign, "x"): keys.results_prefix(GENERATION, campaign),
        keys.results_part(GENERATION, campaign, "y"): keys.RESULTS,
        keys.mask(GENERATION, campaign, PROMPT, 3): keys.results_prefix(GENERATION, campaign),
    }
    for key, prefix in made.items():
        assert store.create(key, b"")
        assert key in set(store.list(prefix))
