"""Outside programs that tests run where they are installed."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def need(program):
    """The path of a program; without it a test is skipped on a laptop, and fails in CI."""
    path = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None:
        message = f"{program} is not installed; .ci/run names the package."
        if os.environ.get("SEEDSWEEP_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)
    return path
