import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seedsweep.storage.folder_store import FolderStore
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign
from tests.support.checkout import ROOT
from tests.support.hub import COMMIT, Hub
from tests.support.model_folders import files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of this host."""
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def pixels(pipeline):
    return np.stack([made.pixels for made in pipeline.generate("a cat", range(3))])


NEVER_FETCHED = {
    "tiny.safetensors": b"all weights once more",
    "tiny.ckpt": b"a pickle",
    "pipeline.py": b"code",
    "unet/evil.py": b"code",
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"a variant",
    "README.md": b"about",
}


@pytest.fixture
def hub(tiny_model):
    """A hub that has the tiny model at one commit, among files that must not be fetched."""
    with contextlib.closing(Hub(files(Path(tiny_model.path)) | NEVER_FETCHED)) as hub:
        yield hub


CLIENT = """
import sys
from pathlib import Path
from seedsweep.storage.errors import SeedsweepError
from seedsweep.storage.settings.model import Adapter, Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.folder_store import FolderStore
from seedsweep.workers.models.fetching import model_places, part_place
from seedsweep.workers.models.parts import weights_parts
from seedsweep.workers.models.resolution import resolve_parts
from seedsweep.workers.models.fingerprint import fingerprint_model, hub_snapshot
from seedsweep.workers.models.folder_check import check_model
from tests.support.checkout import ROOT

for call in sys.argv[1:]:
    what, path, value, more = (call + " ").split(" ")[:4]
    variant = more if what != "adapter" else ""
    model = Model(path=path, revision=value, fingerprint=f"commit:{value}", variant=variant)
    try:
        if what == "download":
            hub_snapshot(path, value)
        elif what == "resolve":
            print(fingerprint_model(model))
        elif what == "adapter":
            named = Model(path="tests/support", adapters=(Adapter(path=path, file=more),))
            [adapter] = resolve_parts(named, Path()).adapters
            place = weights_parts((adapter,))[0]
            print(adapter.file, part_place(FolderStore(Path("unused")), place))
        elif what == "check":
            print(check_model(model, Sampling(width=17, height=16)))
        else:
            print(model_places(FolderStore(Path("unused")), model).model)
    except SeedsweepError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def ask(hub, tmp_path):
    """Have another process of this host resolve or find hub models: one line of answer each."""

    def ask(*calls, **environment):
        answer = subprocess.run(
            [sys.executable, "-c", CLIENT, *calls],
            cwd=ROOT,
            env=os.environ
            | {
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "huggingface"),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "NO_PROXY": "127.0.0.1",
            }
            | environment,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        assert "Fetching" not in answer.stderr
        return answer.stdout.splitlines()

    return ask


FIND = f"find org/tiny {COMMIT}"


def test_a_hub_model_is_fetched_once_and_loads_with_the_hub_gone(hub, ask, store, tiny_model):
    [fingerprint] = ask("resolve org/tiny main")
    assert fingerprint == f"commit:{COMMIT}"
    assert hub.fetched() == []
    [folder] = ask(FIND)
    asked = len(hub.asked)
    assert ask(FIND) == [folder]
    assert len(hub.asked) == asked
    assert sorted(hub.fetched()) == sorted(hub.listing.keys() - NEVER_FETCHED.keys())
    hub.close()
    assert ask(FIND) == [folder]
    assert files(Path(folder)) == files(Path(tiny_model.path))
    campaign = make_campaign(model=tiny_model, steps=2)
    expected = pixels(load_pipeline(store, campaign, "cpu", 1))
    copy = make_campaign(model=tiny_model.model_copy(update={"path": folder}), steps=2)
    assert np.array_equal(pixels(load_pipeline(store, copy, "cpu", 1)), expected)


def only_halves(hub, parts=("unet", "vae", "text_encoder")):
    """Let the weights of these components be there as fp16 alone."""
    for path in list(hub.listing):
        if path.startswith(parts) and path.endswith("model.safetensors"):
            hub.listing[path.replace("model.", "model.fp16.")] = hub.listing.pop(path)


def test_of_a_hub_model_the_variant_is_fetched_and_plain_weights_where_there_is_none(hub, ask):
    only_halves(hub, ("unet", "vae"))
    [folder] = ask(f"{FIND} fp16")
    fetched = {path for path in hub.fetched() if path.endswith(".safetensors")}
    halves = {f"{part}/diffusion_pytorch_model.fp16.safetensors" for part in ("unet", "vae")}
    assert fetched == {*halves, "text_encoder/model.safetensors"}
    hub.close()
    assert ask(f"{FIND} fp16") == [folder]


def test_a_hub_model_of_a_variant_alone_is_refused_when_it_is_submitted(hub, ask):
    resolve = "resolve org/tiny main"
    assert ask(resolve, f"{resolve} fp16") == [f"commit:{COMMIT}"] * 2
    [refusal] = ask(f"{resolve} bf16")
    assert "no weights of the variant 'bf16' on the hub" in refusal
    only_halves(hub)
    [refusal] = ask(resolve)
    assert refusal.endswith(
        'weights of the variant fp16 alone on the hub; set model.variant = "fp16".'
    )
    assert ask(f"{resolve} fp16") == [f"commit:{COMMIT}"]


def test_of_an_adapter_on_the_hub_its_one_file_is_fetched(hub, ask):
    hub.listing = {"style.safetensors": b"weights", "style.bin": b"a pickle", "README.md": b""}
    [answer] = ask("adapter org/tiny main")
    name, place = answer.split()
    assert name == "style.safetensors"
    assert Path(place).read_bytes() == b"weights"
    assert hub.fetched() == ["style.safetensors"]


def test_of_several_files_of_an_adapter_on_the_hub_one_has_to_be_named(hub, ask):
    hub.listing = {"a.safetensors": b"a", "b.safetensors": b"b"}
    [refusal] = ask("adapter org/tiny main")
    assert "has several files (a.safetensors, b.safetensors); name one as its file" in refusal
    [answer] = ask("adapter org/tiny main b.safetensors")
    assert Path(answer.split()[1]).read_bytes() == b"b"


@pytest.mark.parametrize("listed", [True, False])
def test_a_fetch_that_was_cut_short_is_taken_up_where_it_ended(hub, ask, tmp_path, listed):
    hub.out_of_order = {"vae/config.json"}
    [refusal] = ask(FIND)
    assert refusal.startswith("TransientError The model org/tiny")
    if not listed:
        shutil.rmtree(tmp_path / "huggingface" / "hub" / "models--org--tiny" / "trees")
    hub.out_of_order = set()
    [folder] = ask(FIND)
    assert (Path(folder) / "vae" / "config.json").is_file()
    assert len(hub.fetched()) == len(set(hub.fetched()))


def test_a_hub_that_is_out_of_order_may_answer_later_and_one_that_says_no_will_not(hub, ask):
    [refusal] = ask(f"find org/other {COMMIT}")
    assert refusal.startswith("ModelLoadError The model org/other")
    [refusal] = ask(FIND, HF_HUB_OFFLINE="1")
    assert refusal.startswith("ModelLoadError The model org/tiny")
    hub.out_of_order = {""}
    [refusal] = ask(FIND)
    assert refusal.startswith("TransientError The model org/tiny")
    assert "HF_TOKEN" in refusal


def test_a_revision_is_what_the_cache_last_saw_only_where_being_offline_is_wanted(hub, ask):
    [refusal] = ask("resolve org/tiny main", HF_HUB_OFFLINE="1")
    assert refusal.startswith("ConfigError")
    ask("download org/tiny main")
    asked = len(hub.asked)
    assert ask("resolve org/tiny main", HF_HUB_OFFLINE="1") == [f"commit:{COMMIT}"]
    assert len(hub.asked) == asked
    hub.close()
    [refusal] = ask("resolve org/tiny main")
    assert refusal.startswith("ConfigError")


def test_the_size_of_a_hub_models_pictures_is_checked_where_the_model_is_cached(ask):
    check = f"check org/tiny {COMMIT}"
    unchecked, _, refusal = ask(check, FIND, check)
    assert unchecked == "None"
    assert refusal.startswith("ConfigError The model org/tiny cannot make 17 x 16")
