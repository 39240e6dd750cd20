"""Commands whose streams are closed, full, left by their reader or of another encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.result_parts import store_results
from tests.support.campaigns import campaign_file, small_sampling, submit_file
from tests.support.checkout import ROOT
from tests.support.results import make_flagged

PROMPT = "Zoë 日本"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a store in which a campaign has a result."""
    folder = tmp_path_factory.mktemp("streams")
    file = campaign_file(folder / "c.toml", [PROMPT], sampling=small_sampling(4, 8))
    store = FolderStore(folder / "seedsweep-data")
    campaign = submit_file(store, file).campaign
    results = [make_flagged(prompt=PROMPT)]
    store_results(store, campaign.analysis_id, campaign.campaign_id, results)
    return folder


@pytest.fixture
def shell(folder):
    """Run a line of a shell in the folder, in which `seedsweep` is this one."""

    def shell(line, **environment):
        run = f'seedsweep() {{ "{sys.executable}" -m seedsweep.cli "$@"; }}\n{line}'
        return subprocess.run(
            ["bash", "-c", run],  # noqa: S607
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            timeout=120,
        )

    return shell


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is always full")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("seedsweep results small >&-", 0, "small is the campaign"),
        ("seedsweep results small --json 2>&-", 0, ""),
        ("seedsweep results small <&- >&- 2>&-", 0, ""),
        ("seedsweep results nothing >&-", 2, "knows no campaign"),
        pytest.param("seedsweep results small >/dev/full", 2, "No space left", marks=FULL),
        pytest.param("seedsweep status >/dev/full", 2, "No space left", marks=FULL),
        pytest.param("seedsweep --help >/dev/full", 2, "No space left", marks=FULL),
        pytest.param("seedsweep results small 2>/dev/full", 0, "", marks=FULL),
        ("{ seedsweep results small; echo code $? >&2; } | true", 0, "code 0"),
        ("{ seedsweep results small --json; echo code $? >&2; } | true", 0, "code 0"),
        ("{ { seedsweep results small 2>&1 >&3; echo code $? >&4; } | true; } 3>&1 4>&2",
         0, "code 0"),
        ("seedsweep status --watch | true", 0, ""),
    ],
)  # fmt: skip
def test_nothing_ends_in_a_traceback(shell, line, code, said):
    ended = shell(line)
    told = ended.stderr.decode()
    assert ended.returncode == code, told
    assert said in told
    assert "Traceback" not in told
    assert "Exception" not in told


def test_what_is_said_does_not_come_among_what_was_asked_for(shell):
    ended = shell("seedsweep results small --json 2>&-")
    assert ended.stdout.startswith(b"[")


def test_no_file_takes_the_place_of_a_stream_that_was_closed(shell, folder):
    shell("seedsweep results small --csv out.csv >&- 2>&-")
    assert (folder / "out.csv").read_text().startswith("prompt_id,")


@pytest.mark.parametrize(
    ("environment", "frame"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "+--"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "+--"),
        ({"LC_ALL": "C"}, "┏━━"),
        ({"LANG": "nowhere.at-all"}, "━━"),
    ],
)
def test_what_an_encoding_lacks_is_an_escape_of_which_the_table_knows_the_width(
    shell, environment, frame
):
    ended = shell("seedsweep results small", **environment)
    assert ended.returncode == 0, ended.stderr
    _, *table = ended.stdout.decode().splitlines()[:6]
    assert frame in table[0]
    if frame == "+--":
        assert r"Zo\xeb \u65e5\u672c" in "".join(table)
        assert len(set(map(len, table))) == 1
    else:
        assert PROMPT in "".join(table)
