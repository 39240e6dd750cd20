"""A campaign whose disk fills up says so, waits, and ends as any other once there is space."""

import os
import subprocess
import sys

from seedsweep.storage.folder_store import FolderStore
from tests.support.campaigns import campaign_file, small_sampling
from tests.support.checkout import ROOT
from tests.support.disks import small_disk

SECONDS = 120


def test_a_run_whose_disk_is_full_says_so_and_goes_on_once_there_is_space(
    tmp_path, joining_ray, wait_until
):
    sampling = small_sampling(40, 64, images_per_unit=10, batch_size=10)
    file = campaign_file(tmp_path / "full.toml", ["a cat", "a dog"], sampling=sampling)
    log = tmp_path / "said.txt"
    with small_disk(tmp_path / "disk", "400k") as disk, log.open("w") as said:
        command = ["run", str(file), "--store", f"file:{disk}/store", "--workers", "1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "seedsweep.cli", *command],
            cwd=tmp_path,
            env={**os.environ, **joining_ray, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=said,
        )
        try:

            def says(words):
                assert process.poll() is None, log.read_text()
                return words in log.read_text()

            wait_until(lambda: says("(No space left on device)"), SECONDS)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)  # noqa: S607
            assert process.wait(SECONDS) == 0, log.read_text()
        finally:
            process.kill()
            process.communicate()
        lines = log.read_text().splitlines()
        (told,) = [line for line in lines if "No space left" in line]
        assert "check the folder's permissions and free space. Nothing is lost: " in told
        assert "The store does what is asked of it again." in lines
        assert "Traceback" not in log.read_text()
        assert len(list(FolderStore(disk / "store").list("shards/"))) == 8
