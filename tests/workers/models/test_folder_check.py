import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.models.folder_check import check_model
from tests.support.model_folders import INDEX, put, reindex, safetensors, save_folder


@pytest.fixture
def folder(tmp_path):
    return save_folder(tmp_path / "model")


def check(folder, **sampling):
    check_model(Model(path=str(folder)), Sampling(**sampling))


def test_a_pipeline_with_safetensors_is_fine(folder):
    check(folder)


def test_safetensors_beside_older_weights_are_fine(folder):
    (folder / "unet" / "model.bin").write_bytes(b"")
    check(folder)


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl"])
def test_weights_that_could_run_code_are_refused(folder, suffix):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(suffix))
    with pytest.raises(ConfigError, match="not safetensors"):
        check(folder)


def test_weights_of_a_component_that_is_switched_off_do_not_matter(folder):
    reindex(folder, safety_checker=[None, None], odd=[])
    put(folder, "safety_checker/model.bin", b"")
    check(folder)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "\x00"])
def test_a_folder_without_a_readable_index_holds_no_pipeline(folder, text):
    (folder / "model_index.json").unlink()
    if text is not None:
        (folder / "model_index.json").write_text(text)
    with pytest.raises(ConfigError, match=r"no model_index\.json"):
        check(folder)


def test_noise_and_hub_models_that_are_not_here_are_not_looked_into():
    unknown = Model(path="organisation/model", fingerprint=f"commit:{'0123456789' * 4}")
    for model in (Model(pipeline="noise"), unknown, Model(path="organisation/model")):
        check_model(model, Sampling(width=3, height=3))


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
SHARDS = "unet/diffusion_pytorch_model.safetensors.index.json"
LORA = safetensors(**{"unet.to_q.lora_A.weight": [4, 8]})


def lose(name):
    return lambda folder: (folder / name).unlink()


def gain(name, content):
    return lambda folder: put(folder, name, content)


def instead(name, other, content):
    def change(folder):
        (folder / name).unlink()
        put(folder, other, content)

    return change


def index(**changes):
    return lambda folder: reindex(folder, **changes)


REFUSED = [
    (index(_class_name=["pipeline", "Mine"]), "code of a model's own is not run"),
    (index(_class_name=None), "names no pipeline of diffusers"),
    (index(text_encoder=["transformers", "CLIPTextModel"]), "its text_encoder is missing"),
    (index(tokenizer_2=["transformers", "T5Tokenizer"]), "its tokenizer_2 is missing"),
    (gain("unet/diffusers.py", ""), "unet of the model .* is code of its own"),
    (lose("scheduler/scheduler_config.json"), "scheduler has no scheduler_config.json"),
    (lose("unet/config.json"), "unet has no config.json"),
    (gain("unet/config.json", "[" * 100_000), "unet has no config.json that can be read"),
    (gain("model_index.json", "[" * 100_000), "no model_index.json"),
    (lose(WEIGHTS), "unet has no weights"),
    (gain(WEIGHTS, b""), "cut short"),
    (gain(WEIGHTS, safetensors()[:-1]), "cut short"),
    (gain(WEIGHTS, safetensors() + b"x"), "cut short"),
    (gain(WEIGHTS, b"\xff" * 200), "cut short"),
    (gain(WEIGHTS, (10**5).to_bytes(8, "little") + b"[" * 10**5), "cut short"),
    (gain(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid 1\n"), "git lfs pull"),
    (instead(WEIGHTS, SHARDS, "{}"), "names none, of the shards"),
    (instead(WEIGHTS, SHARDS, '{"weight_map": {"a": "gone.safetensors"}}'), "lacks gone"),
    (instead(WEIGHTS, SHARDS, '{"weight_map": {"a": 1}}'), "names none"),
    (gain("pytorch_lora_weights.safetensors", LORA), "pytorch_lora_weights.safetensors"),
    (gain("style/plain.safetensors", LORA), "LoRA"),
    (gain("unet/plain.safetensors", LORA), "LoRA"),
    (gain("unet_lora/adapter_model.safetensors", safetensors()), "adapter"),
    (gain("learned_embeds.bin", b"x"), "an embedding"),
    (gain("cat-toy.safetensors", safetensors(**{"<cat-toy>": [1, 32]})), "an embedding"),
    (gain("a/ip.safetensors", safetensors(**{"ip_adapter.1.to_k": [4, 4]})), "an adapter"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_a_folder_that_would_not_be_what_was_asked_for_is_refused_in_one_sentence(
    folder, change, said
):
    change(folder)
    with pytest.raises(ConfigError, match=said) as caught:
        check(folder)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    "change",
    [
        gain("v1-5-pruned.safetensors", safetensors(**{"model.diffusion_model.a": [2, 2, 3, 3]})),
        gain("v1-5-pruned.ckpt", b"x"),
        gain("unet/diffusion_pytorch_model.fp16.safetensors", safetensors()),
        instead(WEIGHTS, "unet/diffusion_pytorch_model.fp16.safetensors", safetensors()),
        gain(".cache/lora.safetensors", LORA),
        index(image_encoder=[None, None], requires_safety_checker=True),
    ],
)
def test_what_the_pipeline_does_not_need_does_no_harm(folder, change):
    change(folder)
    check(folder)


def test_two_variants_without_plain_weights_leave_open_what_is_meant(folder):
    for variant in ("fp16", "bf16"):
        put(folder, f"unet/diffusion_pytorch_model.{variant}.safetensors", safetensors())
    (folder / WEIGHTS).unlink()
    with pytest.raises(ConfigError, match="bf16 and fp16 alone"):
        check(folder)


@pytest.mark.parametrize("name", ["vae", WEIGHTS])
def test_a_link_that_leads_nowhere_is_said_to_be_one(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to("../nowhere")
    with pytest.raises(
        ConfigError, match=r"is a link to \.\./nowhere, which leads nowhere.*cp -rL"
    ):
        check(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    check(folder)


def test_a_folder_of_an_adapter_alone_is_said_to_be_one(tmp_path):
    put(tmp_path, "pytorch_lora_weights.safetensors", LORA)
    with pytest.raises(ConfigError, match=r"only an adapter .*pytorch_lora_weights"):
        check(tmp_path)


def test_the_hubs_cache_of_a_model_is_said_to_be_one(folder, tmp_path):
    cache = tmp_path / "models--me--tiny"
    shutil.copytree(folder, cache / "snapshots" / "0123abcd")
    with pytest.raises(ConfigError, match=r"hub's cache of one; name its folder .*/0123abcd\.$"):
        check(cache)
    check(cache / "snapshots" / "0123abcd")


def test_a_folder_of_one_network_is_said_to_be_one(folder):
    put(folder / "unet", "config.json", b'{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(ConfigError, match=r"only one network \(UNet2DConditionModel\); name the"):
        check(folder / "unet")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["model_index.json", "unet/config.json", "vae/config.json", WEIGHTS, SHARDS, "tokenizer/x.json"]
)


@pytest.mark.fuzz
@settings(max_examples=150)
@given(
    index=st.dictionaries(st.sampled_from([*INDEX, "../x", "a/b", "\0", "_y"]), JSON),
    name=NAMES,
    value=JSON.map(json.dumps) | st.binary(max_size=40),
)
def test_whatever_lies_in_a_folder_is_fine_or_refused(tmp_path_factory, index, name, value):
    folder = save_folder(tmp_path_factory.mktemp("fuzzed"))
    reindex(folder, **index)
    put(folder, name, value)
    model = Model(path=str(folder))
    with contextlib.suppress(ConfigError):
        fingerprint_model(model)
        check_model(model, Sampling())


def test_a_models_files_are_utf_8_whatever_the_locale(tmp_path):
    """A batch system may start processes with none; what could not be read was taken for lost."""
    file = tmp_path / "config.json"
    file.write_text('{"_name": "été"}', encoding="utf-8")
    said = "import sys, pathlib; from seedsweep.workers.models.folder import read_json as read;"
    said += "print(ascii(read(pathlib.Path(sys.argv[1]))))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(
        [sys.executable, "-c", said, str(file)],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "{'_name': '\\xe9t\\xe9'}\n"
