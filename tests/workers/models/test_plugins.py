"""Plug-ins and functions are found, and named, without importing anything of them."""

import sys

import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.models.plugins import find_function


def fingerprint(path, pipeline="gan"):
    return fingerprint_model(Model(pipeline=pipeline, path=str(path)))


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder on the import path."""
    (tmp_path / "modules").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return tmp_path / "modules"


def test_a_plug_in_is_named_by_its_package_version_and_path_and_is_not_imported(install):
    install()
    assert fingerprint("") == "plugin:gan my-gan 1.2"
    assert fingerprint("https://gan.example/v1") == "plugin:gan my-gan 1.2 https://gan.example/v1"
    install(version="1.3")
    assert fingerprint("") == "plugin:gan my-gan 1.3"
    assert "my_gan" not in sys.modules


def test_a_plug_ins_file_is_named_by_its_bytes(install, tmp_path):
    install()
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    before = fingerprint(weights)
    assert before == fingerprint(weights.rename(tmp_path / "moved.pt"))
    (tmp_path / "moved.pt").write_bytes(b"2")
    assert fingerprint(tmp_path / "moved.pt") != before


def test_a_plug_ins_folder_is_named_by_all_its_files_that_are_not_hidden(install, tmp_path):
    install()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.pt").write_bytes(b"1")
    before = fingerprint(folder)
    (folder / ".cache").write_bytes(b"")
    assert fingerprint(folder) == before
    (folder / "weights.pt").write_bytes(b"2")
    assert fingerprint(folder) != before


def test_a_name_that_nobody_provides_is_refused_with_what_there_is(install):
    install()
    with pytest.raises(ConfigError, match=r"'magic'.*there are diffusers, gan, noise, python;"):
        fingerprint("", "magic")


def test_a_name_that_two_packages_provide_is_refused(install):
    install()
    install(package="gan-too")
    with pytest.raises(ConfigError, match=r"provided by gan-too 1\.2 and my-gan 1\.2; uninstall"):
        fingerprint("")


def test_a_function_is_named_with_every_byte_of_its_file(modules):
    file = modules / "drawing.py"
    file.write_text("raise SystemExit")
    before = fingerprint("drawing:draw", "python")
    assert before.startswith("python:drawing:draw sha256:")
    assert fingerprint("drawing:paint", "python") != before
    file.write_text("raise SystemExit ")
    assert fingerprint("drawing:draw", "python") != before


def test_finding_a_function_runs_neither_its_module_nor_its_packages(modules):
    nested = modules / "outer" / "inner"
    nested.mkdir(parents=True)
    for file in (nested.parent / "__init__.py", nested / "__init__.py", nested / "drawing.py"):
        file.write_text("raise SystemExit")
    assert find_function("outer.inner.drawing:draw").spec.origin == str(nested / "drawing.py")
    assert find_function("outer.inner:draw").spec.origin == str(nested / "__init__.py")
    assert not {"outer", "outer.inner"} & set(sys.modules)


def test_a_function_of_a_package_without_init_is_found(modules):
    (modules / "bare").mkdir()
    (modules / "bare" / "drawing.py").write_text("")
    assert find_function("bare.drawing:draw").source == b""


@pytest.mark.parametrize(
    "name",
    [
        *("", "draw", "drawing:", ":draw", "a b:draw", "a:b:c", "a-b:c", "a:b.c", "../a:b", ".a:b"),
        *("a..b:c", "ä:b", "a:b\n"),
    ],
)
def test_what_is_not_module_and_function_is_refused(name):
    with pytest.raises(ConfigError, match="write it as module:function"):
        find_function(name)


@pytest.mark.parametrize(
    "module", ["nowhere", "nowhere.at.all", "json.nowhere", "sys", "math", "os.path", "bare"]
)
def test_a_module_without_a_source_file_here_is_refused(modules, module):
    (modules / "bare").mkdir()
    with pytest.raises(ConfigError, match=f"'{module}' of model.path has no source file"):
        find_function(f"{module}:draw")


# A file that is there, and that nobody can read from its beginning, not even root.
UNREADABLE = "/proc/self/mem"


def test_files_that_cannot_be_read_are_reported(install, modules):
    install()
    with pytest.raises(ConfigError, match=f"The model {UNREADABLE} cannot be read"):
        fingerprint(UNREADABLE)
    (modules / "drawing.py").symlink_to(UNREADABLE)
    with pytest.raises(ConfigError, match="source of the module 'drawing' cannot be read"):
        find_function("drawing:draw")
