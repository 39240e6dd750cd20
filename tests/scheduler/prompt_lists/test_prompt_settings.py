"""Settings that prompts have of their own: from the cells of a file to the units of a plan."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.scheduler.campaign.retention import Recipes
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.scheduler.prompt_lists.prompt_files import list_prompts
from seedsweep.scheduler.prompt_lists.prompt_settings import settings_of
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.campaigns import load_campaign, load_parked, load_prompts
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.prompts import StoredPrompts, encode_prompts
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.settings.sampling import PromptList, PromptSettings, Sampling, SettingColumns
from seedsweep.storage.shards import list_recipes
from tests.support.campaigns import (
    campaign_text,
    make_images,
    park_unit,
    small_sampling,
    submit_file,
)

COLUMNS = {"guidance_scale": "cfg", "first_seed": "seed", "negative_prompt": "without"}
LIST = "prompt,cfg,seed,without\na cat,7.5,40,\na dog,3,0,blurry\nan owl,7.5,7,\n"


class Folder:
    """A campaign of noise whose prompts have settings of their own."""

    def __init__(self, folder):
        self.folder, self.store = folder, FolderStore(folder / "store")

    def write(self, text=LIST, name="own", settings=None, **tables):
        (self.folder / "prompts.csv").write_text(text)
        prompts = {"file": "prompts.csv", "column": "prompt"}
        sampling = small_sampling(6, 16, images_per_unit=3, **tables.pop("sampling", {}))
        text = campaign_text(name, prompts=prompts, sampling=sampling, **tables)
        named = COLUMNS if settings is None else settings
        lines = ["[prompts.settings]", *(f"{key} = {json.dumps(of)}" for key, of in named.items())]
        file = self.folder / f"{name}.toml"
        file.write_text("\n".join([text, *(lines if named else [])]))
        return file

    def read(self, *arguments, **changes):
        return read_campaign(self.write(*arguments, **changes))

    def submit(self, *arguments, **changes):
        return submit_file(self.store, self.write(*arguments, **changes))

    def refused(self, *arguments, **changes):
        with pytest.raises(ConfigError) as caught:
            self.read(*arguments, **changes)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(f"{self.folder}/", "")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def one(column, value):
    """A list of two prompts, the second of which has this cell."""
    good = {"cfg": "5", "seed": "1", "without": "", "n": "9", "w": "16", "h": "16", "s": "DDIM"}
    cells = [",".join(good.values()), ",".join((good | {column: value}).values())]
    return "\n".join([f"prompt,{','.join(good)}", f"a cat,{cells[0]}", f"a dog,{cells[1]}", ""])


ALL = {**COLUMNS, "steps": "n", "width": "w", "height": "h", "sampler": "s"}


def test_each_prompt_has_the_settings_of_its_row(folder):
    campaign, prompts, settings = folder.read()
    assert prompts == ["a cat", "a dog", "an owl"]
    assert settings == [
        PromptSettings(guidance_scale=7.5, first_seed=40, negative_prompt=""),
        PromptSettings(guidance_scale=3, first_seed=0, negative_prompt="blurry"),
        PromptSettings(guidance_scale=7.5, first_seed=7, negative_prompt=""),
    ]
    made = campaign.of(settings[1])
    assert (made.sampling.guidance_scale, made.sampling.negative_prompt) == (3, "blurry")
    assert (made.sampling.steps, made.campaign_id) == (
        campaign.sampling.steps,
        campaign.campaign_id,
    )


def test_a_prompts_shards_are_those_of_any_other_campaign_with_its_recipe(folder):
    own = folder.submit()
    make_images(folder.store, own)
    of_dog = "prompt\na dog\n"
    same = folder.submit(
        of_dog, "same", {}, sampling={"guidance_scale": 3.0, "negative_prompt": "blurry"}
    )
    assert [unit_shard(own.unit(i)) for i in (2, 3)] == [unit_shard(same.unit(i)) for i in (0, 1)]
    assert same.done(list_recipes(folder.store, same.recipes())).all()
    other = folder.submit(of_dog, "other", {}, sampling={"guidance_scale": 3.0})
    assert not other.done(list_recipes(folder.store, other.recipes())).any()


def test_units_take_the_prompts_own_seeds_and_recipe_along(folder):
    plan = folder.submit()
    units = [plan.unit(index) for index in range(len(plan))]
    assert [(unit.seeds.first, unit.seeds.last) for unit in units] == [
        *((40, 42), (43, 45), (0, 2), (3, 5), (7, 9), (10, 12))
    ]
    assert [unit.settings for unit in units[::2]] == [*plan.settings]
    assert units[0].generation_id == units[4].generation_id != units[2].generation_id
    assert plan.recipes() == [units[0].generation_id, units[2].generation_id]
    assert WorkUnit.model_validate_json(units[2].model_dump_json()) == units[2]
    assert "settings" not in units[0].model_copy(update={"settings": None}).model_dump()


def test_a_campaign_without_columns_of_settings_keeps_every_id(folder):
    campaign, _, settings = folder.read(settings={})
    assert settings == []
    assert "settings" not in campaign.prompts.model_dump()
    assert campaign.of(None) is campaign
    assert set(folder.submit(settings={}, name="b").unit(0).model_dump()) == {
        *("campaign_id", "generation_id", "index", "token", "prompt", "seeds")
    }


def test_other_settings_of_one_prompt_are_another_campaign(folder):
    campaigns = [folder.read(text)[0] for text in (LIST, LIST.replace("40", "41"))]
    assert len({each.campaign_id for each in campaigns}) == 2
    assert len({each.prompts.digest for each in campaigns}) == 2


def test_what_is_done_is_told_by_recipe_prompt_and_own_seeds(folder):
    plan = folder.submit()
    make_images(folder.store, plan, [1, 4])
    # Shards of the same prompt and seeds under another prompt's recipe are none of its own.
    strange = plan.unit(2).model_copy(update={"generation_id": plan.unit(0).generation_id})
    folder.store.create(unit_shard(strange), b"")
    done = plan.done(list_recipes(folder.store, plan.recipes()))
    assert done.tolist() == [False, True, False, False, True, False]


def test_more_seeds_are_cut_along_the_shards_that_each_prompt_has(folder):
    make_images(folder.store, folder.submit())
    file = folder.write(name="more")
    file.write_text(file.read_text().replace("seeds = 6", "seeds = 8"))
    more = submit_file(folder.store, file)
    assert [len(cut) for cut in more.cuts] == [3, 3, 2]
    done = more.done(list_recipes(folder.store, more.recipes()))
    assert done.reshape(3, 3).tolist() == [[True, True, False]] * 3


def test_a_stored_plan_is_the_one_that_was_submitted(folder):
    plan = plan_campaign(folder.store, *folder.read())
    stored = load_plan(folder.store, submit_campaign(folder.store, plan))
    assert [*stored.settings] == plan.settings
    assert stored.settings[-1] == plan.settings[2]
    assert stored.settings[:2] == plan.settings[:2]
    assert [*map(stored.unit, range(6))] == [*map(plan.unit, range(6))]
    assert plan.notes == (
        "Each prompt has its own first seed, from the column 'seed': 0 to 40, 3 different ones.",
        "Each prompt has its own guidance scale, from the column 'cfg': 3 to 7.5, 2 different "
        "ones.",
        "Each prompt has its own negative prompt, from the column 'without': 2 different ones.",
        "So the prompts have 2 recipes; the settings that all of them share are those of "
        "[sampling].",
    )


def test_parked_units_are_of_the_prompts_own_seeds(folder):
    plan = folder.submit()
    park_unit(folder.store, plan, 4)
    [parked] = load_parked(folder.store, plan.campaign.campaign_id)
    assert (parked.index, parked.seeds.first) == (4, 7)


def test_images_that_a_prompts_recipe_shares_are_kept_for_it(folder):
    own = folder.submit()
    for name, guidance, sharer in (("a", 3.0, own.campaign.campaign_id), ("b", 4.0, None)):
        sampling = {"guidance_scale": guidance, "negative_prompt": "blurry"}
        other = folder.submit("prompt\na dog\n", name, {}, sampling=sampling)
        assert Recipes(folder.store).shared_with(other.campaign) == sharer


@pytest.mark.parametrize("change", ["drop", "value", "order", "column"])
def test_stored_settings_that_are_not_those_submitted_are_corrupt(folder, change):
    campaign_id = folder.submit().campaign.campaign_id
    path = next((folder.folder / "store").rglob("prompts.parquet"))
    table = pq.read_table(path)
    if change == "drop":
        table = table.select(["prompt_id", "prompt"])
    elif change == "column":
        table = table.append_column("steps", pa.array([1, 2, 3]))
    else:
        seeds = [41, 0, 7] if change == "value" else [0, 40, 7]
        place = table.column_names.index("first_seed")
        table = table.set_column(place, "first_seed", pa.array(seeds))
    pq.write_table(table, path)
    with pytest.raises(ShardCorruptError):
        load_prompts(folder.store, campaign_id)


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("cfg", "", "'cfg': it is empty, and each prompt needs guidance_scale of its own;"),
        ("cfg", "high", "'cfg': 'high' is no number for guidance_scale;"),
        ("cfg", '"7,5"', "'cfg': '7,5' is no number for guidance_scale;"),
        ("cfg", "nan", "'cfg': 'nan' is no number for guidance_scale;"),
        ("cfg", "inf", "'cfg': 'inf' is no number for guidance_scale;"),
        ("cfg", "-1", "'cfg': guidance_scale = '-1' should be greater than or equal to 0;"),
        ("cfg", "1e999", "'cfg': '1e999' is too large for guidance_scale;"),
        ("cfg", "\u0667", "'cfg': '\u0667' is no number for guidance_scale;"),
        ("n", "0", "'n': steps = '0' should be greater than or equal to 1;"),
        ("n", "12.5", "'n': steps = '12.5' should be a valid integer, got a number"),
        ("n", "1_000", "'n': '1_000' is no number for steps;"),
        ("w", "9000", "'w': width = '9000' should be less than or equal to 8192;"),
        ("h", "512px", "'h': '512px' is no number for height;"),
        ("seed", "-1", "'seed': first_seed = '-1' should be greater than or equal to 0;"),
        ("seed", "1 2 3", "'seed': '1 2 3' is a list, and first_seed is one number, "),
        ("seed", '"[4, 5]"', "'seed': '[4, 5]' is a list, and first_seed is one number, "),
        ("seed", str(2**63), "'seed': first_seed ="),
        ("s", "8", "'s': sampler takes the name of a scheduler class, and '8' is none;"),
        ("s", "", "'s': sampler takes the name of a scheduler class, and it is empty;"),
    ],
)
def test_a_cell_that_is_no_setting_is_refused_by_line_and_column(folder, column, cell, said):
    sentence = folder.refused(one(column, cell), settings=ALL)
    assert sentence.startswith("Line 3 of the prompts file prompts.csv cannot be used, for its ")
    assert f"for its column {said}" in sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"text": LIST.replace("blurry", "").replace("3,0,", "1,0,blurry")},
            "Line 3 of the prompts file prompts.csv: the column 'without' does nothing without "
            "guidance; remove it, or raise the column 'cfg' above 1.",
        ),
        (
            {"text": LIST + "a cat,8,40,\n"},
            "Line 5 of the prompts file prompts.csv has the text of line 2 of the prompts file "
            "prompts.csv with other settings (guidance_scale 8.0 and not 7.5). A campaign has "
            "each text once, with one recipe: remove one of them, or move it to a campaign of its "
            "own.",
        ),
        (
            {"text": LIST + "a cat,8,40,\na cat,7.5,40,\n" + "a dog,3,1,blurry\n" * 3},
            "4 rows repeat a text with other settings. The first: Line 5 of the prompts file "
            "prompts.csv has the text of line 2 of the prompts file prompts.csv with other "
            "settings (guidance_scale 8.0 and not 7.5); Line 7 of the prompts file prompts.csv has "
            "the text of line 3 ",
        ),
        (
            {"settings": {"steps": "steps"}},
            "In the prompts file prompts.csv there is no column 'steps'; ",
        ),
        ({"settings": {"seed": "seed"}}, "own.toml: prompts.settings.seed is not a known key; "),
        ({"keep": "flagged"}, 'own.toml: prompts with settings of their own need keep = "all"; '),
        (
            {"stages": [{"screen": "noise-magnitude", "above": 1.4, "seeds": 1}]},
            "own.toml: a screen scores all prompts alike; leave out prompts.settings, or the "
            "stages with a screen; ",
        ),
        (
            {"settings": {"width": "cfg"}, "verification": {"training_set": "t"}},
            "own.toml: training pictures are compared at one size, and with prompts.settings.width "
            "or height each prompt has its own: leave out [verification], or make prompts of each "
            "size a campaign of their own; correct it.",
        ),
    ],
)
def test_what_prompts_cannot_have_of_their_own_is_refused(folder, changes, said):
    assert folder.refused(**changes).startswith(said)


def test_the_same_text_with_the_same_settings_is_one_prompt(folder):
    rows = RowCounts()
    (folder.folder / "p.csv").write_text(LIST + "a cat, 7.50 ,40.0,\n\n,,,\n")
    named = SettingColumns(**COLUMNS)
    settings = PromptList(file=str(folder.folder / "p.csv"), column="prompt", settings=named)
    assert [prompt.text for prompt in list_prompts(settings, rows)] == ["a cat", "a dog", "an owl"]
    assert (rows.repeated, rows.blank, rows.null, rows.unused) == (1, 1, 1, [])


def test_columns_that_are_named_are_used_and_the_others_still_told(folder):
    rows = RowCounts()
    read_campaign(folder.write(settings={"guidance_scale": "cfg"}), rows)
    assert rows.unused == ["seed"]
    assert "[prompts.settings] names those that are" in rows.remarks[0]


def test_a_list_without_columns_or_without_a_column_of_prompts_has_no_settings(folder):
    file = folder.write()
    (folder.folder / "prompts.txt").write_text("a cat\n")
    text = file.read_text()
    for file_name, column, said in (
        ("prompts.txt", "", "has no columns; leave [prompts.settings] out."),
        ("prompts.csv", "", "which has the prompts is not said; set `column` in [prompts]."),
    ):
        file.write_text(
            text.replace('file = "prompts.csv"', f'file = "{file_name}"').replace(
                'column = "prompt"', column
            )
        )
        with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
            read_campaign(file)
        assert str(caught.value).endswith(said)


JSON_ROWS = [
    {"prompt": "a cat", "cfg": 7.5, "seed": 40, "without": None},
    {"prompt": "a dog", "cfg": 3, "seed": "0", "without": "blurry"},
    {"prompt": "an owl", "cfg": "7.5", "seed": 7.0},
]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_numbers_of_other_files_are_the_same_settings(folder, kind):
    _, _, wanted = folder.read()
    path = folder.folder / f"p.{kind}"
    if kind == "parquet":
        table = {name: [row.get(name) for row in JSON_ROWS] for name in JSON_ROWS[0]}
        table["cfg"] = pa.array([7.5, 3, 7.5], pa.float32())
        table["seed"] = pa.array([40, 0, 7], pa.float64())  # as pandas has a column with a gap
        pq.write_table(pa.table(table), path)
    elif kind == "json":
        path.write_text(json.dumps(JSON_ROWS))
    else:
        path.write_text("\n".join(map(json.dumps, JSON_ROWS)))
    named = SettingColumns(**COLUMNS)
    listed = list_prompts(PromptList(file=str(path), column="prompt", settings=named))
    assert [prompt.settings for prompt in listed] == wanted


@pytest.mark.parametrize("row", [True, [1, 2], {"a": 1}, "x", None])
def test_a_cell_of_another_kind_is_refused(tmp_path, row):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"prompt": "a cat", "n": row}))
    settings = PromptList(file=str(path), column="prompt", settings=SettingColumns(steps="n"))
    with pytest.raises(ConfigError, match=r"^Line 1 of .* for its column 'n': "):
        list(list_prompts(settings))


def test_a_bare_text_among_objects_has_no_settings(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a cat", "n": 5}\n"a dog"\n')
    settings = PromptList(file=str(path), column="prompt", settings=SettingColumns(steps="n"))
    with pytest.raises(ConfigError, match=r"^Line 2 of .*it is empty"):
        list(list_prompts(settings))


SETTINGS = st.builds(
    PromptSettings,
    first_seed=st.integers(0, 2**63 - 1),
    guidance_scale=st.floats(0, 1e6),
    steps=st.integers(1, 2**40),
    width=st.integers(1, 8192),
)


@given(SETTINGS)
def test_any_settings_are_read_back_from_their_text(settings):
    columns = SettingColumns(**{name: name for name in settings.given})
    texts = [str(value) for value in settings.given.values()]
    assert settings_of(columns, texts, "Here") == settings


@given(st.lists(SETTINGS, min_size=1, max_size=20))
def test_settings_are_stored_as_they_are(settings):
    prompts = [f"prompt {i}" for i in range(len(settings))]
    stored = StoredPrompts("k", encode_prompts(prompts, settings))
    assert ([*stored], [*stored.settings]) == (prompts, settings)


@given(SETTINGS)
def test_a_prompts_own_settings_are_validated_as_those_of_sampling(settings):
    sampling = Sampling.model_validate({**Sampling().model_dump(), **settings.given})
    assert {name: getattr(sampling, name) for name in settings.given} == settings.given


def test_a_campaign_is_loaded_with_its_columns(folder):
    plan = folder.submit()
    campaign = load_campaign(folder.store, plan.campaign.campaign_id).campaign
    assert campaign.prompts.settings.named == {
        "first_seed": "seed", "guidance_scale": "cfg", "negative_prompt": "without"
    }  # fmt: skip
