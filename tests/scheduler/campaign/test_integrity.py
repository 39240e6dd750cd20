import dataclasses
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.scheduler.campaign.integrity import Checkup, check_campaign, repair
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
    ShardCorruptError,
    StoreUnavailableError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import results_part, unit_shard
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.receipts import receipt_key
from seedsweep.storage.record import SeedRange, digest
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import read_results
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings
from seedsweep.storage.shards import decode_shard, encode_shard
from seedsweep.workers.analysis.descriptors import describe
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.images import digest_pixels, encode_png
from tests.support.campaigns import make_campaign, make_images, make_submission, park_unit
from tests.support.pictures import black_png, pixels_of
from tests.support.results import make_result

PROMPTS = ["a cat", "a dog", "an owl"]
CUTS = (SeedRange(first=0, last=1), SeedRange(first=2, last=4))
SIZES = {"width": 8, "height": 12}


class MadeCampaign:
    """A stored noise campaign of three prompts, two and three images a unit."""

    def __init__(self, store, keep="all"):
        self.store = store
        campaign = make_campaign(prompts=len(PROMPTS), keep=keep, seeds=5, **SIZES)
        store_campaign(store, make_submission(campaign, CUTS), PROMPTS)
        self.plan = Plan(campaign, PROMPTS, CUTS)
        self.id = campaign.campaign_id

    def key(self, index):
        return unit_shard(self.plan.unit(index))

    def make(self, *indexes):
        make_images(self.store, self.plan, indexes)

    def analyse(self, *prompts, analysis_id=None, edges=0):
        """Store results of the prompts, or of all, as if they had been analysed."""
        seeds = list(range(5))
        results = [
            make_result(
                prompt_id=self.plan.unit(2 * i).prompt_id,
                prompt=text,
                seeds=len(seeds),
                seeds_digest=digest(seeds),
                edges=edges,
            )
            for i, text in enumerate(PROMPTS)
            if text in (prompts or PROMPTS)
        ]
        analysis_id = analysis_id or self.plan.campaign.analysis_id
        store_results(self.store, analysis_id, self.id, results)

    def edges(self, analysis_id=None):
        """The edges that the stored results tell of, by prompt."""
        analysis_id = analysis_id or self.plan.campaign.analysis_id
        return {r.prompt: r.edges for r in read_results(self.store, analysis_id, self.id)}

    def check(self, ledger=None, progress=lambda done, total: None):
        return check_campaign(self.store, self.id, ledger, progress)


@pytest.fixture
def campaign(tmp_path):
    return MadeCampaign(FolderStore(tmp_path / "store"))


@pytest.fixture
def whole(campaign):
    """The campaign with every shard made."""
    campaign.make(*range(6))
    return campaign


def sound(**changes):
    usual = {"units": 6, "stored": 6, "receipted": 0, "images": 15, "corrupt": (), "holes": ()}
    return Checkup(**usual | {"missing": 0, "parked": 0} | changes)


def test_a_sound_campaign_is_read_whole_and_nothing_is_found(whole):
    steps = []
    assert whole.check(progress=lambda *step: steps.append(step)) == sound()
    assert steps == [(done, 6) for done in range(7)]


def test_a_campaign_of_which_nothing_is_made_is_simply_missing(campaign):
    assert campaign.check() == sound(stored=0, images=0, missing=6)


def test_what_was_judged_and_is_gone_is_lost_without_a_ledger_too(whole):
    whole.analyse("a cat", "a dog")
    for index in (1, 4):
        whole.store.delete(whole.key(index))
    checkup = whole.check()
    assert checkup == sound(stored=4, images=10, holes=(1,), missing=1)
    assert repair(whole.store, whole.id, None, checkup) == 1
    assert whole.edges().keys() == {"a dog"}
    assert whole.check() == sound(stored=4, images=10, missing=2)


def test_results_that_cannot_be_read_tell_of_no_loss(whole):
    whole.analyse()
    [part] = [key for key in whole.store.list("results/") if key.endswith(".parquet")]
    whole.store.replace(part, b"spoilt")
    whole.store.delete(whole.key(1))
    assert whole.check() == sound(stored=5, images=12, missing=1)


def test_an_unknown_campaign_is_refused(campaign):
    with pytest.raises(ConfigError, match="knows no campaign 'other'"):
        check_campaign(campaign.store, "other", None, lambda done, total: None)


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def rewritten(campaign, index, change):
    """The unit's shard with its images changed: checksums of the file itself are right again."""
    key = campaign.key(index)
    images = [change(image) for image in decode_shard(campaign.store.read(key), key)]
    return encode_shard(campaign.plan.unit(index), images)


def other_size(image):
    pixels = np.zeros((SIZES["width"], SIZES["height"], 3), dtype=np.uint8)
    return dataclasses.replace(
        image,
        png=encode_png(pixels),
        sha256=digest_pixels(pixels),
        descriptor=describe(pixels, image.blocks),
    )


def other_pixels(image):
    png = encode_png(pixels_of(image.png) ^ 1)
    return dataclasses.replace(image, png=png)


def bomb(image):
    return dataclasses.replace(image, png=black_png(9000, 9000))


def rows_taken(campaign, index, rows):
    table = pq.read_table(io.BytesIO(campaign.store.read(campaign.key(index))))
    buffer = io.BytesIO()
    pq.write_table(table.take(pa.array(rows, pa.int64())), buffer)
    return buffer.getvalue()


def png_flipped(image):
    return dataclasses.replace(image, png=flipped(image.png, len(image.png) // 2))


WAYS = {
    "empty": lambda campaign, data: b"",
    "cut short": lambda campaign, data: data[: len(data) // 2],
    "all but the last byte": lambda campaign, data: data[:-1],
    "something else": lambda campaign, data: b"<html>503</html>",
    "a flipped byte in a picture": lambda campaign, data: flipped(data, data.index(b"IDAT") + 9),
    "another prompt's": lambda campaign, data: campaign.store.read(campaign.key(5)),
    "other seeds'": lambda campaign, data: campaign.store.read(campaign.key(2)),
    "a row is missing": lambda campaign, data: rows_taken(campaign, 3, [0, 2]),
    "the last row is missing": lambda campaign, data: rows_taken(campaign, 3, [0, 1]),
    "no rows": lambda campaign, data: rows_taken(campaign, 3, []),
    "rows in another order": lambda campaign, data: rows_taken(campaign, 3, [1, 0, 2]),
    "a broken PNG": lambda campaign, data: rewritten(campaign, 3, png_flipped),
    "another PNG": lambda campaign, data: rewritten(campaign, 3, other_pixels),
    "pictures of another shape": lambda campaign, data: rewritten(campaign, 3, other_size),
    "a picture that says a size of its own": lambda campaign, data: rewritten(campaign, 3, bomb),
    "another sha256": lambda campaign, data: rewritten(
        campaign, 3, lambda image: dataclasses.replace(image, sha256="0" * 64)
    ),
    "another descriptor": lambda campaign, data: rewritten(
        campaign, 3, lambda image: dataclasses.replace(image, descriptor=image.descriptor[::-1])
    ),
    "no descriptor": lambda campaign, data: rewritten(
        campaign, 3, lambda image: dataclasses.replace(image, descriptor=b"")
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_shard_that_is_not_what_was_made_is_named_with_its_reason(whole, way):
    key = whole.key(3)
    data = whole.store.read(key)
    wrong = WAYS[way](whole, data)
    assert wrong != data
    whole.store.replace(key, wrong)
    checkup = whole.check()
    (fault,) = checkup.corrupt
    assert checkup == sound(images=12, corrupt=(fault,))
    assert (fault.index, fault.key) == (3, key)
    assert fault.reason.endswith(".")
    assert "\n" not in fault.reason


def test_one_wrong_picture_of_many_is_enough(whole):
    key = whole.key(3)
    for place in range(3):
        images = decode_shard(whole.store.read(key), key)
        wrong = [other_pixels(image) if i == place else image for i, image in enumerate(images)]
        whole.store.replace(key, encode_shard(whole.plan.unit(3), wrong))
        (fault,) = whole.check().corrupt
        assert f"seed {images[place].seed}" in fault.reason
        whole.store.replace(key, encode_shard(whole.plan.unit(3), images))


def test_corrupt_shards_are_reported_in_the_order_of_their_units(whole):
    for index in (4, 0, 5):
        whole.store.replace(whole.key(index), b"")
    assert [fault.index for fault in whole.check().corrupt] == [0, 4, 5]


def test_every_unit_counts_once_as_stored_hole_parked_or_missing(campaign, ledger):
    campaign.make(0, 1, 2, 3)
    ledger.restore(campaign.id, restore_state(campaign.store, campaign.plan))
    campaign.store.delete(campaign.key(1))
    campaign.store.delete(campaign.key(2))
    campaign.store.replace(campaign.key(3), b"")
    for index in (0, 2, 4):  # one that was made after all, one that lost its shard, one not made
        park_unit(campaign.store, campaign.plan, index)
    checkup = campaign.check(ledger)
    assert (checkup.stored, checkup.holes, checkup.parked, checkup.missing) == (2, (1,), 2, 1)
    assert [fault.index for fault in checkup.corrupt] == [3]
    without = campaign.check()
    assert (without.stored, without.holes, without.parked, without.missing) == (2, (), 2, 2)


def test_a_campaign_that_the_ledger_does_not_know_has_no_holes(campaign, ledger):
    campaign.make(0)
    assert campaign.check(ledger) == sound(stored=1, images=2, missing=5)


def test_a_shard_that_vanishes_while_it_is_checked_is_not_stored(whole, monkeypatch):
    read = whole.store.read
    monkeypatch.setattr(whole.store, "read", lambda key: None if key == whole.key(2) else read(key))
    assert whole.check() == sound(stored=5, images=13, missing=1)


def test_a_store_that_fails_ends_the_check(whole, monkeypatch):
    read = whole.store.read

    def fail(key):
        if key == whole.key(3):
            raise StoreUnavailableError("The store is away; bring it back.")
        return read(key)

    monkeypatch.setattr(whole.store, "read", fail)
    with pytest.raises(StoreUnavailableError, match="away"):
        whole.check()


def test_repair_has_corrupt_shards_and_holes_made_and_analysed_again(whole, ledger):
    whole.analyse()
    ledger.restore(whole.id, restore_state(whole.store, whole.plan))
    assert ledger.counts(whole.id).settled
    whole.store.replace(whole.key(0), b"")
    whole.store.delete(whole.key(3))
    checkup = whole.check(ledger)
    assert repair(whole.store, whole.id, ledger, checkup) == 2
    assert not whole.store.exists(whole.key(0))
    assert all(whole.store.exists(whole.key(index)) for index in (1, 2, 4, 5))
    counts = ledger.counts(whole.id)
    assert (counts.done, counts.analysed) == (4, 1)
    _, issued = ledger.issue(whole.id, 6)
    assert sorted(issued) == [0, 3]
    whole.make(*issued)
    for index in issued:
        ledger.complete(whole.id, index)
    assert whole.check(ledger) == sound()
    assert sorted(ledger.take_ready(whole.id, 6)) == [0, 1]


def test_repair_without_a_ledger_leaves_the_shards_to_the_next_run(whole):
    whole.store.replace(whole.key(0), b"")
    assert repair(whole.store, whole.id, None, whole.check()) == 1
    assert whole.check() == sound(stored=5, images=13, missing=1)


@pytest.mark.parametrize(("wrong", "right"), [(0, 7), (7, 0)])
def test_a_stale_wrong_verdict_does_not_survive_a_repair(whole, wrong, right):
    for analysis_id in (None, "another"):
        whole.analyse(analysis_id=analysis_id, edges=wrong)
    whole.store.replace(whole.key(0), rewritten(whole, 0, other_pixels))
    repair(whole.store, whole.id, None, whole.check())
    others = {"a dog": wrong, "an owl": wrong}
    assert whole.edges() == whole.edges("another") == others
    whole.make(0)
    restored = restore_state(whole.store, whole.plan)
    assert restored.ready == (0,)
    assert restored.analysed.tolist() == [False, True, True]
    whole.analyse("a cat", edges=right)
    assert whole.edges() == {"a cat": right, **others}
    assert restore_state(whole.store, whole.plan).ready == ()


def test_a_hole_has_its_prompts_results_dropped(whole, ledger):
    whole.analyse()
    ledger.restore(whole.id, restore_state(whole.store, whole.plan))
    whole.store.delete(whole.key(3))
    repair(whole.store, whole.id, ledger, whole.check(ledger))
    assert whole.edges().keys() == {"a cat", "an owl"}


def test_a_repair_that_is_killed_leaves_no_stale_verdict_to_the_next(whole, monkeypatch):
    whole.analyse()
    for index in (0, 4):
        whole.store.replace(whole.key(index), b"")
    delete = whole.store.delete

    def die(key):
        if key == whole.key(4):
            raise StoreUnavailableError("Killed; start it again.")
        delete(key)

    with monkeypatch.context() as killed:
        killed.setattr(whole.store, "delete", die)
        with pytest.raises(StoreUnavailableError):
            repair(whole.store, whole.id, None, whole.check())
    assert whole.edges().keys() == {"a dog"}
    assert repair(whole.store, whole.id, None, whole.check()) == 1
    whole.make(0, 4)
    assert restore_state(whole.store, whole.plan).ready == (0, 2)


def test_repair_deletes_no_shard_while_results_cannot_be_read(whole):
    whole.store.replace(whole.key(0), b"")
    whole.store.create(results_part("an", whole.id, "broken"), b"")
    with pytest.raises(ShardCorruptError, match="broken"):
        repair(whole.store, whole.id, None, whole.check())
    assert whole.store.exists(whole.key(0))


def test_repair_deletes_nothing_while_the_broker_is_away(whole, free_port):
    whole.analyse()
    whole.store.replace(whole.key(0), b"")
    away = Ledger(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(BrokerUnavailableError):
        repair(whole.store, whole.id, away, whole.check())
    assert whole.store.exists(whole.key(0))
    assert whole.edges().keys() == set(PROMPTS)


def test_repair_leaves_what_is_sound_parked_or_missing(campaign, ledger):
    campaign.make(0, 1)
    park_unit(campaign.store, campaign.plan, 2)
    ledger.restore(campaign.id, restore_state(campaign.store, campaign.plan))
    before = ledger.counts(campaign.id)
    checkup = campaign.check(ledger)
    assert repair(campaign.store, campaign.id, ledger, checkup) == 0
    assert ledger.counts(campaign.id) == before
    assert campaign.check(ledger) == checkup


@pytest.fixture
def judged(tmp_path):
    """A campaign that keeps flagged prompts' images, and has a receipt in place of one's."""
    campaign = MadeCampaign(FolderStore(tmp_path / "store"), keep="flagged")
    campaign.make(*range(6))
    settings = AnalysisSettings(analysis=Analysis(min_clique_size=6))
    analyst = AnalysisActor(campaign.store.url)
    assert analyst.analyse(
        AnalysisRequest(campaign.id, PROMPTS[1], settings, receipt=True)
    ).receipted
    for index in (2, 3):
        campaign.store.delete(campaign.key(index))
    return campaign


def test_units_whose_images_were_not_to_stay_are_neither_holes_nor_missing(judged, ledger):
    ledger.restore(judged.id, restore_state(judged.store, judged.plan))
    assert judged.check(ledger) == judged.check() == sound(stored=4, receipted=2, images=10)


def test_a_corrupt_receipt_is_found_and_repaired_by_making_its_images_again(judged, ledger):
    ledger.restore(judged.id, restore_state(judged.store, judged.plan))
    key = receipt_key(judged.plan.campaign, judged.plan.unit(2).prompt_id)
    judged.store.replace(key, b"PAR1 no longer")
    checkup = judged.check(ledger)
    assert [(fault.index, fault.key) for fault in checkup.corrupt] == [(2, key), (3, key)]
    assert checkup.receipted == 2
    assert repair(judged.store, judged.id, ledger, checkup) == 2
    assert judged.check(ledger) == sound(stored=4, images=10, missing=2)
    assert not judged.store.exists(key)
