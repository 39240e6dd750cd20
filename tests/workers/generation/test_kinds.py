"""Work of several kinds on one worker: one claim, one lease, one shard for each unit."""

import pytest

from seedsweep.scheduler.campaign.file import resolve_model
from seedsweep.storage.campaigns import load_parked, store_campaign
from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.scores import Scored, decode_scores, encode_scores, read_scores
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Stage
from seedsweep.workers.generation import failures, loaded_models
from seedsweep.workers.generation.kinds import KINDS
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.screening.screen import screen_prompt
from tests.support.campaigns import make_campaign, make_submission, noise_model, nothing_done
from tests.support.membership import Membership
from tests.support.tiny_model import save_tiny_model

PROMPTS = ["a cat", "a dog"]
STAGES = (Stage(screen="noise-magnitude", above=1.0, seeds=2),)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def work(store, ledger, workforce, wait_until):
    """Have one worker do all units of a campaign, whose units are these pieces of each prompt."""

    def work(campaign, pieces, kinds=KINDS):
        submission = make_submission(campaign)
        store_campaign(store, submission, PROMPTS)
        ledger.restore(campaign.campaign_id, nothing_done(2, per_prompt=len(pieces)))
        renderer = Renderer(store, ledger, workforce, "worker-of-kinds", kinds=kinds)
        units = {}
        while True:
            token, indexes = ledger.issue(campaign.campaign_id, 1)
            if not indexes:
                counts = ledger.counts(campaign.campaign_id)
                if counts.remaining == 0:
                    break
                wait_until(lambda: ledger.counts(campaign.campaign_id).claimed == 0)
                continue
            prompt, place = divmod(indexes[0], len(pieces))
            kind, kind_id, seeds = pieces[place]
            units[indexes[0]] = WorkUnit(
                campaign_id=campaign.campaign_id,
                generation_id=campaign.generation_id,
                index=indexes[0],
                token=token,
                prompt=PROMPTS[prompt],
                seeds=seeds,
                kind=kind,
                kind_id=kind_id,
            )
            renderer.render(units[indexes[0]])
        why_out = renderer.why_out
        renderer.close()
        return [units[index] for index in sorted(units)], why_out

    return work


def test_a_screens_shard_holds_the_scores_of_the_model(tmp_path, store, work):
    save_tiny_model(tmp_path / "model")
    model = resolve_model(Model(path="model"), tmp_path)
    campaign = make_campaign(model=model, stages=STAGES, steps=2, first_seed=5)
    (screen,) = campaign.screens
    seeds = SeedRange(first=5, last=6)
    pieces = [("screen", campaign.screen_id(screen), seeds), ("generate", "", seeds)]
    units, _ = work(campaign, pieces)
    pipeline = load_pipeline(store, campaign, "cpu", 1)
    for unit in units:
        assert store.exists(unit_shard(unit))
    for unit in units[::2]:
        told = read_scores(store, unit_shard(unit))
        expected = screen_prompt(pipeline, unit.prompt, [5, 6], screen)
        assert told.scores == tuple(expected.tolist())
        assert (told.device, told.threads) == ("cpu", 1)
        assert "diffusers" in told.versions


def test_a_model_that_no_screen_can_look_inside_makes_its_images_all_the_same(store, work):
    campaign = make_campaign(stages=STAGES)
    (screen,) = campaign.screens
    seeds = SeedRange(first=0, last=1)
    pieces = [("screen", campaign.screen_id(screen), seeds), ("generate", "", seeds)]
    units, why_out = work(campaign, pieces)
    parked = [unit for unit in units if not store.exists(unit_shard(unit))]
    assert [unit.kind for unit in parked] == ["screen", "screen"]
    assert why_out == ""


def test_membership_over_two_models_needs_nothing_but_a_kind(store, work, monkeypatch):
    loads = []

    def load(store, campaign, device, threads):
        loads.append(campaign.model.path)
        return load_pipeline(store, campaign, device, threads)

    monkeypatch.setattr(loaded_models, "load_pipeline", load)
    membership = Membership({"target": noise_model("target"), "shadow": noise_model("shadow")})
    wanted = ["target", "shadow", "target-shadow", "shadow-target"]
    pieces = [
        ("membership", models, SeedRange(first=seed, last=seed))
        for seed, models in enumerate(wanted)
    ]
    units, _ = work(make_campaign(), pieces, {**KINDS, "membership": membership})
    told = [membership.told(store, unit) for unit in units]
    assert told == [models.split("-") for models in wanted] * 2
    assert loads == ["target", "shadow", "target", "shadow", "target"]
    assert sorted(membership.made) == list(range(8))


def test_a_unit_of_a_kind_that_the_worker_does_not_know_is_handed_back(
    store, ledger, workforce, monkeypatch
):
    monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0)
    campaign = make_campaign()
    store_campaign(store, make_submission(campaign), PROMPTS)
    ledger.restore(campaign.campaign_id, nothing_done(2))
    token, (index,) = ledger.issue(campaign.campaign_id, 1)
    renderer = Renderer(store, ledger, workforce, "worker-of-kinds")
    unit = WorkUnit(
        campaign_id=campaign.campaign_id,
        generation_id=campaign.generation_id,
        index=index,
        token=token,
        prompt=PROMPTS[0],
        seeds=SeedRange(first=0, last=5),
        kind="inpaint",
    )
    renderer.render(unit)
    renderer.close()
    counts = ledger.counts(campaign.campaign_id)
    assert (counts.claimed, counts.failing, counts.parked) == (0, 0, 0)
    assert load_parked(store, campaign.campaign_id) == []


def screen_unit(**changes):
    usual = {
        "campaign_id": "c",
        "generation_id": "a" * 16,
        "index": 0,
        "prompt": "a cat",
        "seeds": SeedRange(first=3, last=4),
        "kind": "screen",
        "kind_id": "b" * 16,
    }
    return WorkUnit(**usual | changes)


def test_a_unit_of_images_is_told_as_before():
    usual = screen_unit(kind="generate", kind_id="")
    assert not {"kind", "kind_id"} & usual.model_dump().keys()
    assert unit_shard(usual).startswith("shards/")
    assert WorkUnit.model_validate(usual.model_dump(mode="json")) == usual


def test_scores_come_back_as_they_were_stored():
    unit, nan = screen_unit(), float("nan")
    data = encode_scores(unit, Scored((0.1, nan), "cuda:0", 2, "torch 2"))
    told = decode_scores(data, unit_shard(unit))
    assert told.scores[0] == 0.1
    assert told.scores[1] != told.scores[1]
    assert told.score != told.score
    assert (told.device, told.threads, told.versions) == ("cuda:0", 2, "torch 2")
    assert Scored((0.25, 0.75), "", 1, "").score == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a dog"},
        {"kind_id": "c" * 16},
        {"seeds": SeedRange(first=4, last=5)},
    ],
)
def test_scores_of_another_unit_are_refused(changes):
    data = encode_scores(screen_unit(), Scored((0.1, 0.2), "cpu", 1, "v"))
    with pytest.raises(ShardCorruptError, match="--repair"):
        decode_scores(data, unit_shard(screen_unit(**changes)))
    with pytest.raises(ShardCorruptError):
        decode_scores(data[:-9], unit_shard(screen_unit()))
