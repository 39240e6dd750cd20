"""Prompts that list the seeds of their own: from the cells of a file to the bundle of evidence."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.audit.evidence.verify_bundle import check_bundle
from seedsweep.audit.replay.replay import _unit_of
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.progress import read_progress
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.campaign.submission import plan_campaign
from seedsweep.scheduler.costs.stock import take_stock
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.campaigns import load_campaign, load_parked
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.record import SeedRange
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import results_by
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.analysts.stored_prompt import read_prompt
from tests.support.campaigns import (
    campaign_text,
    make_campaign,
    make_images,
    park_unit,
    small_sampling,
    submit_file,
)
from tests.support.commands import seedsweep_here

ROWS = {"a cat": [92, 3, 1415], "a dog": [7, 8, 9], "an owl": [4294967295, 0, 1]}
ONE_AT_A_TIME = {"images_per_unit": 1, "batch_size": 1}


def write(folder, rows=ROWS, name="lists", settings=None, **sampling):
    """A campaign file of noise, and its prompts in a .jsonl beside it."""
    lines = [json.dumps({"prompt": text, "seeds": seeds}) for text, seeds in rows.items()]
    (folder / "prompts.jsonl").write_text("\n".join(lines))
    return write_file(folder, "prompts.jsonl", name, settings, **sampling)


def write_file(folder, prompts, name="lists", settings=None, **sampling):
    text = campaign_text(
        name,
        prompts={"file": prompts, "column": "prompt"},
        sampling=small_sampling(3, 16, **ONE_AT_A_TIME | sampling),
        analysis={"min_clique_size": 3},
    )
    named = settings or {"seeds": "seeds"}
    own = [f"{key} = {json.dumps(column)}" for key, column in named.items()]
    file = folder / f"{name}.toml"
    file.write_text("\n".join([text, "[prompts.settings]", *own]))
    return file


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def seeds_of(plan):
    return [(unit.prompt, unit.seeds.first, unit.seeds.last) for unit in map(plan.unit, range(9))]


def test_each_listed_seed_is_a_unit_and_they_ascend(tmp_path, store):
    plan = submit_file(store, write(tmp_path))
    wanted = [(text, seed, seed) for text, seeds in ROWS.items() for seed in sorted(seeds)]
    assert seeds_of(plan) == wanted
    assert plan.image_count == len(plan) == 9
    assert len({plan.unit(index).generation_id for index in range(9)}) == 1
    assert plan.campaign_of(0).seeds == (3, 92, 1415)


def test_plan_status_and_analysis_count_the_listed_seeds(tmp_path, store):
    plan = submit_file(store, write(tmp_path))
    campaign_id = plan.campaign.campaign_id
    make_images(store, plan, [0, 1, 2, 4])
    assert take_stock(store, plan).images_done == 4
    progress = read_progress(store, campaign_id, None, None)
    assert (progress.units, progress.units_done, progress.images) == (9, 4, 9)
    assert restore_state(store, plan).ready == (0,)
    make_images(store, plan, [3, *range(5, 9)])
    submission = load_campaign(store, campaign_id)
    for text, own in zip(plan.prompts, plan.settings, strict=True):
        images = read_prompt(store, submission.of(own), text).images
        assert [image.seed for image in images] == sorted(ROWS[text])
        request = AnalysisRequest(campaign_id, text, plan.campaign.settings, own=own)
        result = AnalysisActor(store.url).analyse(request).value
        assert (result.seeds, result.settings) == (3, own)
        store_results(store, plan.campaign.analysis_id, campaign_id, [result])
    assert read_progress(store, campaign_id, None, None).state == "done"
    assert len(results_by(store, plan.campaign.settings, campaign_id)) == 3
    write_evidence(store, campaign_id, tmp_path / "bundle", BundleOptions(), lambda done, of: None)
    assert [*check_bundle(tmp_path / "bundle")] == []


def test_a_stored_list_is_the_one_that_was_submitted(tmp_path, store):
    plan = submit_file(store, write(tmp_path))
    again = load_plan(store, load_campaign(store, plan.campaign.campaign_id))
    assert seeds_of(again) == seeds_of(plan)
    assert [*again.settings] == [PromptSettings(seeds=sorted(seeds)) for seeds in ROWS.values()]


def test_pictures_of_listed_seeds_are_shared_with_other_campaigns(tmp_path, store):
    make_images(store, submit_file(store, write(tmp_path)))
    changed = {**ROWS, "a dog": [8, 7, 1000]}
    resolved = read_campaign(write(tmp_path, changed, "other"))
    stock = take_stock(store, plan_campaign(store, *resolved))
    assert stock.images_done == 8


def test_a_parked_unit_is_told_by_its_listed_seed(tmp_path, store):
    plan = submit_file(store, write(tmp_path))
    park_unit(store, plan, 2)
    [parked] = load_parked(store, plan.campaign.campaign_id)
    assert (parked.index, parked.seeds) == (2, SeedRange(first=1415, last=1415))


def test_a_listed_seed_is_made_again_by_its_unit(tmp_path, store):
    plan = submit_file(store, write(tmp_path))
    assert _unit_of(plan, "a cat", 1415) == 2
    with pytest.raises(ConfigError, match=r"no seed 5 of that prompt; give one of [\d, ]+1415\."):
        _unit_of(plan, "a cat", 5)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1;2;2", "'1;2;2' has the seed 2 twice"),
        ("1;-2;3", "should be greater than or equal to 0"),
        ("1;9223372036854775808;3", "seeds = '1;9223372036854775808;3' should be less than"),
        ("", "it is empty, and each prompt needs seeds of its own"),
        ("[]", "it is empty"),
        ("1;2;x", "'x' is no number for seeds"),
        ("1;2.5;3", "should be a valid integer"),
        ("0-2", "'0-2' is no number for seeds"),
        ("1;2;3;4", "lists 4 seeds, and each prompt has sampling.seeds = 3 of them; raise that"),
    ],
)
def test_a_list_that_is_none_is_refused_by_line_and_column(tmp_path, cell, said):
    (tmp_path / "prompts.csv").write_text(f"prompt,seeds\na cat,1;2;3\na dog,{cell}\n")
    with pytest.raises(ConfigError) as caught:
        read_campaign(write_file(tmp_path, "prompts.csv"))
    assert said in str(caught.value)
    assert "Line 3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sampling", "said"),
    [
        ({"seeds": "seeds", "first_seed": "seeds"}, {}, "names seeds or first_seed, not both"),
        ({}, {"images_per_unit": 3}, "made one at a time; set sampling.images_per_unit"),
        ({}, {"batch_size": 4}, "made one at a time"),
    ],
)
def test_what_a_campaign_of_lists_cannot_have_is_refused(tmp_path, settings, sampling, said):
    with pytest.raises(ConfigError, match=said):
        read_campaign(write(tmp_path, settings=settings, **sampling))


@pytest.mark.parametrize(
    "cell", ["[92, 3, 1415]", "92;3;1415", "92 3 1415", "(92|3|1415)", "3.0 92 1415"]
)
def test_a_list_may_be_written_in_several_ways(tmp_path, cell):
    (tmp_path / "prompts.csv").write_text(f'prompt,seeds\na cat,"{cell}"\n')
    assert read_campaign(write_file(tmp_path, "prompts.csv")).settings == [
        PromptSettings(seeds=(3, 92, 1415))
    ]


def test_a_list_of_parquet_is_the_same_as_one_of_json(tmp_path):
    pq.write_table(
        pa.table({"prompt": [*ROWS], "seeds": [*ROWS.values()]}), tmp_path / "prompts.parquet"
    )
    of_parquet = read_campaign(write_file(tmp_path, "prompts.parquet"))
    assert of_parquet.settings == read_campaign(write(tmp_path)).settings


@pytest.mark.parametrize(
    ("cell", "first_seed", "filled"),
    [
        ("7", 0, (0, 1, 7)),
        ("1", 0, (0, 1, 2)),
        ("0;2", 0, (0, 1, 2)),
        ("4294967295", 40, (40, 41, 4294967295)),
        ("41;3", 40, (3, 40, 41)),
    ],
)
def test_a_shorter_list_is_filled_up_with_the_campaigns_seeds(tmp_path, cell, first_seed, filled):
    (tmp_path / "prompts.csv").write_text(f"prompt,seeds\na cat,1;2;3\na dog,{cell}\n")
    rows = RowCounts()
    resolved = read_campaign(write_file(tmp_path, "prompts.csv", first_seed=first_seed), rows)
    settings = resolved.settings[1]
    assert settings.seeds == filled
    assert {*settings.added} == {*filled} - {*map(int, cell.split(";"))}
    assert resolved.settings[0].added == ()
    assert (rows.filled, rows.added) == (1, 3 - len(cell.split(";")))
    assert "1 prompt lists fewer seeds than sampling.seeds" in rows.remarks[0]


def test_results_say_which_seeds_filled_a_list_up_and_ids_and_messages_do_not(tmp_path, store):
    rows = {"a cat": [1, 2, 3], "a dog": [2, 7], "an owl": [9]}
    plan = submit_file(store, write(tmp_path, rows))
    listed = {"a cat": [1, 2, 3], "a dog": [0, 2, 7], "an owl": [0, 1, 9]}
    whole = read_campaign(write(tmp_path, listed)).campaign
    assert whole.campaign_id == plan.campaign.campaign_id
    assert "added" not in plan.unit(3).model_dump_json()
    make_images(store, plan)
    campaign_id = plan.campaign.campaign_id
    again = load_plan(store, load_campaign(store, campaign_id))
    assert [own.added for own in again.settings] == [(), (0,), (0, 1)]
    for text, own in zip(again.prompts, again.settings, strict=True):
        request = AnalysisRequest(campaign_id, text, plan.campaign.settings, own=own)
        result = AnalysisActor(store.url).analyse(request).value
        store_results(store, plan.campaign.analysis_id, campaign_id, [result])
    words = ["results", campaign_id, "--json", "--store", store.url]
    told = json.loads(seedsweep_here(*words, folder=tmp_path, environment=os.environ).stdout)
    assert {each["prompt"]: each.get("added_seeds") for each in told} == {
        "a cat": None,
        "a dog": [0],
        "an owl": [0, 1],
    }
    assert {each["prompt"]: each["settings"] for each in told} == {
        text: {"seeds": seeds} for text, seeds in listed.items()
    }


def test_seeds_that_are_said_to_be_added_are_among_the_prompts_own():
    with pytest.raises(ValueError, match="were added that are not among"):
        PromptSettings(seeds=(1, 2), added=(3,))


def test_rows_of_one_text_are_one_list(tmp_path, store):
    lines = ["a cat,9", "a dog,5", "a cat,2", " a cat ,9", ",", "a dog,6", "a cat,4;9", "a dog,7"]
    (tmp_path / "prompts.csv").write_text("\n".join(["prompt,seeds", *lines]))
    rows = RowCounts()
    resolved = read_campaign(write_file(tmp_path, "prompts.csv"), rows)
    assert resolved.prompts == ["a cat", "a dog"]
    assert [own.seeds for own in resolved.settings] == [(2, 4, 9), (5, 6, 7)]
    assert (rows.read, rows.joined, rows.repeated, rows.blank + rows.null) == (8, 4, 1, 1)
    assert str(rows).endswith("1 repeated; 4 add seeds to the prompt of an earlier row")
    assert plan_campaign(store, *resolved).image_count == 6


def test_the_limit_counts_prompts_and_not_rows(tmp_path):
    (tmp_path / "prompts.csv").write_text("prompt,seeds\na cat,9\na dog,5\na cat,2\na cat,3\n")
    file = write_file(tmp_path, "prompts.csv")
    file.write_text(file.read_text().replace("[prompts]", "[prompts]\nlimit = 1"))
    assert [own.seeds for own in read_campaign(file).settings] == [(2, 3, 9)]


def test_rows_of_one_text_that_differ_in_more_than_seeds_are_refused(tmp_path):
    (tmp_path / "prompts.csv").write_text("prompt,seeds,s\na cat,1,4\na cat,2,5\na cat,3,4\n")
    named = {"seeds": "seeds", "steps": "s"}
    with pytest.raises(ConfigError, match=r"has the text of line 2 .* \(steps 5 and not 4\)\."):
        read_campaign(write_file(tmp_path, "prompts.csv", settings=named))


def test_rows_that_differ_in_their_first_seed_are_told_of_lists(tmp_path):
    (tmp_path / "prompts.csv").write_text("prompt,seeds\na cat,1\na cat,2\n")
    with pytest.raises(
        ConfigError, match=r"; or name the column of seeds as prompts\.settings\.seeds"
    ):
        read_campaign(write_file(tmp_path, "prompts.csv", settings={"first_seed": "seeds"}))


own = st.one_of(
    st.none(),
    st.just(PromptSettings(steps=3)),
    st.builds(PromptSettings, first_seed=st.integers(0, 2**40)),
    st.sets(st.integers(0, 2**62), min_size=6, max_size=6).map(
        lambda seeds: PromptSettings(seeds=tuple(sorted(seeds)))
    ),
)


@given(own, st.integers(0, 2**40), st.integers(0, 5))
def test_the_seeds_that_a_prompt_shares_are_those_that_it_has_in_their_place(own, first, place):
    campaign = make_campaign(first_seed=first)
    seeds = SeedRange(first=first + place, last=first + place)
    assert campaign.shared_seeds(own, campaign.own_seeds(own, seeds)) == seeds
