import hashlib
import json
import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError, ModelLoadError, StoreUnavailableError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models import staging
from seedsweep.workers.models.fetching import model_places
from seedsweep.workers.models.fingerprint import fingerprint_files, fingerprint_model
from seedsweep.workers.models.folder import all_files
from seedsweep.workers.models.staging import stage_model
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign
from tests.support.hub import COMMIT, sha256
from tests.support.model_folders import files, put, safetensors, save_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of this host."""
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def model(tmp_path):
    """A folder model of a few bytes: files of 7, 2, 0 and 20 bytes, and one that nobody loads."""
    folder = tmp_path / "model"
    for name, text in {
        "model_index.json": '{"a":1}',
        "unet/config.json": "{}",
        "tokenizer/merges.txt": "",
        "unet/model.safetensors": "abcdefghijklmnopqrst",
        "README.md": "about",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return submitted(folder)


def submitted(folder):
    model = Model(path=str(folder))
    return model.model_copy(update={"fingerprint": fingerprint_model(model)})


def folder_of(store, model):
    return model_places(store, model).model


def is_empty(cache):
    return not [file for file in cache.rglob("*") if file.suffix != ".lock" and file.is_file()]


def rewrite_manifest(store, model, change):
    """Store a manifest that differs from the staged one by a change of its files."""
    key = keys.model_manifest(model.fingerprint)
    manifest = json.loads(store.read(key))
    change(manifest["files"])
    store.replace(key, json.dumps(manifest).encode())


def pixels(pipeline):
    return np.stack([made.pixels for made in pipeline.generate("a cat", range(3))])


def test_a_staged_model_is_loaded_with_its_folder_gone(
    store, cache, tiny_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(staging, "PART", 10_000)
    folder = tmp_path / "gone"
    shutil.copytree(tiny_model.path, folder)
    campaign = make_campaign(model=tiny_model.model_copy(update={"path": str(folder)}), steps=2)
    expected = pixels(load_pipeline(store, campaign, "cpu", 1))
    stage_model(store, campaign.model)
    assert any(key.endswith(".part-00001") for key in store.list("model/"))
    shutil.rmtree(folder)
    assert np.array_equal(pixels(load_pipeline(store, campaign, "cpu", 1)), expected)
    assert not folder.exists()
    assert not is_empty(cache)


@pytest.mark.parametrize("part", [1, 7, 10, 2**20])
def test_the_fetched_copy_is_what_the_model_is_loaded_from(store, cache, model, part, monkeypatch):
    monkeypatch.setattr(staging, "PART", part)
    folder = Path(model.path)
    expected = files(folder)
    del expected["README.md"]
    assert stage_model(store, model) == sum(map(len, expected.values()))
    folder.rename(folder.with_name("elsewhere"))
    fetched = folder_of(store, model)
    assert files(fetched) == expected
    assert fetched == cache / "models" / model.fingerprint.removeprefix("sha256:")


def test_links_as_the_hubs_cache_makes_them_are_staged_as_the_files_they_name(store, model):
    folder = Path(model.path)
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        blob = folder.with_name(f"blob-{file.name}")
        file.rename(blob)
        file.symlink_to(blob)
    stage_model(store, model)
    shutil.rmtree(folder)
    assert not any(file.is_symlink() for file in folder_of(store, model).rglob("*"))


def test_staging_again_sends_nothing(store, model):
    assert stage_model(store, model) > 0
    assert stage_model(store, model) == 0


class FailingStore(FolderStore):
    """A store that breaks down once it has taken so many objects."""

    def __init__(self, root, room):
        super().__init__(root)
        self.room = room

    def create(self, key, data):
        self.room -= 1
        if self.room < 0:
            raise StoreUnavailableError("full")
        return super().create(key, data)


@pytest.mark.parametrize("room", [0, 2, 9])
def test_a_half_staged_model_is_not_whole_until_it_is_staged_to_the_end(
    store, model, room, monkeypatch
):
    monkeypatch.setattr(staging, "PART", 2)
    with pytest.raises(StoreUnavailableError):
        stage_model(FailingStore(store.root, room), model)
    sent = sum(len(store.read(key)) for key in store.list("model/"))
    whole = 7 + 2 + 0 + 20
    assert sent < whole
    away = model.model_copy(update={"path": "/nowhere"})
    with pytest.raises(ModelLoadError, match="--stage-model"):
        folder_of(store, away)
    assert stage_model(store, model) == whole - sent
    assert files(folder_of(store, away))


def test_what_was_lost_from_the_store_is_staged_again(store, model):
    stage_model(store, model)
    store.delete(keys.model_file(model.fingerprint, "unet/config.json"))
    with pytest.raises(ModelLoadError, match=r"files/unet/config\.json is missing"):
        folder_of(store, model.model_copy(update={"path": "/nowhere"}))
    assert stage_model(store, model) == 2


@pytest.mark.parametrize("data", [b"", b"{", b'{"files": [{}]}'])
def test_an_unreadable_manifest_is_staged_again(store, model, data):
    stage_model(store, model)
    store.replace(keys.model_manifest(model.fingerprint), data)
    assert stage_model(store, model) == 0
    assert files(folder_of(store, model.model_copy(update={"path": "/nowhere"})))


def test_a_file_that_changes_while_it_is_staged_is_refused_and_taken_back(
    store, model, monkeypatch
):
    monkeypatch.setattr(staging, "PART", 5)
    weights = Path(model.path) / "unet" / "model.safetensors"

    class Meddler(FolderStore):
        def create(self, key, data):
            if "model_index" in key:
                weights.write_text("ABCDEFGHIJKLMNOPQRST")
            return super().create(key, data)

    with pytest.raises(ConfigError, match=r"unet/model\.safetensors.*changed"):
        stage_model(Meddler(store.root), model)
    assert not [key for key in store.list("model/") if "safetensors" in key]
    assert not store.exists(keys.model_manifest(model.fingerprint))


def test_a_model_that_is_not_the_submitted_one_is_not_staged(store, model):
    (Path(model.path) / "unet" / "config.json").write_text("{ }")
    with pytest.raises(ConfigError, match="no longer the one that was submitted"):
        stage_model(store, model)
    assert list(store.list("")) == []


def test_a_file_that_no_key_can_name_is_refused_before_anything_is_sent(store, model):
    (Path(model.path) / "unet" / "my weights.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"'unet/my weights\.json'.*rename it"):
        stage_model(store, submitted(Path(model.path)))
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    "model",
    [
        Model(pipeline="noise", fingerprint="noise:"),
        Model(path="organisation/model", fingerprint=f"commit:{COMMIT}"),
    ],
)
def test_only_folders_are_staged(store, model):
    with pytest.raises(ConfigError, match="needs no staging"):
        stage_model(store, model)


def test_a_folder_that_cannot_be_read_is_not_staged(store, model):
    make_unreadable(Path(model.path) / "unet" / "config.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        stage_model(store, model)


def make_unreadable(file):
    """Make reading the file fail, for root as well."""
    file.unlink()
    file.symlink_to("/proc/self/mem")


def test_the_models_own_folder_is_taken_while_it_is_what_was_submitted(store, cache, model):
    stage_model(store, model)
    assert folder_of(store, model) == Path(model.path)
    assert not cache.exists()


def test_a_folder_that_is_not_what_was_submitted_is_left_for_the_staged_copy(store, cache, model):
    stage_model(store, model)
    (Path(model.path) / "unet" / "config.json").write_text("{ }")
    copy = folder_of(store, model)
    assert copy.is_relative_to(cache)
    assert (copy / "unet" / "config.json").read_text() == "{}"


def test_a_model_that_is_not_the_submitted_one_is_refused(store, model):
    (Path(model.path) / "unet" / "config.json").write_text("{ }")
    with pytest.raises(ModelLoadError, match="not the one that was submitted") as caught:
        folder_of(store, model)
    assert model.fingerprint in str(caught.value)
    assert submitted(Path(model.path)).fingerprint in str(caught.value)


def test_a_model_that_is_nowhere_is_refused_with_the_remedies(store, model):
    shutil.rmtree(model.path)
    with pytest.raises(ModelLoadError, match=r"mount it at the same path.*--stage-model"):
        folder_of(store, model)


def test_a_folder_that_cannot_be_read_is_as_good_as_none(store, model):
    stage_model(store, model)
    make_unreadable(Path(model.path) / "unet" / "config.json")
    assert (folder_of(store, model) / "unet" / "config.json").read_text() == "{}"


@pytest.fixture
def with_checkpoint(tmp_path):
    """A folder that holds a checkpoint besides, which the pipeline does not load."""
    folder = save_folder(tmp_path / "whole")
    put(folder, "v1-5-pruned.safetensors", safetensors())
    return folder


def test_what_a_pipeline_does_not_load_is_not_staged(store, with_checkpoint):
    staged = submitted(with_checkpoint)
    stage_model(store, staged)
    shutil.rmtree(with_checkpoint)
    assert "v1-5-pruned.safetensors" not in files(folder_of(store, staged))


def test_a_fingerprint_of_all_files_as_earlier_versions_took_it_is_loaded_and_staged(
    store, cache, with_checkpoint
):
    listed = {
        path: hashlib.sha256(data).hexdigest() for path, data in files(with_checkpoint).items()
    }
    listed = {path: listed[path] for path in all_files(with_checkpoint)}
    before = Model(path=str(with_checkpoint), fingerprint=fingerprint_files(listed))
    assert before.fingerprint != submitted(with_checkpoint).fingerprint
    assert folder_of(store, before) == with_checkpoint
    stage_model(store, before)
    shutil.rmtree(with_checkpoint)
    assert "v1-5-pruned.safetensors" in files(folder_of(store, before))


class DeafStore(FolderStore):
    def read(self, key):
        pytest.fail("the store was asked again")


def test_what_was_fetched_once_needs_no_store(store, model):
    stage_model(store, model)
    shutil.rmtree(model.path)
    fetched = folder_of(store, model)
    assert folder_of(DeafStore(store.root), model) == fetched


@pytest.fixture
def staged(store, model):
    """A staged model whose folder is not on this host."""
    stage_model(store, model)
    shutil.rmtree(model.path)
    return model


@pytest.mark.parametrize("data", [b"", b"short", b"Abcdefghijklmnopqrst", b"a" * 1000])
def test_a_corrupted_file_is_refused_by_name_and_not_kept(store, cache, staged, data):
    store.replace(keys.model_file(staged.fingerprint, "unet/model.safetensors"), data)
    for _ in range(2):
        with pytest.raises(ModelLoadError, match=r"unet/model\.safetensors.*stage-model"):
            folder_of(store, staged)
    assert is_empty(cache)


def test_a_store_that_fails_midway_leaves_nothing_and_is_asked_again(store, cache, staged):
    class Failing(FolderStore):
        def read(self, key):
            if "safetensors" in key:
                raise StoreUnavailableError("gone")
            return super().read(key)

    with pytest.raises(StoreUnavailableError):
        folder_of(Failing(store.root), staged)
    assert is_empty(cache)
    assert files(folder_of(store, staged))


def evil(**changes):
    def change(listed):
        listed[0].update(changes)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(evil(path="/tmp/seedsweep-evil.json"), id="absolute"),  # noqa: S108
        pytest.param(evil(path="../evil.json"), id="out of the folder"),
        pytest.param(evil(path="unet/../../evil.json"), id="out by a detour"),
        pytest.param(evil(path="unet/.evil.json"), id="hidden"),
        pytest.param(evil(path="evil.json\n"), id="with a line's end"),
        pytest.param(evil(path="unet\\evil.json"), id="with a backslash"),
        pytest.param(evil(path=""), id="no path"),
        pytest.param(evil(path="unet/evil.py"), id="code"),
        pytest.param(evil(path="unet/model.bin"), id="a pickle"),
        pytest.param(evil(sha256="0"), id="no hash"),
        pytest.param(evil(parts=0), id="no parts"),
        pytest.param(evil(parts=10**9), id="parts without end"),
        pytest.param(evil(link="/etc/passwd"), id="an unknown field"),
        pytest.param(lambda listed: listed.append("x"), id="no file at all"),
    ],
)
def test_a_manifest_that_lists_anything_else_is_not_followed(store, cache, staged, change):
    rewrite_manifest(store, staged, change)
    before = files(store.root.parent)
    with pytest.raises(ModelLoadError, match="does not list a staged model's files"):
        folder_of(store, staged)
    assert files(store.root.parent) == before


def test_a_file_beyond_the_models_own_is_not_taken(store, cache, staged):
    def add(listed):
        listed.append(listed[-1] | {"path": "unet/extra.json", "sha256": sha256(b"{}")})

    store.create(keys.model_file(staged.fingerprint, "unet/extra.json"), b"{}")
    rewrite_manifest(store, staged, add)
    with pytest.raises(ModelLoadError, match="not the model that was submitted"):
        folder_of(store, staged)
    assert is_empty(cache)


@pytest.mark.parametrize("tail", ["", "/below.json"])
def test_a_file_listed_twice_or_as_a_folder_too_is_refused(store, cache, staged, tail):
    def add(listed):
        listed.append(listed[-1] | {"path": listed[-1]["path"] + tail})

    rewrite_manifest(store, staged, add)
    with pytest.raises(ModelLoadError):
        folder_of(store, staged)
    assert is_empty(cache)


def test_a_copy_of_another_model_is_refused(store, cache, staged):
    other = staged.model_copy(update={"fingerprint": f"sha256:{'0' * 64}"})
    for key in list(store.list(keys.model_prefix(staged.fingerprint))):
        tail = key.removeprefix(keys.model_prefix(staged.fingerprint))
        store.create(keys.model_prefix(other.fingerprint) + tail, store.read(key))
    with pytest.raises(ModelLoadError, match="not the model that was submitted"):
        folder_of(store, other)
    assert is_empty(cache)


@pytest.mark.parametrize("fingerprint", ["", "noise:", "sha256:../../evil", "sha256:0"])
def test_a_fingerprint_that_names_no_files_leads_nowhere(store, fingerprint):
    with pytest.raises(ModelLoadError, match="submit the campaign again"):
        folder_of(store, Model(path="/nowhere", fingerprint=fingerprint))


def test_what_a_killed_process_left_is_swept_away(store, cache, staged):
    left = cache / "models" / f"{staged.fingerprint.removeprefix('sha256:')}.unfinished"
    (left / "unet").mkdir(parents=True)
    (left / "unet" / "config.json").write_text("half")
    (left / "leftover.json").write_text("{}")
    assert "leftover.json" not in files(folder_of(store, staged))
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(store, cache, staged):
    cache.write_text("a file where the folder should be")
    with pytest.raises(ModelLoadError, match="set SEEDSWEEP_CACHE_DIR"):
        folder_of(store, staged)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "{}/xdg"}, "xdg/seedsweep"),
        ({"HOME": "{}/home"}, "home/.cache/seedsweep"),
    ],
)
def test_the_cache_is_the_users_where_none_is_named(
    store, staged, tmp_path, environment, expected, monkeypatch
):
    for name in ("SEEDSWEEP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert folder_of(store, staged).is_relative_to(tmp_path / expected)


class WatchedStore(FolderStore):
    """A store that notes what is read, and hands out files only once all processes have come."""

    def read(self, key):
        with (self.root / ".reads").open("a") as reads:
            reads.write(f"{key}\n")
        if not key.endswith("manifest.json"):
            deadline = time.monotonic() + 30
            while reads_of(self, "manifest.json") < 4 and time.monotonic() < deadline:
                time.sleep(0.005)
        return super().read(key)


def reads_of(store, name):
    return (store.root / ".reads").read_text().count(f"{name}\n")


def fetch_in_a_process(root, model, found):
    found.put(folder_of(WatchedStore(root), model))


def test_four_processes_that_ask_at_once_fetch_once(store, staged):
    spawned = multiprocessing.get_context("spawn")
    found = spawned.Queue()
    arguments = (store.root, staged, found)
    processes = [spawned.Process(target=fetch_in_a_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    folders = {found.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert len(folders) == 1
    assert reads_of(store, "manifest.json") == 4
    assert reads_of(store, "model.safetensors") == reads_of(store, "config.json") == 1
