import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.fingerprint import (
    fingerprint_files,
    fingerprint_model,
    hash_files,
)
from seedsweep.workers.models.folder import all_files
from tests.support.checkout import ROOT
from tests.support.model_folders import put, reindex, safetensors, save_folder


@pytest.fixture
def folder(tmp_path):
    """A pipeline's folder with a file that nobody loads."""
    folder = save_folder(tmp_path / "model")
    put(folder, "README.md", "about")
    return folder


def fingerprint(folder):
    return fingerprint_model(Model(path=str(folder)))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        "tokenizer/chat_template.jinja",
    ],
)
def test_the_fingerprint_changes_with_the_content_of_every_file_that_matters(folder, name):
    before = fingerprint(folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert fingerprint(folder) != before


def test_the_fingerprint_changes_when_a_file_is_added_removed_or_renamed(folder):
    before = fingerprint(folder)
    (folder / "unet" / "extra.json").write_text("{}")
    assert (added := fingerprint(folder)) != before
    (folder / "unet" / "extra.json").rename(folder / "unet" / "other.json")
    assert fingerprint(folder) not in (before, added)
    (folder / "unet" / "other.json").unlink()
    assert fingerprint(folder) == before
    (folder / "unet" / "config.json").unlink()
    assert fingerprint(folder) != before


def test_the_fingerprint_is_the_same_for_a_copy_with_other_times_in_another_place(folder, tmp_path):
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1))
    assert fingerprint(copy) == fingerprint(folder)


def test_the_fingerprint_is_the_same_through_links_as_the_hubs_cache_makes_them(folder, tmp_path):
    snapshot = tmp_path / "snapshot"
    for file in folder.rglob("*"):
        if file.is_file():
            link = snapshot / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    assert fingerprint(snapshot) == fingerprint(folder)


def test_what_does_not_make_pixels_is_no_part_of_the_fingerprint(folder):
    before = fingerprint(folder)
    (folder / "README.md").write_text("rewritten")
    (folder / "preview.png").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "listing.json").write_text("what `hf download` leaves behind")
    (folder / "unet" / ".hidden.json").write_text("{}")
    assert fingerprint(folder) == before


UNUSED = [
    "v1-5-pruned.safetensors",
    "LICENSE.txt",
    "samples/prompts.txt",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.bin.index.json",
    "safety_checker/model.safetensors",
    "vae_1_0/diffusion_pytorch_model.safetensors",
]


@pytest.mark.parametrize("name", UNUSED)
def test_a_file_that_the_pipeline_does_not_load_is_no_part_of_the_fingerprint(folder, name):
    before = fingerprint(folder)
    put(folder, name, safetensors())
    assert fingerprint(folder) == before
    assert name not in hash_files(folder)


def test_a_fingerprint_of_all_files_as_earlier_versions_took_it_is_known_again(folder):
    put(folder, "v1-5-pruned.safetensors", safetensors())
    every = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in all_files(folder)
    }
    before = fingerprint_files(every)
    assert before != fingerprint(folder)
    assert hash_files(folder, fingerprint=before) == every
    assert fingerprint_files(hash_files(folder, fingerprint=fingerprint(folder))) == fingerprint(
        folder
    )
    put(folder, "v1-5-pruned.safetensors", safetensors(other=[2, 2]))
    assert fingerprint_files(hash_files(folder, fingerprint=before)) == fingerprint(folder)


def test_a_variant_that_is_there_alone_is_what_is_loaded(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    before = fingerprint(folder)
    put(folder, "unet/diffusion_pytorch_model.fp16.safetensors", safetensors(other=[2, 2]))
    assert fingerprint(folder) != before


def test_the_fingerprint_of_a_folder_with_nothing_but_loaded_files_is_what_it_always_was(tmp_path):
    folder = save_folder(tmp_path / "model")
    assert (
        fingerprint(folder)
        == "sha256:65b07c3437890970a111701928de5e64f4c646dcf9a534ff0d6df0fa5ef6bacb"
    )
    reindex(folder, unet=[None, None])
    assert (
        fingerprint(folder)
        != "sha256:65b07c3437890970a111701928de5e64f4c646dcf9a534ff0d6df0fa5ef6bacb"
    )


def test_a_folder_that_cannot_be_read_is_refused(folder):
    unreadable = folder / "unet" / "config.json"
    unreadable.unlink()
    unreadable.symlink_to("/proc/self/mem")
    with pytest.raises(ConfigError, match="cannot be read"):
        fingerprint(folder)


def test_noise_is_named_by_its_path():
    assert fingerprint_model(Model(pipeline="noise")) == "noise:"
    assert fingerprint_model(Model(pipeline="noise", path="v2")) == "noise:v2"


def test_a_hub_model_at_a_whole_commit_is_taken_at_its_word():
    model = Model(path="organisation/model", revision="0123456789" * 4)
    assert fingerprint_model(model) == f"commit:{model.revision}"


@pytest.mark.parametrize("revision", ["main", "0123456789" * 4])
def test_a_path_that_is_neither_a_folder_nor_a_hub_id_is_refused(revision):
    with pytest.raises(ConfigError, match="neither a folder here nor a hub id"):
        fingerprint_model(Model(path="/no/such/folder", revision=revision))


def test_looking_at_a_model_imports_no_torch(folder):
    code = (
        "import sys; from seedsweep.storage.settings.model import Model;"
        "from seedsweep.workers.models.fingerprint import fingerprint_model;"
        "fingerprint_model(Model(path=sys.argv[1]));"
        "sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT).returncode == 0
