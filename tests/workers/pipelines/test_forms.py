"""Whatever the form of a model: the pixels of diffusers' own call with the same parts."""

import json
import re
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FluxPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from seedsweep.scheduler.campaign.file import resolve_model
from seedsweep.storage.errors import ConfigError, ModelLoadError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.model import Adapter, Component, Embedding, Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.fetching import model_places
from seedsweep.workers.models.folder_check import check_model
from seedsweep.workers.models.staging import stage_model
from seedsweep.workers.pipelines import adapters
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from tests.support.model_forms import (
    TEXT_LAYERS,
    open_pipeline,
    save_checkpoint,
    save_config,
    save_lora,
)
from tests.support.tiny_model import save_tiny_model, tiny_denoiser
from tests.support.tiny_pipelines import save_flux, save_xl

SAMPLING = Sampling(steps=2, guidance_scale=3.0, width=16, height=16, batch_size=2)
PROMPT = "a cat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model's folder."""
    folder = tmp_path_factory.mktemp("forms") / "model"
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def bare(folder):
    """The pictures of the tiny model."""
    return drawn(open_pipeline(folder))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    return FolderStore(tmp_path / "store")


def drawn(pipeline, prompt=PROMPT):
    """Two pictures by diffusers' own call."""
    pictures = pipeline(
        [prompt] * 2,
        num_inference_steps=2,
        guidance_scale=3.0,
        width=16,
        height=16,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (1, 2)],
    ).images
    return np.stack([np.asarray(picture) for picture in pictures])


def resolved(model, folder=Path()):
    """The model as a campaign submits it."""
    model = resolve_model(model, folder)
    check_model(model, SAMPLING)
    return model


def load(store, model):
    return DiffusersPipeline(model_places(store, model), model, SAMPLING, "cpu", 1)


def made(store, model):
    """Two pictures by the model, from its own places."""
    pipeline = load(store, resolved(model))
    return np.stack([one.pixels for one in pipeline.generate(PROMPT, (1, 2))])


def moved(store, model, folder):
    """The same from what was staged, with all of its places gone."""
    model = resolved(model)
    assert stage_model(store, model) > 0
    shutil.rmtree(folder)
    pipeline = load(store, model)
    return np.stack([one.pixels for one in pipeline.generate(PROMPT, (1, 2))])


# Variants


def save_variant(folder, target, *, plain=True):
    """The model with its weights rounded to 16 bits as fp16, with or without the plain ones."""
    if plain:
        shutil.copytree(folder, target)
    open_pipeline(folder, dtype=torch.float16).save_pretrained(target, variant="fp16")
    return target


@pytest.fixture(scope="module")
def halves(folder, tmp_path_factory):
    return save_variant(folder, tmp_path_factory.mktemp("halves") / "model")


def test_the_variant_that_is_asked_for_is_what_is_loaded(store, halves, bare):
    model = Model(path=str(halves), variant="fp16")
    pictures = made(store, model)
    assert np.array_equal(
        pictures, drawn(open_pipeline(halves, variant="fp16", dtype=torch.float32))
    )
    assert not np.array_equal(pictures, bare)
    assert np.array_equal(made(store, Model(path=str(halves))), bare)
    assert resolved(model).fingerprint != resolved(Model(path=str(halves))).fingerprint


def test_a_variant_is_staged_alone(store, halves, tmp_path):
    copy = shutil.copytree(halves, tmp_path / "copy")
    model = Model(path=str(copy), variant="fp16")
    expected = made(store, model)
    assert np.array_equal(moved(store, model, copy), expected)
    staged = [key for key in store.list("model/") if key.endswith(".safetensors")]
    assert len(staged) == 3
    assert all(".fp16." in key for key in staged)


def test_a_component_without_the_variant_is_loaded_as_it_is(store, folder, halves, tmp_path):
    mixed = shutil.copytree(halves, tmp_path / "mixed")
    (mixed / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    plain = open_pipeline(mixed, variant="fp16", dtype=torch.float32)
    assert np.array_equal(made(store, Model(path=str(mixed), variant="fp16")), drawn(plain))


def test_a_variant_that_no_component_has_is_refused_with_those_that_are_there(halves, folder):
    with pytest.raises(ConfigError, match="no weights of the variant 'bf16', only of fp16"):
        resolved(Model(path=str(halves), variant="bf16"))
    with pytest.raises(ConfigError, match=r"no weights of the variant 'fp16'; correct"):
        resolved(Model(path=str(folder), variant="fp16"))


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.filterwarnings("ignore:This serialization format is now deprecated")
def test_shards_of_a_variant_are_loaded_by_todays_names_and_by_older_ones(
    store, folder, halves, tmp_path, older
):
    sharded = tmp_path / "sharded"
    half = open_pipeline(folder, dtype=torch.float16)
    half.save_pretrained(sharded, variant="fp16", max_shard_size="20KB")
    if older:
        name_as_before(sharded / "unet")
    model = resolved(Model(path=str(sharded)))
    assert np.array_equal(made(store, model), made(store, Model(path=str(halves), variant="fp16")))
    next((sharded / "unet").glob("*-00002-of-*")).unlink()
    with pytest.raises(ConfigError, match=r"its unet lacks .*-00002-of-"):
        check_model(model, SAMPLING)


def name_as_before(part):
    """Name the shards of fp16 weights as diffusers did before its version 0.30."""

    def before(text):
        return re.sub(r"\.fp16(-\d+-of-\d+)", r"\1.fp16", text)

    listing = part / "diffusion_pytorch_model.safetensors.index.fp16.json"
    older = listing.with_name("diffusion_pytorch_model.safetensors.fp16.index.json")
    older.write_text(before(listing.read_text()))
    listing.unlink()
    for shard in part.glob("*.fp16-*"):
        shard.rename(shard.with_name(before(shard.name)))


# Adapters


@pytest.fixture(scope="module")
def lora(folder, tmp_path_factory):
    """A LoRA on the denoiser, as diffusers saves it."""
    return save_lora(open_pipeline(folder), tmp_path_factory.mktemp("lora") / "a.safetensors")


def with_adapters(folder, *adapters, **options):
    return Model(path=str(folder), adapters=tuple(adapters), **options)


def by_diffusers(folder, *files, weights, fuse=False):
    pipeline = open_pipeline(folder)
    names = [f"a{number}" for number in range(len(files))]
    for name, file in zip(names, files, strict=True):
        pipeline.load_lora_weights(file, adapter_name=name)
    pipeline.set_adapters(names, weights)
    if fuse:
        pipeline.fuse_lora(adapter_names=names)
    return pipeline


@pytest.mark.parametrize("kohya", [False, True])
def test_a_lora_acts_on_denoiser_and_text_encoder_with_its_weight(
    store, folder, bare, tmp_path, kohya
):
    file = save_lora(
        open_pipeline(folder), tmp_path / "b.safetensors", text=True, kohya=kohya, alpha=1
    )
    pictures = made(store, with_adapters(folder, Adapter(path=str(file), weight=0.5)))
    assert np.array_equal(pictures, drawn(by_diffusers(folder, file, weights=[0.5])))
    assert not np.array_equal(pictures, bare)


def test_what_a_lora_adds_is_its_up_times_its_down_times_alpha_by_rank_and_weight(
    store, folder, tmp_path
):
    plain = open_pipeline(folder)
    file = save_lora(plain, tmp_path / "b.safetensors", kohya=True, alpha=0.5)
    tensors = load_file(file)
    for name, layer in plain.unet.named_modules():
        if name.endswith("to_q"):
            key = f"lora_unet_{name.replace('.', '_')}"
            up, down = tensors[f"{key}.lora_up.weight"], tensors[f"{key}.lora_down.weight"]
            layer.weight.data += 1.5 * (0.5 / 2) * (up @ down)
    adapter = Adapter(path=str(file), weight=1.5)
    difference = np.abs(made(store, with_adapters(folder, adapter)).astype(int) - drawn(plain))
    assert difference.max() <= 1


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_each_layer_of_a_lora_is_scaled_by_an_alpha_and_a_rank_of_its_own(
    store, folder, tmp_path, part, fuse
):
    plain, draw = open_pipeline(folder), torch.Generator().manual_seed(1)
    file, tensors = tmp_path / "resized.safetensors", {}
    ends = ("to_q", "to_v") if part == "unet" else TEXT_LAYERS
    layers = [each for each in getattr(plain, part).named_modules() if each[0].endswith(ends)]
    for number, (name, layer) in enumerate(layers):
        if part == "text_encoder":
            name = f"text_model.{name.removeprefix('text_model.')}"
        key = f"lora_{'te' if part != 'unet' else 'unet'}_{name.replace('.', '_')}"
        rank, alpha = 1 + number % 3, 0.5 + number % 2
        down = torch.randn(rank, layer.in_features, generator=draw).half()
        up = torch.randn(layer.out_features, rank, generator=draw).half()
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        tensors[f"{key}.alpha"] = torch.tensor(alpha)
        layer.weight.data += 0.5 * (alpha / rank) * (up.float() @ down.float())
    save_file(tensors, file)
    model = with_adapters(folder, Adapter(path=str(file), weight=0.5), fuse_adapters=fuse)
    assert np.abs(made(store, model).astype(int) - drawn(plain)).max() <= 1


@pytest.mark.parametrize("fuse", [False, True])
def test_several_adapters_are_added_up_fused_or_not(store, folder, lora, tmp_path, fuse):
    other = save_lora(open_pipeline(folder), tmp_path / "b.safetensors", text=True, seed=2)
    both = [Adapter(path=str(lora), weight=0.3), Adapter(path=str(other), weight=-0.7)]
    pictures = made(store, with_adapters(folder, *both, fuse_adapters=fuse))
    expected = by_diffusers(folder, lora, other, weights=[0.3, -0.7], fuse=fuse)
    assert np.array_equal(pictures, drawn(expected))


def test_a_trigger_is_what_the_model_is_given_before_the_prompt(store, folder, lora):
    adapter = Adapter(path=str(lora), trigger="sks")
    expected = drawn(by_diffusers(folder, lora, weights=[1.0]), "sks a cat")
    assert np.array_equal(made(store, with_adapters(folder, adapter)), expected)


def test_an_adapter_is_staged_and_loaded_with_its_file_gone(store, folder, lora, tmp_path):
    copy = shutil.copytree(lora.parent, tmp_path / "lora")
    base = shutil.copytree(folder, tmp_path / "base")
    model = resolved(with_adapters(base, Adapter(path=str(copy))))
    assert model.adapters[0].path == str(copy / "a.safetensors")
    assert model.adapters[0].fingerprint == f"sha256:{sha256(lora.read_bytes()).hexdigest()}"
    expected = made(store, model)
    save_lora(open_pipeline(folder), copy / "a.safetensors", seed=9)
    with pytest.raises(ModelLoadError, match=r"adapter 1 .* is not the one that was submitted"):
        load(store, model)
    shutil.copy(lora, copy / "a.safetensors")
    assert np.array_equal(moved(store, model, copy), expected)


def other_base(folder):
    save_tiny_model(folder, denoiser=tiny_denoiser(channels=(8, 24)))
    return open_pipeline(folder)


def deeper(pipeline, file):
    """A LoRA of which two layers are none of the model's."""
    more = {f"unet.down_blocks.7.to_q.lora_{end}.weight": torch.ones(2, 2) for end in ("A", "B")}
    return save_lora(pipeline, file, **more)


def equal_downs(pipeline, file):
    """A LoRA with two layers that differ in their alphas and not in what comes down."""
    tensors = load_file(save_lora(pipeline, file, kohya=True, alpha=1))
    one, other = [name for name in tensors if name.endswith("lora_down.weight")][:2]
    tensors[other] = tensors[one].clone()
    tensors[other.replace("lora_down.weight", "alpha")] = torch.tensor(3.0)
    save_file(tensors, file)
    return file


def not_finite(pipeline, file):
    tensors = load_file(save_lora(pipeline, file))
    name = next(name for name in tensors if "lora_B" in name)
    save_file({**tensors, name: tensors[name] * float("nan")}, file)
    return file


def of_peft(pipeline, file):
    """A LoRA whose layers PEFT names, and no pipeline's part."""
    named = load_file(save_lora(pipeline, file))
    save_file({k.replace("unet.", "base_model.model."): v for k, v in named.items()}, file)
    return file


UNFIT = [
    (of_peft, "0 of its 8 layers are there"),
    (lambda p, f: save_lora(other_base(f.parent / "o"), f), "does not fit a StableDiffusion"),
    (deeper, "8 of its 9 layers are there"),
    (equal_downs, "layers of equal weights and different alphas"),
    (not_finite, "has weights that are no finite numbers"),
]


@pytest.mark.parametrize(("save", "said"), UNFIT)
def test_an_adapter_that_diffusers_would_load_in_part_or_wrongly_is_refused(
    store, folder, tmp_path, save, said
):
    file = save(open_pipeline(folder), tmp_path / "x.safetensors")
    with pytest.raises(ModelLoadError, match=said) as caught:
        made(store, with_adapters(folder, Adapter(path=str(file))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zeros", [r"lora_up", r"alpha"])
def test_an_adapter_that_alters_nothing_is_refused(store, folder, lora, tmp_path, zeros):
    idle = load_file(save_lora(open_pipeline(folder), tmp_path / "idle.safetensors", kohya=True))
    idle = {name: values * 0 if zeros in name else values for name, values in idle.items()}
    save_file(idle, tmp_path / "idle.safetensors")
    both = [Adapter(path=str(lora)), Adapter(path=str(tmp_path / "idle.safetensors"))]
    with pytest.raises(ModelLoadError, match=r"adapter 2 .* alters nothing"):
        made(store, with_adapters(folder, *both))


def test_without_peft_an_adapter_is_refused_in_one_sentence(store, folder, lora, monkeypatch):
    monkeypatch.setattr(f"{adapters.__name__}.find_spec", lambda _: None)
    with pytest.raises(ModelLoadError, match=r"need the package peft; install it"):
        made(store, with_adapters(folder, Adapter(path=str(lora))))


def save(**tensors):
    return lambda pipeline, file: save_file(tensors, file)


PAIR = {f"unet.mid_block.to_q.lora_{end}.weight": torch.ones(2, 2) for end in ("A", "B")}
NO_LORA = [
    (save(**PAIR, **{"unet.mid_block.to_q.dora_scale": torch.ones(2)}), "a DoRA"),
    (save(**{"lora_unet_mid.hada_w1_a": torch.ones(2, 2)}), "a LoHa"),
    (save(**{"lora_unet_mid.lokr_w1": torch.ones(2, 2)}), "a LoKr"),
    (save(**{"image_proj.proj.weight": torch.ones(2, 2)}), "an IP-Adapter"),
    (save(**{"model.diffusion_model.out.weight": torch.ones(2, 2)}), "a whole checkpoint"),
    (save(**{"<cat>": torch.ones(1, 2)}), "is no LoRA"),
    (save(**PAIR, **{"bundle_emb.sks.string_to_param.*": torch.ones(1, 2)}), "bundle_emb"),
    (lambda pipeline, file: file.write_bytes(b"PK cut"), "cut short, or no safetensors"),
    (lambda pipeline, file: file.write_text("version https://git-lfs.github.com"), "git lfs pull"),
]


@pytest.mark.parametrize(("write", "said"), NO_LORA)
def test_what_is_no_plain_lora_is_refused_when_it_is_submitted(folder, tmp_path, write, said):
    write(None, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=said) as caught:
        resolved(with_adapters(folder, Adapter(path=str(tmp_path))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "adapter", "said"),
    [
        ((), {}, "no .safetensors file"),
        (("a.bin",), {}, "only pickles"),
        (("a.safetensors", "b.safetensors"), {}, "several files .* name one as its file"),
        (("a.safetensors",), {"file": "c.safetensors"}, "is not there"),
        (("a.safetensors",), {"weight": 0}, "a weight of 0"),
        (("a.safetensors",), {"trigger": " sks"}, "begins or ends with a space"),
        (("a.bin",), {"path": "lora/a.bin"}, "is a pickle"),
        (("a.bin",), {"path": "lora/b.safetensors"}, "is not there"),
        (("a.bin",), {"path": "no/such/folder"}, "neither a folder here nor a hub id"),
        (("a.bin",), {"path": "no/such"}, "is no folder here, and the hub does not give it"),
    ],
)
def test_an_adapter_that_is_not_named_right_is_refused(folder, tmp_path, names, adapter, said):
    (tmp_path / "lora").mkdir()
    for name in names:
        (tmp_path / "lora" / name).write_bytes(b"")
    model = with_adapters(folder, Adapter(**{"path": "lora", **adapter}))
    with pytest.raises(ConfigError, match=said):
        resolve_model(model, tmp_path)


# Single checkpoints


@pytest.fixture(scope="module")
def checkpoint(folder, tmp_path_factory):
    """The tiny model as one file, with a folder that describes it and holds no weights."""
    place = tmp_path_factory.mktemp("checkpoint")
    config = save_config(folder, place / "config")
    return save_checkpoint(open_pipeline(folder), place / "tiny.safetensors"), config


def of_file(file, config, **more):
    return Model(path=str(file), config=str(config), **more)


def test_a_checkpoint_has_the_pixels_of_its_folder(store, checkpoint, bare):
    file, config = checkpoint
    pictures = made(store, of_file(file, config))
    assert np.array_equal(pictures, bare)
    plain = StableDiffusionPipeline.from_single_file(
        file, config=str(config), local_files_only=True, dtype=torch.float32
    )
    assert np.array_equal(pictures, drawn(plain))


def test_what_describes_a_checkpoint_decides_what_is_predicted(store, checkpoint, bare, tmp_path):
    file, config = checkpoint
    other = save_config(config, tmp_path / "v", prediction_type="v_prediction")
    assert not np.array_equal(made(store, of_file(file, other)), bare)
    one, two = resolved(of_file(file, config)), resolved(of_file(file, other))
    assert one.fingerprint == two.fingerprint == f"sha256:{sha256(file.read_bytes()).hexdigest()}"
    assert one.model_id != two.model_id


def test_a_checkpoint_is_staged_with_its_configuration(store, checkpoint, bare, tmp_path):
    place = shutil.copytree(checkpoint[0].parent, tmp_path / "place")
    model = of_file(place / "tiny.safetensors", place / "config")
    assert np.array_equal(moved(store, model, place), bare)


def test_an_adapter_acts_on_a_checkpoint_as_on_its_folder(store, folder, checkpoint, lora):
    adapter = Adapter(path=str(lora))
    expected = made(store, with_adapters(folder, adapter))
    model = of_file(*checkpoint, adapters=(adapter,))
    assert np.array_equal(made(store, model), expected)


def test_what_a_checkpoint_lacks_is_not_taken_from_the_weights_beside_its_configuration(
    store, folder, bare, tmp_path
):
    file = save_checkpoint(
        open_pipeline(folder), tmp_path / "x.safetensors", leave_out=["cond_stage_model"]
    )
    with pytest.raises(ModelLoadError, match=r"lacks a part .*\(a CLIPTextModel\); name a folder"):
        made(store, of_file(file, folder))
    encoder = Component(name="text_encoder", path=str(folder))
    assert np.array_equal(made(store, of_file(file, folder, components=(encoder,))), bare)


def saved(folder, file, **changes):
    save_checkpoint(open_pipeline(folder), file, **changes)


NO_CHECKPOINT = [
    (lambda f, x: save_lora(open_pipeline(f), x), "is a LoRA; name its base"),
    (lambda f, x: saved(f, x, v_pred=torch.ones(1)), "says that it predicts v"),
    (lambda f, x: saved(f, x, scaled_fp8=torch.ones(1)), r"is quantised \(scaled_fp8\)"),
    (
        lambda f, x: saved(
            f, x, **{"model.diffusion_model.input_blocks.0.0.weight": torch.ones(8, 9, 3, 3)}
        ),
        "is an inpainting model",
    ),
    (lambda f, x: x.write_bytes(b"cut"), "cut short, or no safetensors"),
]


@pytest.mark.parametrize(("write", "said"), NO_CHECKPOINT)
def test_a_file_that_is_no_whole_model_of_its_kind_is_refused_when_submitted(
    folder, checkpoint, tmp_path, write, said
):
    write(folder, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=said):
        resolved(of_file(tmp_path / "x.safetensors", checkpoint[1]))


@pytest.mark.parametrize(
    "lost",
    ["model.diffusion_model.mid", "model.diffusion_model.out.2", "first_stage_model.decoder"],
)
def test_a_checkpoint_that_lacks_weights_is_refused(store, folder, checkpoint, tmp_path, lost):
    file = save_checkpoint(open_pipeline(folder), tmp_path / "x.safetensors", leave_out=[lost])
    with pytest.raises(ModelLoadError, match=r"could not be loaded|does not fit"):
        made(store, of_file(file, checkpoint[1]))


def test_a_checkpoint_with_more_than_its_configuration_says_is_refused(
    store, folder, checkpoint, tmp_path
):
    more = {"model.diffusion_model.middle_block.1.transformer_blocks.3.norm1.bias": torch.ones(2)}
    file = save_checkpoint(open_pipeline(folder), tmp_path / "x.safetensors", **more)
    with pytest.raises(ModelLoadError, match="it has more than it says"):
        made(store, of_file(file, checkpoint[1]))


def test_a_checkpoint_of_8_bits_is_read_as_what_it_holds(store, folder, checkpoint, tmp_path):
    eight = save_checkpoint(
        open_pipeline(folder), tmp_path / "x.safetensors", dtype=torch.float8_e4m3fn
    )
    wide = {name: values.float() for name, values in load_file(eight).items()}
    save_file(wide, tmp_path / "wide.safetensors")
    pictures = made(store, of_file(eight, checkpoint[1]))
    assert np.array_equal(
        pictures, made(store, of_file(tmp_path / "wide.safetensors", checkpoint[1]))
    )


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("x.safetensors", {}, "does not say what kind of model it is; set model.config"),
        ("x.ckpt", {}, "is a pickle"),
        ("x.gguf", {}, "is quantised"),
        ("x.zip", {}, "no safetensors"),
        ("gone.safetensors", {}, "is not there"),
        ("x.safetensors", {"config": ".", "variant": "fp16"}, "model.variant is for a folder"),
        (".", {"config": "."}, "model.config is for a single checkpoint"),
        (".", {"fuse_adapters": True}, "without adapters"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(tmp_path, name, more, said):
    if name.startswith("x."):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=said):
        resolve_model(Model(path=name, **more), tmp_path)


# Components


@pytest.fixture(scope="module")
def autoencoder(folder, tmp_path_factory):
    """Another autoencoder of the same shape."""
    torch.manual_seed(5)
    vae = AutoencoderKL.from_config(open_pipeline(folder).vae.config)
    place = tmp_path_factory.mktemp("vae") / "vae"
    vae.save_pretrained(place)
    return place


def test_a_component_takes_the_place_of_the_models_own(store, folder, autoencoder, bare, tmp_path):
    place = shutil.copytree(autoencoder, tmp_path / "vae")
    model = Model(path=str(folder), components=(Component(name="vae", path=str(place)),))
    pictures = made(store, model)
    plain = open_pipeline(folder, vae=AutoencoderKL.from_pretrained(autoencoder))
    assert np.array_equal(pictures, drawn(plain))
    assert not np.array_equal(pictures, bare)
    assert np.array_equal(moved(store, model, place), pictures)


def test_a_component_may_be_that_of_another_pipeline_and_the_models_own_be_gone(
    store, folder, bare, tmp_path
):
    headless = shutil.copytree(folder, tmp_path / "headless")
    shutil.rmtree(headless / "text_encoder")
    encoder = Component(name="text_encoder", path=str(folder))
    assert np.array_equal(made(store, Model(path=str(headless), components=(encoder,))), bare)


@pytest.mark.parametrize(
    ("component", "said"),
    [
        ({"name": "vea"}, "no network called 'vea', only"),
        ({"name": "tokenizer"}, "no network called|holds no tokenizer"),
        ({"name": "unet"}, "Two parts of the model are called 'unet'"),
        ({"path": "x.safetensors"}, "is one file, and a component is a folder"),
        ({"path": "empty"}, "holds no vae"),
    ],
)
def test_a_component_that_is_none_is_refused(folder, autoencoder, tmp_path, component, said):
    (tmp_path / "x.safetensors").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    one = Component(**{"name": "vae", "path": str(autoencoder), **component})
    other = Component(name="unet", path=str(folder))
    model = Model(path=str(folder), components=(one, other))
    with pytest.raises(ConfigError, match=said):
        check_model(resolve_model(model, tmp_path), SAMPLING)


def test_a_denoiser_that_needs_more_than_a_prompt_is_refused(folder, tmp_path):
    place = tmp_path / "unet"
    usual = {name: value for name, value in tiny_denoiser().config.items() if name[0] != "_"}
    UNet2DConditionModel(**usual | {"in_channels": 9}).save_pretrained(place)
    model = Model(path=str(folder), components=(Component(name="unet", path=str(place)),))
    with pytest.raises(ConfigError, match=r"takes 9 channels, and its vae has 4"):
        resolved(model)


def test_a_text_encoder_of_another_width_is_refused_when_it_is_loaded(store, folder, tmp_path):
    wide = CLIPTextConfig(
        vocab_size=514, hidden_size=24, num_attention_heads=2, num_hidden_layers=1
    )
    CLIPTextModel(wide).save_pretrained(tmp_path)
    encoder = Component(name="text_encoder", path=str(tmp_path))
    with pytest.raises(ModelLoadError, match="cannot begin a picture") as caught:
        made(store, Model(path=str(folder), components=(encoder,)))
    assert "\n" not in str(caught.value)


def test_a_component_that_is_quantised_needs_the_library_that_it_names(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = copy / "unet" / "config.json"
    said = {**json.loads(config.read_text()), "quantization_config": {"quant_method": "torchao"}}
    config.write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=r"is quantised \(torchao\), which needs torchao"):
        resolved(Model(path=str(copy)))


# Embeddings


def save_embedding(file, vectors, width=16):
    torch.manual_seed(7)
    save_file({"anything": torch.randn(vectors, width)}, file)
    return file


@pytest.mark.parametrize("vectors", [1, 2])
def test_an_embedding_is_a_word_of_one_or_more_vectors(store, folder, tmp_path, vectors):
    file = save_embedding(tmp_path / "e.safetensors", vectors)
    model = Model(path=str(folder), embeddings=(Embedding(path=str(tmp_path), token=PROMPT[-3:]),))
    plain = open_pipeline(folder)
    plain.load_textual_inversion(file, token=PROMPT[-3:])
    expected = drawn(plain)
    assert np.array_equal(made(store, model), expected)
    assert not np.array_equal(drawn(open_pipeline(folder)), expected)
    copy = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy")
    there = Model(path=str(folder), embeddings=(Embedding(path=str(copy), token=PROMPT[-3:]),))
    assert np.array_equal(moved(store, there, copy), expected)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a": [1, 16], "b": [1, 16]}, "no embedding of one word"),
        ({"a": [1, 16, 3]}, "no embedding of one word"),
        ({"clip_l": [1, 16], "clip_g": [2, 16]}, "not as many vectors"),
        ({"a": [1, 24]}, "does not fit a StableDiffusionPipeline"),
        ({"clip_l": [1, 16], "clip_g": [1, 16]}, "for two text encoders, and the pipeline has one"),
    ],
)
def test_an_embedding_that_does_not_fit_is_refused(store, folder, tmp_path, tensors, said):
    save_file(
        {name: torch.ones(*shape) for name, shape in tensors.items()}, tmp_path / "e.safetensors"
    )
    embedding = Embedding(path=str(tmp_path), token=PROMPT[-3:])
    with pytest.raises((ConfigError, ModelLoadError), match=said):
        made(store, Model(path=str(folder), embeddings=(embedding,)))


# Stable Diffusion XL


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdxl") / "model"
    save_xl(folder)
    return folder


def test_an_embedding_of_sdxl_is_for_both_of_its_text_encoders(store, sdxl, tmp_path):
    torch.manual_seed(7)
    tensors = {name: torch.randn(2, 16) for name in ("clip_l", "clip_g")}
    save_file(tensors, tmp_path / "e.safetensors")
    plain = StableDiffusionXLPipeline.from_pretrained(sdxl)
    before = drawn(plain)
    for name, end in (("clip_l", ""), ("clip_g", "_2")):
        plain.load_textual_inversion(
            tensors[name],
            token="cat",  # noqa: S106  # a word
            text_encoder=getattr(plain, f"text_encoder{end}"),
            tokenizer=getattr(plain, f"tokenizer{end}"),
        )
    word = Embedding(path=str(tmp_path), token=PROMPT[-3:])
    pictures = made(store, Model(path=str(sdxl), embeddings=(word,)))
    assert np.array_equal(pictures, drawn(plain))
    assert not np.array_equal(pictures, before)


def test_an_embedding_of_one_text_encoder_is_refused_by_sdxl(store, sdxl, tmp_path):
    save_embedding(tmp_path / "e.safetensors", 1)
    word = Embedding(path=str(tmp_path), token=PROMPT[-3:])
    with pytest.raises(ModelLoadError, match="one text encoder, and the pipeline has two"):
        made(store, Model(path=str(sdxl), embeddings=(word,)))


def test_a_lora_of_another_family_is_refused(store, sdxl, folder, lora):
    with pytest.raises(ModelLoadError, match="does not fit a StableDiffusionXLPipeline"):
        made(store, with_adapters(sdxl, Adapter(path=str(lora))))


def test_a_lora_acts_on_sdxl(store, sdxl, tmp_path):
    plain = StableDiffusionXLPipeline.from_pretrained(sdxl)
    before, file = drawn(plain), save_lora(plain, tmp_path / "x.safetensors")
    pictures = made(store, with_adapters(sdxl, Adapter(path=str(file))))
    plain.load_lora_weights(file)
    assert np.array_equal(pictures, drawn(plain))
    assert not np.array_equal(pictures, before)


def test_a_lora_acts_on_a_transformer(store, tmp_path):
    save_flux(tmp_path / "flux")
    plain = FluxPipeline.from_pretrained(tmp_path / "flux")
    draw = torch.Generator().manual_seed(1)
    tensors = {
        f"transformer.{name}.lora_{end}.weight": torch.randn(*shape, generator=draw)
        for name, layer in plain.transformer.named_modules()
        if name.endswith("to_q")
        for end, shape in (("A", (2, layer.in_features)), ("B", (layer.out_features, 2)))
    }
    save_file(tensors, tmp_path / "x.safetensors")
    model = resolve_model(
        with_adapters("flux", Adapter(path="x.safetensors", weight=0.5)), tmp_path
    )
    sampling = Sampling(steps=1, guidance_scale=0, width=32, height=32, batch_size=1)
    pipeline = DiffusersPipeline(model_places(store, model), model, sampling, "cpu", 1)
    [one] = pipeline.generate(PROMPT, [1])

    def expected():
        seed = torch.Generator().manual_seed(1)
        size = {"width": 32, "height": 32, "num_inference_steps": 1, "guidance_scale": 0.0}
        return np.asarray(plain(PROMPT, generator=seed, **size).images[0])

    before = expected()
    plain.load_lora_weights(tmp_path / "x.safetensors", adapter_name="x")
    plain.set_adapters("x", 0.5)
    assert np.array_equal(one.pixels, expected())
    assert not np.array_equal(one.pixels, before)
