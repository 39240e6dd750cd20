"""seedsweep from outside: read this first.

A campaign file goes in; generations are made by worker processes and stored as shards; Ray judges
every prompt; results and a report come out. Whatever is killed on the way, the same command goes
on, and what is there at the end is what an undisturbed run makes.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from seedsweep.storage import keys
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.pipelines.noise import noise_share
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.processes import children, is_alive
from tests.support.strangers import listening, stranger_gets
from tests.support.undisturbed import undisturbed

PROMPTS = ["a cat", "a dog", "a cow", "a hen", "an owl", "a fox", "a bee", "an ant"]
CAMPAIGN = """
name = "story"
keep = "{keep}"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
[sampling]
seeds = {seeds}
width = {size}
height = {size}
images_per_unit = 10
batch_size = 10
[analysis]
min_clique_size = 5
"""


class Desk:
    """A folder with a campaign, and the command line to work on it, with further `variables`."""

    def __init__(self, folder, variables=None):
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})}
        self.store = FolderStore(folder / "seedsweep-data")

    def write(self, seeds=40, size=16, prompts=PROMPTS, keep="all"):
        campaign = CAMPAIGN.format(seeds=seeds, size=size, keep=keep)
        (self.folder / "campaign.toml").write_text(campaign)
        (self.folder / "prompts.txt").write_text("\n".join(prompts))

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "seedsweep.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, *arguments, **variables):
        """Run a command to its end in this process, with further variables: what came of it."""
        environment = self.environment | variables
        return seedsweep_here(*arguments, folder=self.folder, environment=environment)

    def seedsweep(self, *arguments):
        """Run a command that ends well, in this process; to analyse, it joins a Ray that is there.

        What it starts, as `run` does workers and analyst, are processes all the same.
        """
        finished = self.end(*arguments)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def run(self):
        """Run the campaign to its end; returns its id, the last line of stdout."""
        return self.seedsweep("run", "campaign.toml", "--workers", "1").splitlines()[-1]

    def states(self):
        """The states of all campaigns."""
        return [each["state"] for each in json.loads(self.seedsweep("status", "--json"))]

    def shards(self):
        return list(self.store.list("shards/"))

    def pixels(self):
        """Every stored image: (prompt id, seed) → digest of its pixels; none is there twice."""
        found = {}
        for key in self.shards():
            prompt_id, _ = keys.parse_shard(key)
            for image in decode_shard(self.store.read(key), key):
                assert (prompt_id, image.seed) not in found
                found[prompt_id, image.seed] = image.sha256
        return found


def analysis_actors(pid):
    """The analysis actors below a process."""
    found = []
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [each] if "AnalysisActor" in each.name() else []
    return found


def ports_below(pid):
    """The ports that the processes below a process listen on, each with that one's name."""
    return listening([each.pid for each in psutil.Process(pid).children(recursive=True)])


@pytest.fixture
def desk(tmp_path):
    """A desk whose every command has a Ray of its own, which ends with it."""
    desk = Desk(tmp_path)
    desk.write()
    return desk


@pytest.fixture
def joining(tmp_path, joining_ray):
    """A desk whose commands join a Ray that is there already."""
    desk = Desk(tmp_path, joining_ray)
    desk.write()
    return desk


@pytest.fixture(scope="module")
def finished(tmp_path_factory, joining_ray):
    """A desk whose campaign was run to its end: with its id and results, which tests leave so."""
    desk = Desk(tmp_path_factory.mktemp("finished"), joining_ray)
    desk.write()
    campaign_id = desk.run()
    return desk, campaign_id, json.loads(desk.seedsweep("results", campaign_id, "--json"))


def test_a_campaign_goes_from_its_file_to_a_report(finished):
    desk, campaign_id, results = finished
    (campaign,) = json.loads(desk.seedsweep("status", campaign_id, "--json"))
    assert (campaign["id"], campaign["state"]) == (campaign_id, "done")
    assert (campaign["units_done"], campaign["images_done"]) == (32, 320)
    assert campaign["prompts_analysed"] == 8

    flagged = {result["prompt"] for result in results if result["flagged"]}
    assert {p for p in PROMPTS if noise_share(p) >= 0.25} == flagged
    assert [result["seeds"] for result in results] == [40] * 8
    for result in results:
        if not result["flagged"]:
            assert (result["clique_size"], result["clique_seeds"]) == (0, [])
            assert result["mean_distance"] is result["representative_seed"] is None

    page = desk.folder / "seedsweep-reports" / campaign_id / "index.html"
    assert all(prompt in page.read_text() for prompt in flagged)

    # The same campaign again makes nothing anew; more seeds and one more prompt make only those.
    before = {key: (desk.store.root / key).stat().st_mtime_ns for key in desk.shards()}
    desk.write()
    assert desk.run() == campaign_id
    desk.write(seeds=50, prompts=[*PROMPTS, "a new one"])
    planned = json.loads(desk.seedsweep("plan", "campaign.toml", "--json"))
    assert planned["images"] - planned["images_done"] == 8 * 10 + 50
    assert desk.run() != campaign_id
    after = {key: (desk.store.root / key).stat().st_mtime_ns for key in desk.shards()}
    assert before.items() <= after.items()
    assert len(desk.pixels()) == 9 * 50

    # Other settings judge the stored images again, and the older results stay.
    desk.seedsweep("analyse", campaign_id, "--min-clique-size", "30")
    again = json.loads(desk.seedsweep("results", campaign_id, "--json"))
    assert {r["prompt"] for r in again if r["flagged"]} == {
        p for p in PROMPTS if noise_share(p) == 1
    }
    # All pixels say what the descriptors and some pixels said.
    for words in (("--matrix", "full"), ()):
        desk.seedsweep("analyse", campaign_id, *words)
        assert json.loads(desk.seedsweep("results", campaign_id, "--json")) == results


def test_killed_workers_and_a_killed_run_lose_nothing_and_double_nothing(
    desk, tmp_path_factory, wait_until
):
    desk.write(seeds=120, size=96)
    process = desk.start("run", "campaign.toml", "--workers", "2")

    def some_are_stored(count):
        assert process.poll() is None, process.communicate()
        return len(desk.shards()) >= count

    wait_until(lambda: some_are_stored(5), timeout=60)
    workers = [pid for pid, command in children(process.pid).items() if "--device" in command]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: some_are_stored(30), timeout=60)

    offspring = children(process.pid)
    assert len(offspring) >= 4
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(is_alive, offspring)), timeout=60)
    stored = len(desk.shards())
    assert 30 <= stored < 96

    campaign_id = desk.run()
    (campaign,) = json.loads(desk.seedsweep("status", "--json"))
    assert (campaign["state"], campaign["units_parked"]) == ("done", 0)

    expected = undisturbed(tmp_path_factory.mktemp("undisturbed"), desk.folder / "campaign.toml")
    assert len(desk.pixels()) == 8 * 120
    assert desk.pixels() == expected.pixels
    assert json.loads(desk.seedsweep("results", campaign_id, "--json")) == expected.results


def test_sigterm_stops_a_run_as_ctrl_c_does(joining, wait_until):
    desk = joining
    desk.write(seeds=2000, size=96)
    process = desk.start("run", "campaign.toml", "--workers", "1")
    wait_until(lambda: desk.shards(), timeout=60)
    offspring = children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, progress = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "goes on from here" in progress
    assert "Traceback" not in progress
    assert not any(map(is_alive, offspring))
    assert desk.states() == ["stopped"]


def test_ctrl_c_stops_everything_and_says_how_to_go_on(desk, wait_until):
    desk.write(seeds=2000, size=96)
    process = desk.start("run", "campaign.toml", "--workers", "1")
    wait_until(lambda: desk.shards(), timeout=60)
    offspring = children(process.pid)
    wait_until(lambda: analysis_actors(process.pid), timeout=120)
    wait_until(lambda: desk.states() == ["running"])
    gets = {port: stranger_gets(port) for port in ports_below(process.pid)}
    open_still = ports_below(process.pid).items()
    gets = {(port, name): gets[port] for port, name in open_still if port in gets}
    assert len(gets) > 5
    assert all(refused and not granted for granted, refused in gets.values()), gets

    process.send_signal(signal.SIGINT)
    _, progress = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" in progress
    assert "Traceback" not in progress
    assert not any(map(is_alive, offspring))
    assert desk.states() == ["stopped"]


def test_a_cluster_that_does_not_answer_is_said_before_an_image_is_made(desk, free_port):
    desk.environment["SEEDSWEEP_RAY_ADDRESS"] = address = f"127.0.0.1:{free_port()}"
    desk.environment["RAY_ADDRESS"] = "auto"
    ended = desk.end("run", "campaign.toml")
    assert ended.returncode == 3
    assert f"The Ray cluster at {address} does not answer" in ended.stderr
    (campaign,) = json.loads(desk.seedsweep("status", "--json"))
    assert ended.stdout.splitlines()[-1] == campaign["id"]
    assert campaign["state"] == "queued"
    assert desk.shards() == []


RAY_THAT_FAILS = """
from types import SimpleNamespace
class Ray:
    get_node = start_api_server = start_ray_process = ConsolePopen = RayParams = dict
    set_sigterm_handler = None
_private = SimpleNamespace(services=Ray, parameter=Ray, utils=Ray)
def init(**options):
    raise OSError("No space left on device")
"""


def test_where_no_ray_starts_what_is_there_is_reported_and_the_campaign_has_stopped(desk):
    (desk.folder / "broken").mkdir()
    (desk.folder / "broken" / "ray.py").write_text(RAY_THAT_FAILS)
    broken = str(desk.folder / "broken")
    ended = desk.end("run", "campaign.toml", "--workers", "1", PYTHONPATH=broken)
    assert ended.returncode == 3, ended.stderr
    assert "Ray does not start on this machine (No space left on device)" in ended.stderr
    assert "Traceback" not in ended.stderr
    (campaign,) = json.loads(desk.seedsweep("status", "--json"))
    assert ended.stdout.splitlines()[-1] == campaign["id"]
    assert campaign["state"] == "stopped"
    assert (desk.folder / "seedsweep-reports" / campaign["id"] / "index.html").exists()


def test_a_broken_shard_is_named_its_images_left_out_and_made_anew_once_deleted(finished):
    desk, campaign_id, expected = finished
    desk.write()
    # Images of the campaign, whatever others have made since.
    broken = next(key for key in desk.shards() if keys.parse_shard(key)[1].last < 40)
    before = desk.pixels()
    desk.store.replace(broken, b"not a shard any more")
    for part in desk.store.list("results/"):
        desk.store.delete(part)

    ended = desk.end("run", "campaign.toml")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == campaign_id
    assert broken in ended.stderr
    assert "Traceback" not in ended.stderr
    results = json.loads(desk.seedsweep("results", campaign_id, "--json"))
    assert sorted(result["seeds"] for result in results) == [30] + [40] * 7

    desk.store.delete(broken)
    desk.run()
    assert desk.pixels() == before
    assert json.loads(desk.seedsweep("results", campaign_id, "--json")) == expected


@pytest.mark.nightly
def test_images_of_flagged_prompts_alone_are_kept_and_nothing_is_made_twice(joining, finished):
    desk, (_, _, expected) = joining, finished
    desk.write(keep="flagged")
    campaign_id = desk.run()
    results = json.loads(desk.seedsweep("results", campaign_id, "--json"))
    assert results == expected
    flagged = {result["prompt_id"] for result in results if result["flagged"]}
    before = {key: (desk.store.root / key).stat().st_mtime_ns for key in desk.shards()}
    assert {keys.parse_shard(key)[0] for key in before} == flagged
    assert len(before) == 4 * len(flagged) < 32

    assert desk.run() == campaign_id
    assert {key: (desk.store.root / key).stat().st_mtime_ns for key in desk.shards()} == before
    (campaign,) = json.loads(desk.seedsweep("status", "--json"))
    assert (campaign["state"], campaign["images_done"]) == ("done", 320)
    checkup = json.loads(desk.seedsweep("check", campaign_id, "--json"))
    assert (checkup["stored"], checkup["receipted"]) == (len(before), 32 - len(before))
    desk.seedsweep("report", campaign_id, "-o", "again")

    desk.seedsweep("analyse", campaign_id, "--min-clique-size", "30")
    again = json.loads(desk.seedsweep("results", campaign_id, "--json"))
    assert {r["prompt"] for r in again if r["flagged"]} == {
        p for p in PROMPTS if noise_share(p) == 1
    }
    refused = desk.end("analyse", campaign_id, "--matrix", "full", "--json")
    assert refused.returncode == 1
    assert {result["prompt_id"] for result in json.loads(refused.stdout)} == flagged
    assert f"{8 - len(flagged)} of 8 prompts could not be judged" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert json.loads(desk.seedsweep("results", campaign_id, "--json")) == again
