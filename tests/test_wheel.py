"""The wheel is all of seedsweep, and nothing else: it works without the checkout."""

import csv
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from seedsweep import __version__
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import parse_shard
from seedsweep.storage.records import prompt_id_of
from tests.support.campaigns import campaign_file, small_sampling
from tests.support.checkout import ROOT

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("seedsweep", "audit", "scheduler", "storage", "workers")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources with its links, as git makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, source)
    bytecode = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=bytecode)
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is installed in, on the packages that are there."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--quiet", "--no-deps", "--no-compile", "--target", folder, wheel)
    return folder


@pytest.fixture
def seedsweep(installed, tmp_path):
    """Run a command of the installed seedsweep, away from the checkout."""

    def run(*arguments):
        ours = {name: value for name, value in os.environ.items() if "SEEDSWEEP" not in name}
        return subprocess.run(
            [sys.executable, "-P", "-m", "seedsweep.cli", *arguments],
            cwd=tmp_path,
            env={**ours, "PYTHONPATH": str(installed), "SEEDSWEEP_CACHE_DIR": str(tmp_path / "c")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def recorded(wheel):
    """The paths that the wheel's RECORD lists."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/RECORD")]
        return [row[0] for row in csv.reader(io.StringIO(archive.read(name).decode()))]


def test_its_record_holds_no_other_top_level_name(wheel):
    tops = {path.partition("/")[0] for path in recorded(wheel)}
    assert tops == {"seedsweep", f"seedsweep-{__version__}.dist-info"}


def test_it_holds_every_file_of_the_rooms_once(wheel):
    def files(folder, below):
        found = (path for path in folder.rglob("*") if path.is_file())
        kept = (path for path in found if path.suffix in {".py", ".lua", ".html", ".typed"})
        return {f"{below}{path.relative_to(folder).as_posix()}" for path in kept}

    rooms = {name: files(ROOT / name, f"seedsweep/{name}/") for name in PACKAGES[1:]}
    front = {path for path in files(ROOT / "seedsweep", "seedsweep/") if path not in rooms}
    wanted = front.union(*rooms.values())
    packed = [path for path in recorded(wheel) if path.startswith("seedsweep/")]
    assert sorted(packed) == sorted(wanted)
    assert {"seedsweep/py.typed", "seedsweep/storage/ledger.lua"} <= wanted


def test_a_campaign_runs_from_it_to_its_report_and_keeps_what_it_is_to_keep(seedsweep, tmp_path):
    campaign_file(
        tmp_path / "campaign.toml",
        ["a cat", "a dog", "a hen"],
        sampling=small_sampling(6, 16, batch_size=3, images_per_unit=3),
        analysis={"min_clique_size": 3},
        keep="flagged",
    )
    done = seedsweep("run", "campaign.toml", "--store", "file:store", "--workers", "1")
    assert done.returncode == 0, done.stderr
    campaign_id = done.stdout.splitlines()[-1]
    drawn = seedsweep("report", campaign_id, "-o", "report", "--store", "file:store")
    assert drawn.returncode == 0, drawn.stderr
    assert campaign_id in Path(tmp_path / "report" / "index.html").read_text()
    kept = {parse_shard(key)[0] for key in FolderStore(tmp_path / "store").list("shards/")}
    assert kept == {prompt_id_of("a dog"), prompt_id_of("a hen")}


def test_its_doctor_examines_this_machine(seedsweep):
    done = seedsweep("doctor", "--store", "file:store")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
    assert "Ray" in done.stdout


def test_what_runs_is_the_wheel_and_of_its_version(seedsweep, installed):
    assert seedsweep("--version").stdout == f"seedsweep {__version__}\n"
    code = "import seedsweep.storage.store as module; print(module.__file__)"
    where = subprocess.check_output(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(installed)}, text=True
    )
    assert where.strip() == str(installed / "seedsweep" / "storage" / "store.py")


def test_a_checkout_without_its_links_is_refused_in_one_sentence(tmp_path):
    """As a zip of it, or a system without symbolic links, would leave it."""
    shutil.copytree(ROOT / "seedsweep", tmp_path / "seedsweep", symlinks=True)
    (tmp_path / "seedsweep" / "audit").unlink()
    (tmp_path / "seedsweep" / "audit").write_text("../audit")
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "seedsweep.cli", "--help"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "seedsweep/audit is no folder" in done.stderr
