"""Temporary folders: none outlives its process for longer than until the next one starts."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from seedsweep.storage import held_folder as module
from seedsweep.storage.held_folder import held_folder

HOLD = """
import sys, time
from seedsweep.storage.held_folder import held_folder
with held_folder("ss-") as folder:
    (folder / "secret").write_text("x")
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The usual place of temporary folders, here and in children."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_killed_processes_folder_goes_with_the_next_and_a_living_ones_stays(place):
    killed, alive = (
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True)
        for _ in range(2)
    )
    with killed, alive:
        folders = [process.stdout.readline().strip() for process in (killed, alive)]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with held_folder("ss-") as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            assert {str(each) for each in place.iterdir()} == {folders[1], str(folder)}
        alive.communicate("\n")
    assert [*place.iterdir()] == []


def test_a_folder_of_another_prefix_and_what_is_no_folder_stay(place):
    (place / "st-dead").mkdir()
    (place / "ss-file").touch()
    (place / "ss-link").symlink_to(place / "st-dead")
    with held_folder("ss-"):
        pass
    assert {each.name for each in place.iterdir()} == {"st-dead", "ss-file", "ss-link"}


def test_where_the_file_system_knows_no_locks_the_folder_goes_at_the_end(place, monkeypatch):
    def refuse(descriptor, what):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with contextlib.suppress(KeyError), held_folder("ss-") as folder:
        assert [*place.iterdir()] == [folder]
        raise KeyError
    assert [*place.iterdir()] == []


def test_a_place_that_cannot_be_written_is_said(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "missing"))
    with pytest.raises(OSError, match="missing"), held_folder("ss-"):
        pass


def test_a_folder_that_another_process_takes_for_dead_before_it_is_held_is_made_anew(
    place, monkeypatch
):
    """Two that start at once: one sees the other's folder when nobody holds it yet."""
    made = []

    def make(prefix, dir):
        made.append(module.Path(mkdtemp(prefix=prefix, dir=dir)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    mkdtemp = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", make)
    folder, lock = module.hold_folder(place, "ss-")
    assert [*place.iterdir()] == [folder] == made[1:]
    os.close(lock)
