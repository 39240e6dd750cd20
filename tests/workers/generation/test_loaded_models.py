"""The models that a worker holds, on a device with room for so many of them."""

import gc

import pytest

from seedsweep.storage.errors import DeviceMemoryError, ModelLoadError, TransientError
from seedsweep.workers.generation import loaded_models
from seedsweep.workers.generation.loaded_models import LoadedModels
from seedsweep.workers.monitoring import metrics
from tests.support.campaigns import make_campaign, noise_model


class Device:
    """What is loaded on it; at most `room` models at once, and none that is `broken`."""

    def __init__(self, room):
        self.room, self.broken, self.loads, self.there = room, {}, [], set()
        self.too_much = set()

    def load(self, store, campaign, device, threads):
        path = campaign.model.path
        self.loads.append(path)
        if error := self.broken.get(path):
            raise error
        if len(self.there) >= self.room:
            raise DeviceMemoryError(f"{path} does not fit.")
        return Loaded(self, path, campaign.sampling.steps)


class Loaded:
    """A pipeline that takes up room until nothing holds it any more."""

    def __init__(self, device, path, steps):
        self.device, self.path, self.steps = device, path, steps
        device.there.add(id(self))

    def __del__(self):
        self.device.there.discard(id(self))

    def with_sampling(self, sampling):
        self.steps = sampling.steps
        return self

    def tell(self, *_):
        if len(self.device.there) > 1 and self.path in self.device.too_much:
            raise DeviceMemoryError("A picture does not fit.")
        return f"{self.path}{self.steps}"


@pytest.fixture
def device(monkeypatch):
    device = Device(room=2)
    monkeypatch.setattr(loaded_models, "load_pipeline", device.load)
    gc.disable()
    yield device
    gc.enable()


@pytest.fixture
def models(device):
    return LoadedModels(None, "cuda:0", 1)


def wanted(*paths, steps=1):
    return [make_campaign(model=noise_model(path), steps=steps) for path in paths]


def ask(models, *paths, steps=1):
    return models.ask(wanted(*paths, steps=steps), lambda pipeline, _: pipeline.tell())


def test_models_that_are_wanted_together_stay_loaded_together(models, device):
    for _ in range(3):
        assert ask(models, "a", "b") == ["a1", "b1"]
    assert ask(models, "b", "a") == ["b1", "a1"]
    assert device.loads == ["a", "b"]
    assert models.name == "a + b"


def test_a_model_that_is_still_wanted_stays_and_the_other_goes_before_the_next_is_loaded(
    models, device
):
    ask(models, "a")
    ask(models, "a", "b")
    ask(models, "b", "c")
    ask(models, "c")
    assert device.loads == ["a", "b", "c"]
    assert len(device.there) == 1


def test_models_that_do_not_fit_together_take_turns_with_one_loading_a_unit(models, device, caplog):
    device.room = 1
    before = metrics.MODEL_SWITCHES._value.get()
    for _ in range(4):
        assert ask(models, "a", "b") == ["a1", "b1"]
    # The first unit finds out: its second model is loaded twice.
    assert device.loads == ["a", "b", "b", "a", "b", "a"]
    assert metrics.MODEL_SWITCHES._value.get() == before + 4
    (said,) = (r.message for r in caplog.records if "take turns" in r.message)
    assert said.startswith("The models a and b do not fit on cuda:0 together")


def test_models_whose_pictures_do_not_fit_beside_another_take_turns_too(models, device):
    device.too_much = {"a"}
    assert ask(models, "a", "b") == ask(models, "a", "b") == ["a1", "b1"]
    assert len(device.there) == 1


def test_what_does_not_fit_alone_fails_and_the_next_unit_has_its_models_together(models, device):
    def fail(pipeline, _):
        raise DeviceMemoryError("One picture is too much.")

    for paths in (["a"], ["a", "b"]):
        with pytest.raises(DeviceMemoryError, match="too much"):
            models.ask(wanted(*paths), fail)
    assert ask(models, "a", "b") == ["a1", "b1"]
    assert len(device.there) == 2


@pytest.mark.parametrize("room", [1, 2])
def test_a_model_that_cannot_be_loaded_fails_each_unit_at_once_and_leaves_the_other_loaded(
    models, device, room
):
    device.room, device.broken = room, {"b": ModelLoadError("b is broken.")}
    for _ in range(3):
        with pytest.raises(ModelLoadError, match="b is broken"):
            ask(models, "a", "b")
    assert ask(models, "a") == ["a1"]
    assert device.loads == ["a", "b"]


def test_a_model_whose_files_are_away_is_tried_again(models, device):
    device.broken = {"b": TransientError("The store is away.")}
    with pytest.raises(TransientError):
        ask(models, "a", "b")
    device.broken = {}
    assert ask(models, "a", "b") == ["a1", "b1"]
    assert device.loads == ["a", "b", "b"]


def test_a_model_that_its_first_work_shows_to_be_unfit_is_asked_no_more(models, device):
    ask(models, "a", "b")
    models.refuse(wanted("b")[0], ModelLoadError("b makes nothing."))
    with pytest.raises(ModelLoadError, match="b makes nothing"):
        ask(models, "a", "b")
    assert ask(models, "a") == ["a1"]
    assert device.loads == ["a", "b"]


def test_two_models_of_one_id_are_loaded_once_and_a_recipe_is_changed_without_loading(
    models, device
):
    twice = [*wanted("a", steps=1), *wanted("a", steps=2)]
    assert models.ask(twice, lambda pipeline, _: pipeline.tell()) == ["a1", "a2"]
    assert ask(models, "a", "b", steps=3) == ["a3", "b3"]
    assert device.loads == ["a", "b"]
