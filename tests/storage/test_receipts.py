import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage import keys
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.image_rows import Described
from seedsweep.storage.receipts import (
    Receipt,
    is_done,
    list_receipts,
    read_receipt,
    receipt_key,
    store_receipt,
)
from seedsweep.storage.record import SeedRange, digest
from seedsweep.storage.records import Flaw, Prompt, Provenance
from seedsweep.storage.settings.sampling import Blocks
from tests.support.campaigns import make_campaign
from tests.support.results import make_result

modest = settings(max_examples=30, derandomize=True, deadline=None)
MADE = Provenance(batch_size=4, threads=1, device="cpu", dtype="float32", versions="v", recipe="{}")


def campaign(name="c", first_seed=7, seeds=3, **sampling):
    usual = {"keep": "flagged", "first_seed": first_seed, "seeds": seeds}
    return make_campaign(name, **usual, **sampling)


def image(seed, **changes):
    usual = {
        "descriptor": b"desc",
        "blocks": Blocks(),
        "sha256": "ab" * 32,
        "flaw": None,
        "provenance": MADE,
    }
    return Described(seed=seed, **usual | changes)


def receipt(images, text="a cat", **changes):
    """A receipt of these images, judged as not flagged."""
    seeds = [image.seed for image in images]
    about = {
        "prompt_id": Prompt(text=text).prompt_id,
        "prompt": text,
        "seeds": len(seeds),
        "seeds_digest": digest(seeds),
    }
    return Receipt(tuple(images), "0" * 16, make_result(**about | changes))


CAMPAIGN = campaign()
CAT = Prompt(text="a cat").prompt_id
KEY = receipt_key(CAMPAIGN, CAT)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def stored(store):
    """A store that holds the receipt of one prompt."""
    store_receipt(store, CAMPAIGN, receipt([image(seed) for seed in (7, 8, 9)]))
    return store


def texts():
    return st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def judged(draw):
    first, count = draw(st.integers(0, 2**63 - 7)), draw(st.integers(1, 6))
    images = [
        image(
            seed,
            descriptor=draw(st.binary(max_size=50)),
            blocks=Blocks(fine=draw(st.sampled_from([2, 4, 8])), coarse=8),
            sha256=draw(texts()),
            same_as=draw(st.sampled_from(["", "0123456789abcdef"])),
            flaw=draw(st.none() | st.sampled_from(Flaw)),
            provenance=MADE.model_copy(update={"threads": draw(st.integers(1, 64))}),
        )
        for seed in range(first, first + count)
    ]
    made = receipt(images, draw(texts()), edges=draw(st.integers(0, 9)))
    return campaign(first_seed=first, seeds=count), made


@modest
@given(judged())
def test_a_receipt_gives_back_exactly_what_went_in(tmp_path_factory, made):
    of, written = made
    store = FolderStore(tmp_path_factory.mktemp("receipts"))
    store_receipt(store, of, written)
    assert read_receipt(store, of, written.result.prompt_id) == written


def test_the_images_of_some_seeds_are_found_in_it(stored):
    found = read_receipt(stored, CAMPAIGN, CAT).of(SeedRange(first=8, last=9))
    assert [image.seed for image in found] == [8, 9]


def test_a_prompt_without_a_receipt_has_none(stored):
    assert read_receipt(stored, CAMPAIGN, Prompt(text="a dog").prompt_id) is None
    assert read_receipt(stored, campaign("another"), CAT) is None


def test_the_receipts_of_one_campaign_are_listed_with_what_they_cover(stored):
    store_receipt(stored, campaign("another"), receipt([image(seed) for seed in (7, 8, 9)]))
    assert list(list_receipts(stored, CAMPAIGN.campaign_id)) == [KEY]


def test_a_later_receipt_takes_the_place_of_an_earlier_one(stored):
    newer = receipt([image(seed, sha256="cd") for seed in (7, 8, 9)])
    store_receipt(stored, CAMPAIGN, newer)
    assert read_receipt(stored, CAMPAIGN, CAT) == newer


@pytest.mark.parametrize("seeds", [(), (7, 8), (8, 7, 9), (7, 8, 9, 10), (6, 7, 8)])
def test_a_receipt_of_other_seeds_than_the_campaigns_is_not_stored(store, seeds):
    with pytest.raises(ValueError, match="each seed"):
        store_receipt(store, CAMPAIGN, receipt([image(seed) for seed in seeds]))


def test_a_result_on_other_images_is_not_stored(store):
    made = receipt([image(seed) for seed in (7, 8, 9)], seeds_digest=digest([7, 8]))
    with pytest.raises(ValueError, match="judged"):
        store_receipt(store, CAMPAIGN, made)


@pytest.mark.parametrize("data", [b"", b"PAR1 no longer"])
def test_what_is_no_receipt_is_corrupt(stored, data):
    stored.replace(KEY, data)
    with pytest.raises(ShardCorruptError, match=KEY):
        read_receipt(stored, CAMPAIGN, CAT)


def test_a_receipt_that_was_cut_short_is_corrupt(stored):
    data = stored.read(KEY)
    for length in range(0, len(data), 97):
        stored.replace(KEY, data[:length])
        with pytest.raises(ShardCorruptError, match=KEY):
            read_receipt(stored, CAMPAIGN, CAT)


def test_whatever_byte_of_a_receipt_changes_no_image_is_taken_for_another(stored):
    data, written = stored.read(KEY), read_receipt(stored, CAMPAIGN, CAT)
    refused = 0
    for at in range(4, len(data), 7):
        stored.replace(KEY, data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
        try:
            assert read_receipt(stored, CAMPAIGN, CAT).images == written.images
        except ShardCorruptError:
            refused += 1
    assert refused > 100


def test_another_prompts_campaigns_or_recipes_receipt_is_corrupt(stored):
    data = stored.read(KEY)
    dog = Prompt(text="a dog").prompt_id
    stored.create(receipt_key(CAMPAIGN, dog), data)
    with pytest.raises(ShardCorruptError, match=dog):
        read_receipt(stored, CAMPAIGN, dog)
    for other in (campaign(seeds=4), campaign(steps=9)):
        stored.create(receipt_key(other, CAT), data)
        with pytest.raises(ShardCorruptError, match=other.campaign_id):
            read_receipt(stored, other, CAT)


def test_a_receipt_without_its_verdict_is_corrupt(stored):
    table = pq.read_table(stored.root / KEY)
    pq.write_table(table.replace_schema_metadata({}), stored.root / KEY)
    with pytest.raises(ShardCorruptError, match=KEY):
        read_receipt(stored, CAMPAIGN, CAT)


def test_a_unit_is_done_by_its_shard_or_by_a_receipt(store):
    seeds = SeedRange(first=7, last=8)
    assert not is_done(store, CAMPAIGN, CAT, seeds)
    shard = keys.shard(CAMPAIGN.generation_id, CAT, seeds)
    store.create(shard, b"shard")
    assert is_done(store, CAMPAIGN, CAT, seeds)
    store_receipt(store, CAMPAIGN, receipt([image(seed) for seed in (7, 8, 9)]))
    store.delete(shard)
    assert is_done(store, CAMPAIGN, CAT, seeds)
    assert not is_done(store, campaign("other"), CAT, seeds)
