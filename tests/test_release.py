"""What docs/releasing.md has people change by hand says the same everywhere."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from seedsweep import __version__
from tests.support.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    chart = yaml.safe_load((ROOT / "deploy/helm/seedsweep/Chart.yaml").read_text())
    assert {citation["version"], chart["version"], chart["appVersion"]} == {__version__}
    assert citation["license"] == PROJECT["license"]
    for name in ("deploy/compose.yaml", "deploy/docker/Dockerfile"):
        tags = re.findall(r"\bseedsweep-[\w-]+:([\w.-]+)", (ROOT / name).read_text())
        assert set(tags) == {__version__}, name


def test_hooks_call_the_tools_of_the_environment_and_fetch_nothing():
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [each["repo"] for each in configuration["repos"]] == ["local"]
    for hook in configuration["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


GIT = shutil.which("git")


@pytest.mark.skipif(not GIT or not (ROOT / ".git").exists(), reason="git says what is tracked")
def test_a_checkout_takes_at_most_40_megabytes():
    listed = subprocess.run(
        [GIT, "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert sum(file.lstat().st_size for file in files if file.exists()) <= 40e6
