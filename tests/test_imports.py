"""Only `seedsweep` is imported: the same file by another name would be another module."""

import ast
from pathlib import Path

import pytest

import seedsweep
from tests.support.checkout import ROOT

ROOMS = ("audit", "scheduler", "storage", "workers")


def test_the_package_is_that_of_this_checkout():
    assert Path(seedsweep.__file__) == ROOT / "seedsweep" / "__init__.py"


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_a_link_to_the_folder_of_its_name(room):
    assert (ROOT / "seedsweep" / room).readlink() == Path("..") / room


def test_no_file_imports_a_room_without_seedsweep_before_it():
    named = {file: imported(file) for file in ROOT.rglob("*.py") if ".venv" not in file.parts}
    assert len(named) > 300
    assert {file: names & {*ROOMS} for file, names in named.items() if names & {*ROOMS}} == {}


def imported(file):
    """The top-level names that the file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names
