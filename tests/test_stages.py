"""What `.ci/check` runs side by side."""

import subprocess
import sys

from tests.support.checkout import ROOT

HEAVY = {"diffusers", "pandas", "sklearn", "torch", "transformers"}
COLLECT = f"""
import sys, pytest
pytest.main(["--stage", "waiting", "--collect-only", "--quiet", "-p", "no:cacheprovider"])
print(*sorted({HEAVY} & sys.modules.keys()))
"""


def test_what_waits_is_collected_without_what_takes_seconds_to_import():
    """Each of its processes would import that, and few need it."""
    command = [sys.executable, "-c", COLLECT]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *_, summary, imported = collected.stdout.splitlines()
    assert "tests collected" in summary
    assert imported == ""
