import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
from tests.support.checkout import ROOT
from tests.support.model_folders import put, safetensors, save_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


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


def files(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


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


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Hub:
    """As much of the hub's API as its client needs for one model, on 127.0.0.1."""

    def __init__(self, listing):
        self.listing = listing
        self.asked = []
        self.out_of_order = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def fetched(self):
        """The paths of the files that were given away, with repeats."""
        start = f"GET /org/tiny/resolve/{COMMIT}/"
        return [line.removeprefix(start) for line in self.asked if line.startswith(start)]

    def answer(self, request):
        path = request.path.partition("?")[0]
        self.asked.append(f"{request.command} {path}")
        name = path.removeprefix(f"/org/tiny/resolve/{COMMIT}/")
        siblings = [{"rfilename": path} for path in self.listing]
        if any(path.endswith(end) for end in self.out_of_order):
            self.send(request, "", 501)  # unlike other failures, the client does not try it again
        elif path in (f"/api/models/org/tiny/revision/{name}" for name in ("main", COMMIT)):
            self.send(request, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}))
        elif path == f"/api/models/org/tiny/tree/{COMMIT}":
            listing = [
                {"type": "file", "path": path, "size": len(data), "oid": sha256(data)[:40]}
                for path, data in self.listing.items()
            ]
            self.send(request, json.dumps(listing))
        elif name in self.listing:
            data = self.listing[name]
            etag = {"ETag": f'"{sha256(data)[:40]}"', "X-Repo-Commit": COMMIT}
            self.send(request, data, headers=etag)
        else:
            self.send(request, "", 404, {"X-Error-Code": "RepoNotFound"})

    def send(self, request, data, status=200, headers=None):
        data = data.encode() if isinstance(data, str) else data
        request.send_response(status)
        for name, value in {"Content-Length": len(data), **(headers or {})}.items():
            request.send_header(name, str(value))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data)


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
