import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from seedsweep.scheduler.analysing.notices import warn_of_unread
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.errors import ImagesNotKeptError
from seedsweep.storage.receipts import read_receipt, receipt_key
from seedsweep.storage.records import Flaw, Prompt
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule, Verification
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.analysts.stored_prompt import read_prompt
from tests.support.pictures import data_of
from tests.support.templates import noise, template

SETTINGS = AnalysisSettings(analysis=Analysis(min_clique_size=4))
STRICTER = AnalysisSettings(analysis=Analysis(min_clique_size=4, edge_threshold=0.05))
LOOSER = AnalysisSettings(analysis=Analysis(min_clique_size=4, edge_threshold=0.9))
PARTIAL = AnalysisSettings(
    analysis=Analysis(min_clique_size=4, partial=True, parts=PartRule(grid=4, least=3))
)
FULL = AnalysisSettings(analysis=Analysis(min_clique_size=4, matrix="full"))


def unlike(count):
    """Pictures so unlike one another that descriptors tell."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 2, 2, 3)).repeat(8, axis=1).repeat(8, axis=2)


def undecided(count):
    """Pictures of which descriptors cannot tell that they are unlike: equal over all blocks."""
    rng = np.random.default_rng(0)
    swapped = rng.integers(0, 2, (count, 16, 16, 1), dtype=np.uint8)
    swapped[:, :, 1::2] = 1 - swapped[:, :, ::2]
    return np.repeat(swapped * 200, 3, axis=3)


def same(analysed):
    """What does not differ from one time to another."""
    return replace(analysed, seconds=0, effort=None)


class Audited:
    """A prompt in a store, and one analyst of it."""

    def __init__(self, stored):
        self.stored, self.store = stored, stored.store
        self.campaign = stored.submission.campaign
        store_campaign(self.store, stored.submission, [stored.text])
        self._analyst = AnalysisActor(self.store.url)

    def analyse(self, settings=SETTINGS, receipt=True):
        request = AnalysisRequest(self.campaign.campaign_id, self.stored.text, settings, receipt)
        return self._analyst.analyse(request)

    def receipt(self):
        return read_receipt(self.store, self.campaign, Prompt(text=self.stored.text).prompt_id)

    def drop(self, *places):
        for place in places or range(len(self.stored.keys)):
            self.store.delete(self.stored.keys[place])


@pytest.fixture
def audited(store_prompt):
    """Have a prompt of a campaign that keeps flagged ones in three shards."""

    def put(pictures):
        return Audited(store_prompt(pictures.astype(np.uint8), per_shard=4, keep="flagged"))

    return put


def test_a_receipt_holds_all_that_is_known_of_the_images_but_their_pictures(audited):
    prompt = audited(unlike(12))
    before = read_prompt(prompt.store, prompt.stored.submission, prompt.stored.text)
    analysed = prompt.analyse()
    assert analysed.receipted
    receipt = prompt.receipt()
    assert receipt.images == before.images
    assert (receipt.analysis_id, receipt.result) == (SETTINGS.analysis_id, analysed.result)


def test_flagged_prompts_and_requests_that_want_none_leave_no_receipt(audited):
    flagged = audited(unlike(1).repeat(12, axis=0))
    assert flagged.analyse().value.flagged
    assert not flagged.analyse().receipted
    unflagged = audited(unlike(12))
    assert not unflagged.analyse(receipt=False).receipted
    assert flagged.receipt() is unflagged.receipt() is None


@pytest.mark.parametrize("lacks", ["corrupt", "missing"])
def test_a_prompt_that_lacks_images_leaves_no_receipt_since_they_may_still_come(audited, lacks):
    prompt = audited(unlike(12))
    if lacks == "missing":
        prompt.drop(1)
    else:
        prompt.store.replace(prompt.stored.keys[1], b"PAR1 no longer")
    analysed = prompt.analyse()
    assert analysed.value.seeds == 8
    assert (analysed.missing, analysed.corrupt) == (
        ((1,), ()) if lacks == "missing" else ((), (prompt.stored.keys[1],))
    )
    assert not analysed.receipted
    assert prompt.receipt() is None


@pytest.mark.parametrize("pictures", [unlike(12), undecided(12)], ids=["unlike", "undecided"])
@pytest.mark.parametrize("dropped", [(), (0,), (1, 2), (0, 1, 2)])
def test_once_there_is_a_receipt_the_same_analysis_says_the_same_without_the_images(
    audited, pictures, dropped
):
    """So whatever ended before all of them were deleted is gone on with."""
    prompt = audited(pictures)
    before = prompt.analyse()
    if dropped:
        prompt.drop(*dropped)
    again = prompt.analyse()
    assert same(again) == same(before)
    assert again.receipted


def test_a_stricter_analysis_without_images_says_what_one_with_them_says(audited, store_prompt):
    prompt = audited(unlike(12))
    expected = prompt.analyse(STRICTER, receipt=False).value
    prompt.analyse()
    prompt.drop()
    again = prompt.analyse(STRICTER, receipt=False)
    assert again.value == expected
    assert prompt.receipt().analysis_id == SETTINGS.analysis_id


@pytest.mark.parametrize(
    ("pictures", "settings"),
    [(unlike(12), LOOSER), (unlike(12), FULL), (undecided(12), STRICTER)],
    ids=["looser", "full", "undecided"],
)
def test_an_analysis_that_wants_pictures_is_refused_instead_of_done_without_them(
    audited, pictures, settings
):
    prompt = audited(pictures)
    prompt.analyse()
    prompt.drop(0)
    analysed = prompt.analyse(settings)
    assert analysed.result is None
    assert isinstance(analysed.error, ImagesNotKeptError)
    assert "'a cat'" in str(analysed.error)
    assert 'keep = "all"' in str(analysed.error)


def test_images_that_were_made_again_are_looked_at_again(audited, store_prompt):
    prompt = audited(unlike(12))
    prompt.analyse()
    prompt.drop()
    store_prompt(unlike(12).astype(np.uint8), per_shard=4, keep="flagged")
    assert prompt.analyse(FULL).value == prompt.analyse(FULL, receipt=False).value


def test_a_corrupt_receipt_is_named_and_what_it_covered_is_missing(audited):
    prompt = audited(unlike(12))
    prompt.analyse()
    prompt.drop(1)
    key = receipt_key(prompt.campaign, Prompt(text=prompt.stored.text).prompt_id)
    prompt.store.replace(key, b"PAR1 no longer")
    analysed = prompt.analyse()
    assert (analysed.corrupt, analysed.missing) == ((key,), (1,))
    assert analysed.value.seeds == 8


def test_a_corrupt_shard_is_no_matter_once_there_is_a_receipt(audited):
    prompt = audited(unlike(12))
    before = prompt.analyse()
    prompt.store.replace(prompt.stored.keys[1], b"PAR1 no longer")
    assert same(prompt.analyse()) == same(before)


def test_a_campaign_that_keeps_all_takes_no_receipt_for_an_image(store_prompt):
    stored = Audited(store_prompt(unlike(12).astype(np.uint8), per_shard=4))
    assert stored.analyse().receipted
    stored.drop(2)
    assert stored.analyse().missing == (2,)


def test_it_says_what_of_the_training_set_could_not_be_read(audited, tmp_path, caplog):
    train = tmp_path / "train"
    train.mkdir()
    (train / "a.png").write_bytes(data_of(unlike(1)[0].astype(np.uint8)))
    (train / "b.png").write_bytes(b"no picture")
    (train / "c.json").write_text("{}")
    verification = Verification(training_set=str(train))
    prompt = audited(unlike(1).repeat(12, axis=0))
    analysed = prompt.analyse(SETTINGS.model_copy(update={"verification": verification}))
    assert analysed.value.match.training_id == "a.png"
    assert (analysed.training.read, analysed.training.pictures) == (1, 2)
    warned = set()
    for item in (analysed, analysed, prompt.analyse()):
        warn_of_unread(item, warned)
    [message] = [r.message for r in caplog.records if "notices" in r.name]
    assert message.startswith(f"{prompt.campaign.campaign_id}: 1 of 2 pictures of the training set")
    assert "1 could not be read: b.png (" in message
    assert message.endswith("Left out: 1 .json.")


def test_a_part_that_repeats_is_found_where_it_is_looked_for_and_its_mask_is_stored(store_prompt):
    rng = np.random.default_rng(0)
    tiles = slice(8, 24), slice(8, 32)
    pictures = np.concatenate([noise(rng, 3), template(rng, 5, *tiles), noise(rng, 2)])
    audited = Audited(store_prompt(pictures, per_shard=4))
    without = audited.analyse().value
    assert (without.flagged, without.parts, without.flagged_partial) == (False, (), False)
    analysed = audited.analyse(PARTIAL)
    found = analysed.value
    [part] = found.parts
    assert (part.seeds, part.tiles) == ((3, 4, 5, 6, 7), (5, 6, 7, 9, 10, 11))
    assert part.whole_seeds == part.seeds
    assert part.representative_seed in part.seeds
    assert (found.flagged, found.flagged_partial, found.parts_proven) == (False, True, True)
    key = keys.mask(PARTIAL.analysis_id, audited.campaign.campaign_id, found.prompt_id, 0)
    mask = np.asarray(Image.open(io.BytesIO(audited.store.read(key))))
    assert mask.shape == (32, 32)
    assert set(np.unique(mask)) <= {0, 255}
    steady = pictures[3:8, *tiles].std(axis=0)
    outside = np.ones((32, 32), dtype=bool)
    outside[tiles] = False
    assert not mask[outside].any()
    expected = np.sqrt(np.square(steady / 255).mean(axis=2)) <= 0.06
    assert ((mask[tiles] == 255) == expected).all()
    assert part.share == pytest.approx(expected.sum() / 32**2)


def test_images_of_a_prompt_that_repeats_a_part_are_kept_as_those_of_a_flagged_one(store_prompt):
    rng = np.random.default_rng(0)
    pictures = template(rng, 5, slice(8, 24), slice(8, 32))
    audited = Audited(store_prompt(pictures, keep="flagged"))
    assert not audited.analyse(PARTIAL).receipted
    assert audited.receipt() is None
    assert audited.analyse().receipted


def test_a_whole_picture_that_repeats_is_no_part(store_prompt):
    rng = np.random.default_rng(0)
    pictures = np.concatenate([noise(rng, 3), np.repeat(noise(rng), 5, axis=0)])
    found = Audited(store_prompt(pictures)).analyse(PARTIAL).value
    assert (found.clique_seeds, found.parts) == ((3, 4, 5, 6, 7), ())


def test_a_prompt_without_a_usable_picture_has_no_part(store_prompt):
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    flaws = dict.fromkeys(range(4), Flaw.CONSTANT)
    found = Audited(store_prompt(pictures, flaws)).analyse(PARTIAL).value
    assert (found.excluded, found.parts) == (4, ())
