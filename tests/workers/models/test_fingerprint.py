import json
import os
import shutil
import subprocess
import sys

import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import Model, Sampling
from seedsweep.workers.models.fingerprint import check_model, fingerprint_model
from tests.support.checkout import ROOT


@pytest.fixture
def folder(tmp_path):
    """A pipeline's folder with files that nobody loads."""
    model = tmp_path / "model"
    for name, text in {
        "model_index.json": json.dumps({"_class_name": "X", "unet": ["diffusers", "U"]}),
        "unet/config.json": "{}",
        "unet/model.safetensors": "weights",
        "tokenizer/merges.txt": "a b",
        "tokenizer/spiece.model": "pieces",
        "tokenizer/chat_template.jinja": "{{ messages }}",
        "README.md": "about",
    }.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text)
    return model


def fingerprint(folder):
    return fingerprint_model(Model(path=str(folder)))


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        "tokenizer/chat_template.jinja",
    ],
)
def test_the_fingerprint_changes_with_the_content_of_every_file_that_matters(folder, name):
    before = fingerprint(folder)
    (folder / name).write_text((folder / name).read_text() + " ")
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


def test_noise_is_named_by_its_path():
    assert fingerprint_model(Model(pipeline="noise")) == "noise:"
    assert fingerprint_model(Model(pipeline="noise", path="v2")) == "noise:v2"


def test_a_hub_model_at_a_whole_commit_is_taken_at_its_word():
    model = Model(path="organisation/model", revision="0123456789" * 4)
    assert fingerprint_model(model) == f"commit:{model.revision}"


@pytest.mark.parametrize("revision", ["main", "0123456789" * 4])
def test_a_path_that_is_neither_a_folder_nor_a_hub_id_is_refused(revision):
    with pytest.raises(ConfigError, match="neither a folder nor a hub id"):
        fingerprint_model(Model(path="/no/such/folder", revision=revision))


def check(folder, **sampling):
    check_model(Model(path=str(folder)), Sampling(**sampling))


def test_a_pipeline_with_safetensors_is_fine(folder):
    check(folder)


def test_safetensors_beside_older_weights_are_fine(folder):
    (folder / "unet" / "model.bin").write_bytes(b"")
    check(folder)


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl"])
def test_weights_that_could_run_code_are_refused(folder, suffix):
    weights = folder / "unet" / "model.safetensors"
    weights.rename(weights.with_suffix(suffix))
    with pytest.raises(ConfigError, match="not safetensors"):
        check(folder)


def test_weights_of_a_component_that_is_switched_off_do_not_matter(folder):
    index = {"_class_name": "X", "safety_checker": [None, None], "odd": []}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.bin").write_bytes(b"")
    check(folder)


@pytest.mark.parametrize("text", [None, "", "[]", "{", "\x00"])
def test_a_folder_without_a_readable_index_holds_no_pipeline(folder, text):
    (folder / "model_index.json").unlink()
    if text is not None:
        (folder / "model_index.json").write_text(text)
    with pytest.raises(ConfigError, match=r"no model_index\.json"):
        check(folder)


@pytest.mark.parametrize(("levels", "factor"), [(1, 1), (3, 4), (4, 8)])
def test_pictures_must_be_a_multiple_of_what_the_autoencoder_reduces_by(folder, levels, factor):
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(
        json.dumps({"block_out_channels": list(range(levels))})
    )
    check(folder, width=8 * factor, height=3 * factor)
    for width, height in [(factor + 1, factor), (factor, factor + 1)]:
        if factor > 1:
            with pytest.raises(ConfigError, match=f"multiples of {factor}"):
                check(folder, width=width, height=height)


def test_a_model_without_an_autoencoder_makes_any_size(folder):
    check(folder, width=33, height=7)


def test_noise_and_hub_models_that_are_not_here_are_not_looked_into():
    unknown = Model(path="organisation/model", fingerprint=f"commit:{'0123456789' * 4}")
    for model in (Model(pipeline="noise"), unknown, Model(path="organisation/model")):
        check_model(model, Sampling(width=3, height=3))


def test_looking_at_a_model_imports_no_torch(folder):
    code = (
        "import sys; from seedsweep.storage.records import Model;"
        "from seedsweep.workers.models.fingerprint import fingerprint_model;"
        "fingerprint_model(Model(path=sys.argv[1]));"
        "sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT).returncode == 0
