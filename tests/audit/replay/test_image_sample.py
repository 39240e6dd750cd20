"""Stored images are drawn with equal chances, again and again the same, and nothing else is."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from seedsweep.audit.replay import image_sample
from seedsweep.audit.replay.image_sample import sample_images
from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.receipts import receipt_key
from tests.support.campaigns import make_campaign, park_unit

PROMPTS = ["a cat", "a dog", "an owl"]


def make_plan(prompts=PROMPTS, seeds=9, images_per_unit=4, keep="all"):
    sampling = {"seeds": seeds, "first_seed": 10, "images_per_unit": images_per_unit}
    campaign = make_campaign(prompts=len(prompts), keep=keep, **sampling)
    return Plan(campaign, prompts, cut_seeds(campaign.seeds, images_per_unit, {}))


class Desk:
    """A store that has a campaign's units, or some of them: only that they are there matters."""

    def __init__(self, folder, plan):
        self.store, self.plan = FolderStore(folder), plan
        self.made = set()

    def make(self, *indexes):
        for index in indexes:
            self.store.create(unit_shard(self.plan.unit(index)), b"images")
            self.made.add(index)

    def park(self, index):
        park_unit(self.store, self.plan, index)

    def draw(self, count, seed=0):
        return sample_images(self.store, self.plan, count, seed)

    @property
    def images(self):
        """Every stored image."""
        units = [self.plan.unit(index) for index in self.made]
        return {(u.index, s) for u in units for s in range(u.seeds.first, u.seeds.last + 1)}


@pytest.fixture
def desk(tmp_path):
    """Nine units of 4, 4 and 1 images; one prompt's last and another's first are missing."""
    desk = Desk(tmp_path, make_plan())
    desk.make(0, 1, 4, 5, 6, 7, 8)
    return desk


@pytest.fixture(params=["unit by unit", "by listing"])
def way(request, monkeypatch):
    """Both ways to know what is there."""
    if request.param == "by listing":
        monkeypatch.setattr(image_sample, "UNITS_IN_VAIN", 0)


def test_equal_seeds_draw_equal_images_and_others_draw_others(desk, way):
    assert desk.draw(5, seed=3) == desk.draw(5, seed=3)
    assert len({desk.draw(5, seed).images for seed in range(10)}) == 10


def test_more_of_a_draw_begin_with_the_fewer(desk):
    assert desk.draw(9).images[:4] == desk.draw(4).images


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(-5, 5))
def test_none_is_drawn_twice_and_all_where_fewer_are_stored(tmp_path_factory, count, seed):
    desk = Desk(tmp_path_factory.mktemp("store"), make_plan())
    desk.make(0, 1, 4, 5, 6, 7, 8)
    drawn = desk.draw(count, seed).images
    assert len(set(drawn)) == len(drawn) == min(count, len(desk.images))
    assert set(drawn) <= desk.images


def test_every_stored_image_has_the_same_chance(desk, way):
    counts = Counter(image for seed in range(400) for image in desk.draw(5, seed).images)
    assert set(counts) == desk.images
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_pairs_are_as_likely_as_others(desk, way):
    pairs = Counter(frozenset(desk.draw(2, seed).images) for seed in range(2000))
    images = len(desk.images)
    assert chisquare(list(pairs.values())).pvalue > 0.001
    assert len(pairs) > 0.99 * images * (images - 1) / 2


def test_what_was_passed_over_is_told(desk):
    desk.park(3)
    draw = desk.draw(100)
    assert set(draw.images) == desk.images
    assert (draw.not_made, draw.parked) == (1, 4)
    assert desk.draw(1).not_made + desk.draw(1).parked <= 5


def test_a_parked_unit_that_another_campaign_made_is_stored(desk):
    desk.park(0)
    assert desk.draw(100).parked == 0


def test_what_only_a_receipt_knows_is_drawn_too(tmp_path, way):
    desk = Desk(tmp_path, make_plan(keep="flagged"))
    prompt_id = desk.plan.unit(3).prompt_id
    desk.store.create(receipt_key(desk.plan.campaign, prompt_id), b"a receipt")
    desk.made |= {3, 4, 5}
    assert set(desk.draw(100).images) == desk.images


def test_where_nothing_is_stored_nothing_is_drawn(tmp_path, way):
    assert Desk(tmp_path, make_plan()).draw(3).images == ()


def test_of_a_campaign_that_has_hardly_begun_what_is_there_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sample, "UNITS_IN_VAIN", 20)
    desk = Desk(tmp_path, make_plan([f"prompt {i}" for i in range(500)]))
    desk.make(700)
    draw = desk.draw(3)
    assert set(draw.images) < desk.images
    assert len(draw.images) == 3
    assert 20 <= draw.not_made <= 60


class Many(Sequence):
    """As many prompts as the paper has, none of which is held."""

    def __len__(self):
        return 350_000

    def __getitem__(self, index):
        return f"prompt {range(len(self))[index]}"


class Full:
    """A store that has whatever it is asked for."""

    def exists(self, key):
        return True


def test_a_draw_of_175_million_images_holds_little_more_than_what_it_draws():
    plan = make_plan(Many(), seeds=500, images_per_unit=50)
    tracemalloc.start()
    draw = sample_images(Full(), plan, 1000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(draw.images)) == 1000
    assert len({index for index, _ in draw.images}) > 990
    assert peak < 2_000_000
