"""Only `seedsweep` is imported: the same file by another name would be another module."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import seedsweep
from tests.support.checkout import ROOT
from tests.support.onnx_models import need_embeddings

TELEMETRY = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
ROOMS = ("audit", "scheduler", "storage", "workers")
MAY_IMPORT = re.compile(
    rf"\b(?:from|import)[\s\\]+(?:[\w.]+(?:\s+as\s+\w+)?\s*,[\s\\]*)*(?:{'|'.join(ROOMS)})\b"
)
"""What stands in every file that imports a room by its own name, and in few others."""


def test_the_package_is_that_of_this_checkout():
    assert Path(seedsweep.__file__) == ROOT / "seedsweep" / "__init__.py"


def test_no_library_tells_its_maker_of_what_we_run(tmp_path):
    """onnxruntime does by default, and keeps an id of the machine in the user's cache."""
    need_embeddings()
    asked = {name: v for name, v in os.environ.items() if name not in ("CI", *TELEMETRY)}
    whereabouts = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", "import seedsweep.pipelines, onnxruntime"]
    subprocess.run(command, env=asked | whereabouts, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_a_link_to_the_folder_of_its_name(room):
    assert (ROOT / "seedsweep" / room).readlink() == Path("..") / room


def test_no_file_imports_a_room_without_seedsweep_before_it():
    texts = {file: file.read_text() for file in ROOT.rglob("*.py") if ".venv" not in file.parts}
    assert len(texts) > 300
    possible = {file: text for file, text in texts.items() if MAY_IMPORT.search(text)}
    named = {file: imported(text) & {*ROOMS} for file, text in possible.items()}
    assert {file: names for file, names in named.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import storage",
        "from storage import keys",
        "    from workers.analysis.parts import find_parts as found",
        "import os, storage.keys as keys",
        "import os.path as path, sys, audit",
        "x = 1; import scheduler",
        "from \\\n  audit import findings",
    ],
)
def test_however_a_room_is_imported_it_is_found(line):
    assert MAY_IMPORT.search(line)
    assert imported(line.strip()) & {*ROOMS}


def imported(text):
    """The top-level names that the source imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_no_two_classes_have_one_name():
    named = Counter()
    for room in (*ROOMS, "seedsweep/cli", "seedsweep/web", "deploy"):
        for file in (ROOT / room).rglob("*.py"):
            nodes = ast.walk(ast.parse(file.read_text()))
            named.update(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert len(named) > 300
    assert [name for name, times in named.items() if times > 1] == []
