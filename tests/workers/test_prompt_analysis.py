from dataclasses import replace

import numpy as np
import pytest

from storage.errors import ShardCorruptError
from storage.keys import unit_shard
from storage.records import Analysis, AnalysisSettings, Flaw, Provenance, SeedRange, Verification
from storage.shards import decode_shard, encode_shard
from storage.store import FolderStore
from workers.analysis.verdict import judge
from workers.pipelines import Generation
from workers.prompt_analysis import analyse_prompt, decode_pixels, read_prompt
from workers.training_set import TrainingSet
from workers.writer import encode_unit

MADE = Provenance(batch_size=4, threads=1, device="cpu", dtype="float32", versions="test")
SETTINGS = AnalysisSettings(analysis=Analysis(min_clique_size=4))


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.fixture
def store_pictures(store, make_campaign, make_unit):
    """Store pictures as one shard of one prompt; returns the prompt's stored images."""
    campaign = make_campaign()

    def put(pictures, flaws=()):
        flaws = [*flaws, *[None] * (len(pictures) - len(flaws))]
        made = [Generation(i, p, flaws[i], MADE) for i, p in enumerate(pictures)]
        unit = make_unit(campaign, last=len(pictures) - 1)
        store.create(unit_shard(unit), encode_unit(unit, made))
        return read_prompt(store, campaign.generation_id, unit.prompt_id, [unit.seeds])

    return put


def repeated_and_others(repeats, others, seed=0):
    """Near-copies of one picture at the odd places, unlike pictures elsewhere."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(8, 248, (16, 16, 3))
    copies = picture + rng.integers(-4, 5, (repeats, 16, 16, 3))
    rest = rng.integers(0, 256, (others, 16, 16, 3))
    return rng.permutation(np.concatenate([copies, rest])).astype(np.uint8)


def analyse(stored, make_campaign, settings=SETTINGS, training=None):
    return analyse_prompt("a cat", stored, make_campaign().sampling, settings, training)


@pytest.mark.parametrize(("repeats", "others"), [(6, 10), (3, 10), (0, 8), (12, 0), (4, 1), (0, 1)])
def test_the_descriptors_never_change_the_verdict(store_pictures, make_campaign, repeats, others):
    pictures = repeated_and_others(repeats, others)
    result = analyse(store_pictures(pictures), make_campaign)
    full = judge(pictures, range(len(pictures)), 4, 0.1, 4)
    for field in ("edges", "clique_size", "clique_seeds", "clique_proven", "clique_upper_bound"):
        assert getattr(result, field) == getattr(full, field)
    assert result.mean_distance == full.mean_distance
    assert result.representative_seed == full.representative_seed
    assert result.flagged == (repeats >= 4)


def test_pictures_that_are_no_evidence_are_counted_and_join_no_clique(
    store_pictures, make_campaign
):
    black = np.zeros((6, 16, 16, 3), np.uint8)
    result = analyse(store_pictures(black, [Flaw.BLANKED] * 6), make_campaign)
    assert (result.seeds, result.excluded, result.flagged) == (6, 6, False)


def test_the_representative_is_matched_with_its_training_picture(store_pictures, make_campaign):
    pictures = repeated_and_others(6, 10)
    stored = store_pictures(pictures)
    rng = np.random.default_rng(5)
    strangers = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    flagged = analyse(stored, make_campaign)
    near = pictures[flagged.representative_seed]
    training = TrainingSet(
        np.concatenate([strangers, near[None]]), (*map(str, range(60)), "the one")
    )
    verified = SETTINGS.model_copy(update={"verification": Verification(training_set="t")})
    result = analyse(stored, make_campaign, verified, training)
    assert result.match is not None
    assert (result.match.training_id, result.match.l2, result.match.extracted) == (
        "the one",
        0.0,
        True,
    )


def test_a_prompt_that_is_not_flagged_is_matched_with_nothing(store_pictures, make_campaign):
    training = TrainingSet(np.zeros((1, 16, 16, 3), np.uint8), ("black",))
    verified = SETTINGS.model_copy(update={"verification": Verification(training_set="t")})
    stored = store_pictures(repeated_and_others(0, 8))
    assert analyse(stored, make_campaign, verified, training).match is None


def test_a_corrupt_shard_is_named_and_the_others_are_read(store, make_campaign, make_unit):
    campaign = make_campaign()
    units = [make_unit(campaign, first=0, last=2), make_unit(campaign, first=3, last=5)]
    for unit in units:
        pictures = repeated_and_others(3, 0)
        seeds = range(unit.seeds.first, unit.seeds.last + 1)
        made = [Generation(s, p, None, MADE) for s, p in zip(seeds, pictures, strict=True)]
        store.create(unit_shard(unit), encode_unit(unit, made))
    broken = unit_shard(units[0])
    store.replace(broken, b"PAR1 no longer")
    cuts = [unit.seeds for unit in units]
    stored = read_prompt(store, campaign.generation_id, units[0].prompt_id, cuts)
    assert stored.corrupt == (broken,)
    assert [image.seed for image in stored.images] == [3, 4, 5]


def test_a_shard_with_other_pixels_than_were_made_is_corrupt_once_verified(
    store, make_campaign, make_unit
):
    unit = make_unit(make_campaign())
    pictures = repeated_and_others(0, 3)
    store.create(
        unit_shard(unit),
        encode_unit(unit, [Generation(i, p, None, MADE) for i, p in enumerate(pictures)]),
    )
    images = decode_shard(store.read(unit_shard(unit)), unit_shard(unit))
    swapped = [replace(images[0], png=images[1].png), *images[1:]]
    store.replace(unit_shard(unit), encode_shard(unit, swapped))
    place = (store, unit.generation_id, unit.prompt_id, [unit.seeds])
    assert read_prompt(*place).corrupt == ()
    assert read_prompt(*place, verified=True).corrupt == (unit_shard(unit),)


def test_a_missing_shard_is_skipped(store, make_campaign, make_unit):
    unit = make_unit(make_campaign())
    stored = read_prompt(store, unit.generation_id, unit.prompt_id, [SeedRange(first=0, last=2)])
    assert (stored.images, stored.corrupt) == ((), ())


def test_pixels_that_are_not_those_recorded_are_refused(store, store_pictures):
    stored = store_pictures(repeated_and_others(1, 1))
    one, other = stored.images
    with pytest.raises(ShardCorruptError, match="seed 0"):
        decode_pixels([replace(one, png=other.png)])


def test_stored_pixels_come_back_as_they_were_made(store, make_campaign, make_unit):
    unit = make_unit(make_campaign())
    pictures = repeated_and_others(0, 3)
    store.create(
        unit_shard(unit),
        encode_unit(unit, [Generation(i, p, None, MADE) for i, p in enumerate(pictures)]),
    )
    key = unit_shard(unit)
    images = decode_shard(store.read(key), key)
    assert np.array_equal(decode_pixels(images), pictures)
