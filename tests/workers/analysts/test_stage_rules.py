from itertools import combinations

import numpy as np
import pytest

from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.prompt_results import Drop
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import Sampling, Stage
from seedsweep.workers.analysis.inner_products import products
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.analysts.cost import Tally
from seedsweep.workers.analysts.stage_rules import NEAR, is_sampled, standing
from seedsweep.workers.pipelines.noise import NoisePipeline, noise_share
from tests.support.campaigns import campaign_file, make_campaign, make_images, submit_file
from tests.support.templates import template

SEEDS, SIDE = 24, 16
PROMPTS = [f"prompt {number}" for number in range(12)]
STAGES = ({"seeds": 6}, {"seeds": 12, "min_clique_size": 3})


@pytest.fixture
def staged(tmp_path):
    """Have a campaign with stages submitted to a store of its own."""

    def submit(missed_sample=0.0, side=SIDE, tables=(), **changes):
        file = campaign_file(
            tmp_path / "campaign.toml",
            PROMPTS,
            sampling={"seeds": SEEDS, "width": side, "height": side, "images_per_unit": 4},
            analysis={"tiles": 2, "min_clique_size": 5, **changes},
            stages=STAGES,
            missed_sample=missed_sample,
            **dict(tables),
        )
        store = FolderStore(tmp_path / "store")
        return store, submit_file(store, file)

    return submit


def units_of(plan, prompt, stage):
    """The indexes of a prompt's units up to a stage."""
    first = PROMPTS.index(prompt) * len(plan.cuts)
    return range(first, first + plan.stage_ends[stage - 1])


def where(store, plan, prompt, settled=1):
    submission = load_campaign(store, plan.campaign.campaign_id)
    return standing(store, submission, prompt, PROMPTS.index(prompt), settled, products, Tally())


def alike(prompt, seeds, threshold, size):
    """The rule, told again slowly: so many of these pictures, each within the threshold of each."""
    pipeline = NoisePipeline(Sampling(seeds=SEEDS, width=SIDE, height=SIDE))
    pictures = [g.pixels.astype(float) / 255 for g in pipeline.generate(prompt, range(seeds))]
    half = SIDE // 2
    tiles = [
        [picture[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        for picture in pictures
    ]

    def near(one, other):
        pairs = zip(tiles[one], tiles[other], strict=True)
        return max(np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs) <= threshold

    return any(
        all(near(*pair) for pair in combinations(chosen, 2))
        for chosen in combinations(range(seeds), size)
    )


def test_units_end_where_stages_do(staged):
    _, plan = staged()
    assert [len(cut) for cut in plan.cuts] == [4, 2, 4, 2, 4, 4, 4]
    assert plan.stage_ends == (2, 4, 7)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_goes_as_far_as_the_rules_say(staged, prompt):
    store, plan = staged()
    make_images(store, plan, units_of(plan, prompt, 3))
    found = where(store, plan, prompt)
    expected = 3
    for number, (seeds, size) in enumerate([(6, 2), (12, 3)], start=1):
        if not alike(prompt, seeds, 0.1, size):
            near = alike(prompt, seeds, NEAR * 0.1, size)
            assert found.drop == Drop(stage=number, near=near, sampled=False)
            expected = number
            break
    else:
        assert found.drop is None
    assert found.stage == expected


def test_what_else_is_stored_does_not_matter(staged):
    store, plan = staged()
    for prompt in PROMPTS:
        make_images(store, plan, units_of(plan, prompt, 1))
    few = {prompt: where(store, plan, prompt) for prompt in PROMPTS}
    for prompt in PROMPTS:
        make_images(store, plan, list(units_of(plan, prompt, 3))[2:])
    everything = {prompt: where(store, plan, prompt) for prompt in PROMPTS}
    dropped = [prompt for prompt in PROMPTS if few[prompt].drop]
    assert dropped
    assert all(everything[prompt] == few[prompt] for prompt in dropped)
    assert all(few[prompt].stage == 2 for prompt in PROMPTS if prompt not in dropped)


def test_pictures_that_are_given_up_are_done_without(staged):
    store, plan = staged()
    prompt = next(text for text in PROMPTS if noise_share(text) == 1.0)
    first, _ = units_of(plan, prompt, 1)
    make_images(store, plan, [first])
    assert where(store, plan, prompt, settled=1).stage == 2
    assert where(store, plan, prompt, settled=0).stage == 1


def test_a_sampled_prompt_gets_all_its_pictures(staged):
    store, plan = staged(missed_sample=1.0)
    prompt = next(text for text in PROMPTS if noise_share(text) == 0.0)
    make_images(store, plan, units_of(plan, prompt, 1))
    found = where(store, plan, prompt)
    assert found.stage == 3
    assert found.drop.sampled


def test_a_dropped_prompt_is_judged_on_the_pictures_of_its_stage(staged):
    store, plan = staged()
    make_images(store, plan)
    actor = AnalysisActor(store.url)
    for prompt in PROMPTS:
        request = AnalysisRequest(
            plan.campaign.campaign_id, prompt, plan.campaign.settings, stage=3
        )
        result = actor.analyse(request).value
        number = result.drop.stage if result.drop else 3
        assert result.seeds == (6, 12, SEEDS)[number - 1]
        assert (result.dropped_after is None) == (result.drop is None)
        if number == 1:
            told = actor.analyse(
                AnalysisRequest(plan.campaign.campaign_id, prompt, plan.campaign.settings)
            )
            assert told.value == result


def test_a_prompt_that_goes_on_is_not_judged_yet_unless_that_is_asked_for(staged):
    store, plan = staged()
    prompt = next(text for text in PROMPTS if noise_share(text) == 1.0)
    make_images(store, plan, units_of(plan, prompt, 1))
    actor = AnalysisActor(store.url)
    request = AnalysisRequest(plan.campaign.campaign_id, prompt, plan.campaign.settings)
    told = actor.analyse(request)
    assert (told.goes_on_to, told.result) == (2, None)
    as_is = AnalysisRequest(*(getattr(request, n) for n in ("campaign_id", "prompt", "settings")),
                            as_is=True)  # fmt: skip
    assert actor.analyse(as_is).value.seeds == 6


def test_a_shared_part_goes_on_where_parts_are_looked_for(staged, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = template(rng, SEEDS, slice(8, 24), slice(8, 32), side=32)
    monkeypatch.setattr(NoisePipeline, "_picture", lambda _, __, seed: pictures[seed])
    found = {}
    for partial in (False, True):
        tables = {"analysis.parts": {"grid": 4, "least": 3}} if partial else {}
        store, plan = staged(partial=partial, side=32, tables=tables)
        make_images(store, plan, units_of(plan, PROMPTS[0], 1))
        found[partial] = where(store, plan, PROMPTS[0])
    assert found[False].drop
    assert found[True].drop is None


@pytest.mark.parametrize(("near", "share"), [(False, 0.03), (True, 0.3)])
def test_near_misses_are_sampled_ten_times_as_often_as_others(near, share):
    campaign = make_campaign(missed_sample=0.03, stages=(Stage(seeds=2),))
    assert campaign.sample_probability(near) == pytest.approx(share)
    n = 20_000
    drawn = sum(is_sampled(campaign, f"{number:016x}", near) for number in range(n))
    assert abs(drawn - n * share) < 4 * np.sqrt(n * share * (1 - share))


def test_all_campaigns_that_share_pictures_draw_the_same_sample():
    def drawn(**changes):
        campaign = make_campaign(missed_sample=0.5, stages=(Stage(seeds=2),), **changes)
        return [is_sampled(campaign, f"{number:016x}", near=False) for number in range(200)]

    assert drawn() == drawn(name="other")
    assert drawn() != drawn(first_seed=6)


def test_a_campaign_without_stages_has_the_id_that_it_had():
    campaign = make_campaign(analysis=Analysis())
    assert not {"stages", "missed_sample"} & campaign.model_dump().keys()
    assert Campaign.model_validate(campaign.model_dump()) == campaign
