from itertools import combinations

import pytest

from seedsweep.storage.settings.analysis import Analysis, NearCopies, PartRule, Verification
from seedsweep.storage.settings.campaign import Campaign
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
