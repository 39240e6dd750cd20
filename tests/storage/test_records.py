import hashlib
from itertools import combinations

import pytest
from pydantic import ValidationError

from seedsweep.storage.record import canonical, digest
from seedsweep.storage.records import (
    Campaign,
    Control,
    Prompt,
    Provenance,
    SeedRange,
    Submission,
    WorkUnit,
)
from seedsweep.storage.settings.analysis import Analysis, NearCopies, PartRule, Verification
from seedsweep.storage.settings.model import Adapter, Component, Embedding, Model
from seedsweep.storage.settings.sampling import PromptList, Sampling

BASE = Campaign(
    name="audit",
    model=Model(path="/models/m", fingerprint="sha256:1"),
    prompts=PromptList(file="/p.txt", digest="d", count=2),
    verification=Verification(training_set="/t", fingerprint="sha256:2"),
)


def changed(table, **values):
    return BASE.model_copy(update={table: getattr(BASE, table).model_copy(update=values)})


OPTIONS = [
    "attention_slicing",
    "vae_slicing",
    "vae_tiling",
    "channels_last",
    "compile",
    "cpu_offload",
    "fuse_adapters",
]
ADAPTER = Adapter(path="/a.safetensors", fingerprint="sha256:3")
EMBEDDING = Embedding(
    path="/e.safetensors",
    token="<cat>",  # noqa: S106  # a word
    fingerprint="sha256:4",
)
COMPONENT = Component(path="/vae", name="vae", fingerprint="sha256:5")
MADE = {
    "batch_size": 4,
    "threads": 1,
    "device": "cpu",
    "dtype": "float32",
    "versions": "v",
    "recipe": "{}",
}

PIXELS = [
    *(changed("model", **{option: True}) for option in OPTIONS),
    changed("model", variant="fp16"),
    changed("model", config="/c", config_fingerprint="sha256:6"),
    changed("model", adapters=(ADAPTER,)),
    changed("model", adapters=(ADAPTER.model_copy(update={"weight": 0.5}),)),
    changed("model", adapters=(ADAPTER.model_copy(update={"trigger": "sks"}),)),
    changed("model", adapters=(ADAPTER.model_copy(update={"fingerprint": "sha256:0"}),)),
    changed("model", adapters=(ADAPTER, ADAPTER)),
    changed("model", embeddings=(EMBEDDING,)),
    changed("model", embeddings=(EMBEDDING.model_copy(update={"token": "<dog>"}),)),
    changed("model", components=(COMPONENT,)),
    changed("model", components=(COMPONENT.model_copy(update={"name": "unet"}),)),
    changed("model", pipeline="noise"),
    changed("model", dtype="float16"),
    changed("model", fingerprint="sha256:other"),
    changed("sampling", sampler="DDIMScheduler"),
    changed("sampling", steps=51),
    changed("sampling", guidance_scale=7.0),
    changed("sampling", negative_prompt="blurry"),
    changed("sampling", width=520),
    changed("sampling", height=520),
    changed("sampling", batch_size=8),
    changed("sampling", images_per_unit=25),
]
SCOPE = [
    BASE.model_copy(update={"name": "another"}),
    changed("sampling", seeds=510),
    changed("sampling", first_seed=1000),
    changed("prompts", file="/q.csv"),
    changed("prompts", digest="other", count=3),
    changed("prompts", limit=1),
    changed("descriptors", fine=8),
    changed("descriptors", coarse=8),
]
VERDICT = [
    changed("analysis", tiles=8),
    changed("analysis", matrix="full"),
    changed("analysis", edge_threshold=0.05),
    changed("analysis", min_clique_size=5),
    changed("analysis", max_steps=1),
    changed("analysis", partial=True),
    changed("analysis", partial=True, parts=PartRule(least=3)),
    changed("analysis", partial=True, parts=PartRule(shift=0.08)),
    changed("analysis", partial=True, parts=PartRule(mirror=True)),
    changed("verification", threshold=0.1),
    changed("verification", resize="stretch"),
    changed("verification", alpha=0.4),
    changed("verification", neighbours=10),
    changed("verification", neighbours_of="generation"),
    changed("verification", flip=True),
    changed("verification", near_copies=NearCopies(correlation=0.9)),
    changed("verification", column="jpg"),
    changed("verification", fingerprint="sha256:other"),
    BASE.model_copy(update={"verification": None}),
]


def changes(campaign):
    """What a case changes, as its name."""
    ours, base = campaign.model_dump(), BASE.model_dump()
    tables = {k: v for k, v in ours.items() if base[k] != v}
    for table, values in tables.items():
        if isinstance(values, dict):
            tables[table] = {k: v for k, v in values.items() if base[table].get(k) != v}
    return str(tables)


@pytest.mark.parametrize("campaign", PIXELS, ids=changes)
def test_a_setting_that_alters_pixels_names_other_shards_and_the_same_analysis(campaign):
    assert campaign.generation_id != BASE.generation_id
    assert campaign.analysis_id == BASE.analysis_id
    assert campaign.campaign_id != BASE.campaign_id


@pytest.mark.parametrize("campaign", SCOPE, ids=changes)
def test_more_seeds_or_prompts_share_the_shards_and_the_analysis(campaign):
    assert campaign.generation_id == BASE.generation_id
    assert campaign.analysis_id == BASE.analysis_id
    assert campaign.campaign_id != BASE.campaign_id


@pytest.mark.parametrize("campaign", VERDICT, ids=changes)
def test_another_analysis_or_verification_shares_the_shards(campaign):
    assert campaign.generation_id == BASE.generation_id
    assert campaign.analysis_id != BASE.analysis_id
    assert campaign.campaign_id != BASE.campaign_id


@pytest.mark.parametrize("campaign", PIXELS[: len(OPTIONS) + 14], ids=changes)
def test_what_is_loaded_and_how_names_another_queue(campaign):
    assert campaign.model.model_id != BASE.model.model_id


def test_every_setting_of_a_model_but_its_place_is_covered_above():
    covered = {
        name
        for campaign in PIXELS
        for name, value in campaign.model
        if value != getattr(BASE.model, name)
    }
    assert set(Model.model_fields) - covered == {"path", "revision"}


def test_pixels_are_all_different():
    assert len({campaign.generation_id for campaign in PIXELS}) == len(PIXELS)


def test_where_the_parts_of_a_model_lie_is_no_part_of_what_it_is():
    there = changed(
        "model", config="/c", adapters=(ADAPTER,), embeddings=(EMBEDDING,), components=(COMPONENT,)
    )
    elsewhere = {"path": "/elsewhere", "revision": "other"}
    here = changed(
        "model",
        path="/n",
        config="/d",
        adapters=(ADAPTER.model_copy(update=elsewhere),),
        embeddings=(EMBEDDING.model_copy(update=elsewhere),),
        components=(COMPONENT.model_copy(update=elsewhere),),
    )
    assert here.model.model_id == there.model.model_id
    assert here.generation_id == there.generation_id


def test_a_model_without_parts_is_stored_and_named_as_before_there_were_any():
    stored = BASE.model.model_dump(mode="json")
    parts = {"variant", "config", "config_fingerprint", "fuse_adapters"}
    assert not stored.keys() & {*parts, "adapters", "embeddings", "components"}
    assert Model.model_validate_json(BASE.model.model_dump_json()) == BASE.model


def test_a_prompt_is_given_with_each_trigger_that_it_lacks():
    adapters = [ADAPTER.model_copy(update={"trigger": text}) for text in ("sks", "", "in oil,")]
    model = Model(path="m", adapters=tuple(adapters))
    assert model.given("a cat") == "sks in oil, a cat"
    assert model.given("a cat of sks") == "in oil, a cat of sks"
    assert model.given("in oil, sks") == "in oil, sks"
    assert Model(path="m").given("a cat") == "a cat"


@pytest.mark.parametrize(
    "file", ["../x.safetensors", "/x.safetensors", "x.bin", "a/../x.safetensors", ".x.safetensors"]
)
def test_a_file_of_an_adapter_stays_in_its_folder_and_is_safetensors(file):
    with pytest.raises(ValidationError):
        Adapter(path="a", file=file)
    assert Adapter(path="a", file="b/c.safetensors").file


def test_a_model_names_the_options_that_are_switched_on():
    assert BASE.model.options == ()
    assert Model(compile=True, vae_tiling=True).options == ("vae_tiling", "compile")


def test_every_setting_of_sampling_analysis_and_verification_is_covered_above():
    covered = {
        (table, name)
        for campaign in PIXELS + SCOPE + VERDICT
        for table in ("sampling", "analysis", "verification")
        for name, value in dict(getattr(campaign, table) or {}).items()
        if value != getattr(getattr(BASE, table), name)
    }
    tables = {"sampling": Sampling, "analysis": Analysis, "verification": Verification}
    settings = {(table, name) for table, kind in tables.items() for name in kind.model_fields}
    # Where the training set lies does not matter, nor the folder of pictures that it names; its
    # fingerprint says what they are. Controls alter no result.
    # `center` is the only crop there is.
    assert settings - covered == {
        ("verification", "training_set"),
        ("verification", "folder"),
        ("verification", "controls"),
        ("verification", "crop"),
    }


def test_no_two_recipes_share_an_id():
    for one, other in combinations(PIXELS, 2):
        assert one.generation_id != other.generation_id
    for one, other in combinations(VERDICT, 2):
        assert one.analysis_id != other.analysis_id


def test_where_a_model_or_training_set_lies_changes_neither_id():
    moved = changed("model", path="/elsewhere", revision="v2")
    assert moved.generation_id == BASE.generation_id
    moved = changed("verification", training_set="/elsewhere", folder="/pictures")
    assert moved.analysis_id == BASE.analysis_id


def test_how_a_table_of_prompts_is_read_is_part_of_ids_only_where_it_is_set():
    stored = PromptList(file="/p.csv").model_dump(mode="json")
    assert stored.keys() == {"file", "column", "delimiter", "limit", "digest", "count"}
    assert PromptList(**stored) == PromptList(file="/p.csv", quoting="csv", header=True)
    assert changed("prompts", quoting="none").campaign_id != BASE.campaign_id
    assert changed("prompts", header=False).campaign_id != BASE.campaign_id


def test_a_campaign_survives_being_stored_and_keeps_its_ids():
    again = Campaign.model_validate_json(BASE.model_dump_json())
    assert again == BASE
    assert again.campaign_id == BASE.campaign_id
    assert again.generation_id == BASE.generation_id


def test_a_campaigns_seeds_begin_at_its_first_seed():
    assert changed("sampling", seeds=3, first_seed=10).seeds == range(10, 13)


def test_a_prompt_is_named_by_its_text_in_utf_8():
    assert Prompt(text="é").prompt_id == hashlib.sha256("é".encode()).hexdigest()[:16]
    assert Prompt(text="a").prompt_id != Prompt(text="A").prompt_id


def test_a_unit_is_sent_as_json_and_comes_back_equal():
    unit = WorkUnit(
        campaign_id="c",
        generation_id="g",
        index=3,
        token="t",  # noqa: S106
        prompt='"Zoë" <b>\n',
        seeds=SeedRange(first=0, last=49),
    )
    assert WorkUnit.model_validate_json(unit.model_dump_json()) == unit
    assert unit.prompt_id == Prompt(text=unit.prompt).prompt_id


def test_a_digest_is_that_of_canonical_json_so_that_any_process_finds_the_same():
    canonical = '{"a":null,"b":[1.5,"é"]}'
    expected = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert digest({"b": [1.5, "é"], "a": None}) == expected


def test_canonical_text_is_compact_sorted_and_not_escaped():
    assert canonical({"b": [1.5, "é"], "a": None}) == '{"a":null,"b":[1.5,"é"]}'


def test_a_digest_ignores_the_order_of_keys_and_nothing_else():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.0})
    assert digest([1, 2]) != digest([2, 1])


def test_a_range_of_seeds_counts_both_ends():
    assert len(SeedRange(first=5, last=5)) == 1
    assert len(SeedRange(first=0, last=49)) == 50


@pytest.mark.parametrize(("first", "last"), [(5, 4), (-1, 3), (0, 2**63)])
def test_a_range_of_seeds_that_cannot_be_is_refused(first, last):
    with pytest.raises(ValidationError):
        SeedRange(first=first, last=last)


@pytest.mark.parametrize(
    ("recipe", "unused"),
    [
        ('{"guidance_scale":null,"sampler":null,"steps":2}', ("guidance_scale",)),
        ('{"guidance_scale":7.5}', ()),
        ("a plug-in's own words", ()),
        ("[null]", ()),
    ],
)
def test_a_provenance_names_the_settings_that_the_model_does_not_use(recipe, unused):
    assert Provenance(**MADE | {"recipe": recipe}).unused == unused


def test_records_are_frozen():
    with pytest.raises(ValidationError):
        BASE.name = "other"


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (Control, {"state": "asleep"}),
        (Control, {"state": "paused", "since": "today"}),
        (Provenance, MADE | {"batch_size": 0}),
        (Provenance, MADE | {"recipe": None}),
        (Sampling, {"guidance_scale": float("nan")}),
        (Submission, {"campaign": BASE, "cuts": (), "versions": ""}),
    ],
)
def test_reading_a_record_refuses_unknown_missing_and_impossible_fields(record, values):
    with pytest.raises(ValidationError):
        record(**values)


def test_a_rule_of_parts_names_what_came_later_only_if_it_is_set():
    assert not {"shift", "mirror"} & PartRule(least=3).model_dump().keys()
    assert {"shift", "mirror"} <= PartRule(shift=0.05, mirror=True).model_dump().keys()
