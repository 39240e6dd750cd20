import importlib
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["seedsweep", "scheduler"])
def test_the_package_is_ours_and_not_one_of_the_same_name_from_pypi(name):
    module = importlib.import_module(name)
    assert Path(module.__file__) == HERE / name / "__init__.py"
