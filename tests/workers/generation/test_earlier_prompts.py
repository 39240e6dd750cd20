"""Prompts that are the same to the model: their pictures are made once, and shared."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from seedsweep.scheduler.campaign.file import resolve_model
from seedsweep.scheduler.campaign.integrity import check_campaign, repair
from seedsweep.scheduler.campaign.plan import Plan, image_counts
from seedsweep.scheduler.campaign.progress import read_progress
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.scheduler.costs.reckoning import reckon, usual_sizes
from seedsweep.scheduler.costs.stock import take_stock
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.prompts import digest_prompts
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Unseen, WorkUnit, prompt_id_of
from seedsweep.storage.scores import read_scores
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, Stage
from seedsweep.storage.shards import decode_shard, encode_shard
from seedsweep.workers.generation import loaded_models
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.generation.throughput import Throughput
from seedsweep.workers.images import digest_pixels
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign
from tests.support.tiny_model import save_tiny_model

TEXTS = ["A cat", "a cat", "a dog"]
"""The first two are the same to a tokenizer that sees no capitals."""


class Watched:
    """A pipeline that notes what it makes."""

    def __init__(self, pipeline, made):
        self.pipeline, self.made = pipeline, made

    def generate(self, prompt, seeds):
        self.made.append((prompt, seeds[0]))
        return self.pipeline.generate(prompt, seeds)

    def reads_alike(self, prompt, other):
        return self.pipeline.reads_alike(prompt, other)

    def predict(self, prompt, seeds, **settings):
        self.made.append((prompt, seeds[0]))
        return self.pipeline.predict(prompt, seeds, **settings)


class Silent(Watched):
    """One that cannot say which prompts are one to it."""

    reads_alike = None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder / "model")
    return resolve_model(Model(path="model"), folder)


@pytest.fixture(scope="module")
def loaded(model):
    """One pipeline for all tests, whose recipe each of them sets."""
    return load_pipeline(None, campaign_of(model), "cpu", 1)


def campaign_of(model, texts=TEXTS, **changes):
    campaign = make_campaign(
        model=model, **{"steps": 2, "seeds": 4, "images_per_unit": 2} | changes
    )
    digest = digest_prompts(map(prompt_id_of, texts))
    prompts = PromptList(file="prompts.txt", digest=digest, count=len(texts))
    return campaign.model_copy(update={"prompts": prompts})


class Sharing:
    """A campaign that one worker works off, a unit at a time."""

    def __init__(self, store, ledger, workforce, campaign, texts, wait_until):
        self.store, self.ledger, self.wait_until = store, ledger, wait_until
        submission = submit_campaign(store, plan_campaign(store, campaign, texts))
        self.plan = load_plan(store, submission)
        self.id = campaign.campaign_id
        self.made = []
        ledger.restore(self.id, restore_state(store, self.plan))
        self.renderer = Renderer(store, ledger, workforce, "worker")

    def step(self):
        """Give the worker the next unit, and have it settled; returns its index."""
        token, indexes = self.ledger.issue(self.id, 1)
        for index in indexes:
            self.renderer.render(self.plan.unit(index, token))
        self.wait_until(lambda: self.ledger.counts(self.id).claimed == 0)
        return indexes

    def finish(self):
        while self.ledger.counts(self.id).remaining:
            self.step()

    def key(self, index):
        return unit_shard(self.plan.unit(index))

    def images(self, index):
        return decode_shard(self.store.read(self.key(index)), self.key(index))

    def pixels(self, *indexes):
        return [image.sha256 for index in indexes for image in self.images(index)]


@pytest.fixture
def share(tmp_path, ledger, workforce, model, loaded, wait_until, monkeypatch):
    """Submit a campaign that a worker of ours works off, with a pipeline of this kind."""
    begun = []

    def share(kind=Watched, texts=TEXTS, **changes):
        campaign = campaign_of(model, texts, **changes)
        sharing = Sharing(FolderStore(tmp_path), ledger, workforce, campaign, texts, wait_until)
        begun.append(sharing)

        def load(store, wanted, device, threads):
            return kind(loaded.with_sampling(wanted.sampling), sharing.made)

        monkeypatch.setattr(loaded_models, "load_pipeline", load)
        return sharing

    yield share
    for sharing in begun:
        sharing.renderer.close()


def test_pictures_of_an_equal_prompt_are_written_again_and_not_made(share, loaded):
    sharing = share()
    sharing.finish()
    assert sharing.made == [("A cat", 0), ("A cat", 2), ("a dog", 0), ("a dog", 2)]
    rendered = loaded.with_sampling(sharing.plan.campaign.sampling).generate("a cat", range(4))
    for index in (2, 3):
        for image, earlier in zip(sharing.images(index), sharing.images(index - 2), strict=True):
            assert image == replace(earlier, same_as=prompt_id_of("A cat"))
    assert sharing.pixels(2, 3) == [digest_pixels(picture.pixels) for picture in rendered]


def test_what_is_shared_is_counted_apart(share):
    sharing = share()
    planned = take_stock(sharing.store, sharing.plan)
    assert (planned.images_to_share, planned.places_left) == (4, 2 * 2 * 4)
    rate = Throughput.given("cpu", 1.0)
    told = reckon(planned, rate, usual_sizes(sharing.plan.campaign.sampling))
    assert "12, 8 to be made and 4 shared" in str(told)
    sharing.finish()
    assert sharing.renderer._images == 8
    progress = read_progress(sharing.store, sharing.id, None, None)
    assert (progress.images_done, progress.images_shared) == (12, 4)
    checkup = check_campaign(sharing.store, sharing.id, None, lambda *_: None)
    assert (checkup.images, checkup.images_shared, checkup.corrupt) == (12, 4, ())


def cut_short(sharing):
    sharing.store.replace(sharing.key(0), sharing.store.read(sharing.key(0))[:-100])


def mix_up(sharing):
    """A shard that is whole, with pictures that are not those it names."""
    first, second = sharing.images(0)
    wrong = [replace(first, png=second.png), replace(second, png=first.png)]
    sharing.store.replace(sharing.key(0), encode_shard(sharing.plan.unit(0), wrong))


def remove(sharing):
    sharing.store.delete(sharing.key(0))


@pytest.mark.parametrize("harm", [cut_short, mix_up, remove])
def test_what_cannot_be_taken_over_is_made_with_the_same_pixels(share, harm):
    sharing = share()
    sharing.step()
    sharing.step()
    before = sharing.pixels(0, 1)
    harm(sharing)
    sharing.finish()
    assert ("a cat", 0) in sharing.made
    assert ("a cat", 2) not in sharing.made
    assert sharing.pixels(2, 3) == before
    assert [bool(image.same_as) for image in sharing.images(2) + sharing.images(3)] == [
        *(False, False),
        *(True, True),
    ]


def test_a_unit_that_comes_before_its_earlier_one_is_postponed_once(share):
    sharing = share(images_per_unit=4)
    token, (first, second) = sharing.ledger.issue(sharing.id, 2)
    sharing.renderer.render(sharing.plan.unit(second, token))
    assert (sharing.made, sharing.ledger.counts(sharing.id).claimed) == ([], 0)
    assert sharing.step() == [second]  # it comes again first, and the other one is not there yet
    assert sharing.made == [("a cat", 0)]
    sharing.renderer.render(sharing.plan.unit(first, token))
    sharing.finish()
    assert sharing.pixels(0) == sharing.pixels(1)


def test_a_unit_waits_for_what_the_worker_itself_is_storing(share, monkeypatch):
    sharing = share(images_per_unit=4)
    may_store, create = threading.Event(), sharing.store.create
    monkeypatch.setattr(sharing.store, "create", lambda *args: may_store.wait(60) and create(*args))
    token, (first, second) = sharing.ledger.issue(sharing.id, 2)
    sharing.renderer.render(sharing.plan.unit(first, token))
    sharing.renderer.render(sharing.plan.unit(second, token))
    for _ in range(3):
        token, indexes = sharing.ledger.issue(sharing.id, 1)
        assert indexes == [second]
        sharing.renderer.render(sharing.plan.unit(second, token))
    may_store.set()
    sharing.wait_until(lambda: sharing.ledger.counts(sharing.id).claimed == 0)
    sharing.finish()
    assert [prompt for prompt, _ in sharing.made] == ["A cat", "a dog"]


def test_a_pipeline_that_cannot_say_what_is_one_to_it_makes_all(share):
    sharing = share(Silent)
    sharing.finish()
    assert [prompt for prompt, _ in sharing.made] == [text for text in TEXTS for _ in range(2)]


def test_prompts_that_only_the_plan_takes_for_one_are_made(share, monkeypatch):
    sharing = share(texts=["a cat", "a cow", "a cow?"])
    wrong = sharing.plan.unit(2).model_copy(update={"same_as": "a cat"})
    sharing.step()
    sharing.step()
    token, (index,) = sharing.ledger.issue(sharing.id, 1)
    sharing.renderer.render(wrong.model_copy(update={"index": index, "token": token}))
    sharing.finish()
    assert ("a cow", 0) in sharing.made


def test_a_repaired_copy_is_taken_over_again(share):
    sharing = share()
    sharing.finish()
    sharing.store.replace(sharing.key(2), b"spoilt")
    checkup = check_campaign(sharing.store, sharing.id, sharing.ledger, lambda *_: None)
    assert [fault.index for fault in checkup.corrupt] == [2]
    repair(sharing.store, sharing.id, sharing.ledger, checkup)
    sharing.made.clear()
    sharing.finish()
    assert (sharing.made, sharing.pixels(2)) == ([], sharing.pixels(0))


def test_scores_of_a_screen_are_shared_too(share):
    stages = (Stage(screen="noise-magnitude", above=1.0, seeds=2),)
    sharing = share(stages=stages)
    while sharing.step():
        pass
    screened = [read_scores(sharing.store, sharing.key(index)) for index in (0, 3, 6)]
    assert [prompt for prompt, _ in sharing.made] == ["A cat", "a dog"]
    assert screened[1] == replace(screened[0], same_as=prompt_id_of("A cat"))
    assert screened[2].same_as == ""


def test_what_a_plug_in_makes_of_prompts_is_its_own():
    cuts = (SeedRange(first=0, last=5),)
    plan = Plan(make_campaign(), TEXTS, cuts, unseen=Unseen(same=((1, 0),)))
    assert (plan.unit(1).same_as, plan.shares) == ("", False)
    done = np.ones(3, dtype=np.bool_)
    assert image_counts(plan.campaign, cuts, done, None, plan.unseen).shared == 0


def test_images_that_are_not_kept_are_not_counted_as_shared(share):
    plan = share(keep="flagged").plan
    done = np.ones(len(plan), dtype=np.bool_)
    counted = image_counts(plan.campaign, plan.cuts, done, None, plan.unseen)
    assert plan.same_as
    assert (plan.shares, counted.shared, counted.to_share) == (False, 0, 0)


def test_a_unit_without_an_earlier_prompt_is_sent_as_before(model):
    unit = WorkUnit(
        campaign_id="c",
        generation_id="0" * 16,
        index=0,
        prompt="a cat",
        seeds={"first": 0, "last": 1},
    )
    assert "same_as" not in unit.model_dump_json()
    assert WorkUnit.model_validate_json(unit.model_dump_json()) == unit
    assert unit.earlier is None
