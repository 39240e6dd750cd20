import json

import pytest

from seedsweep.scheduler.doctor import checks
from seedsweep.scheduler.doctor.diagnosis import Diagnosis
from seedsweep.storage.records import Worker
from tests.support.command_line import refused


@pytest.mark.parametrize("command", ["scheduler", "worker", "analyst", "workers"])
def test_a_service_without_a_broker_says_which_variable_is_missing(seedsweep, command):
    assert refused(seedsweep(command), "SEEDSWEEP_BROKER_URL")


class TestWorkers:
    def test_live_and_lost_ones_are_shown(self, seedsweep, workforce, broker, broker_url):
        said = {"host": "gpu1", "device": "cpu", "model": "m", "images": 7}
        beating = [Worker(name=name, images_per_second=1.5, **said) for name in ("here", "gone")]
        for worker in beating:
            workforce.beat(worker)
        broker.zadd("seedsweep:beats", {"gone": broker.time()[0] * 1000 - 60_000})
        shown = seedsweep("workers", SEEDSWEEP_BROKER_URL=broker_url)
        assert shown.returncode == 0
        assert "no scheduler leads; 0 analysts and 1 worker live." in shown.stdout
        lost = [line for line in shown.stdout.splitlines() if "lost" in line]
        assert ["gone" in line for line in lost] == [True]
        gone, here = json.loads(seedsweep("workers", "--json").stdout)
        assert here["worker"] == beating[0].model_dump()
        assert gone["worker"]["name"] == "gone"
        assert gone["seconds_ago"] == pytest.approx(60, abs=5)
        assert here["seconds_ago"] < 5
        assert (here["alive"], gone["alive"]) == (True, False)

    def test_a_broker_that_is_away_is_said_with_its_own_exit_code(self, seedsweep, away):
        ended = seedsweep("workers", SEEDSWEEP_BROKER_URL=away)
        assert (ended.returncode, ended.stdout) == (3, "")
        assert len(ended.stderr.splitlines()) == 1


class TestDoctor:
    @pytest.fixture
    def without_ray(self, monkeypatch):
        """Ray takes seconds to look at."""
        monkeypatch.setattr(checks, "_ray", lambda address: iter(()))

    def test_where_all_is_well_it_ends_with_0(self, seedsweep, broker_url, monkeypatch):
        fine = Diagnosis("Ray", "fine", "It is looked at in test_checks.")
        monkeypatch.setattr(checks, "_ray", lambda address: iter([fine]))
        ended = seedsweep("doctor", "campaign.toml", "--json", SEEDSWEEP_BROKER_URL=broker_url)
        diagnoses = json.loads(ended.stdout)
        assert ended.returncode == 0, diagnoses
        assert {"broker", "store", "Ray", "devices", "model"} <= {f["about"] for f in diagnoses}
        assert not [f for f in diagnoses if f["verdict"] == "failure"]

    @pytest.mark.usefixtures("without_ray")
    def test_a_broker_that_is_away_ends_it_with_3(self, seedsweep, away):
        ended = seedsweep("doctor", "--json", SEEDSWEEP_BROKER_URL=away)
        (failed,) = [f for f in json.loads(ended.stdout) if f["verdict"] == "failure"]
        assert (failed["about"], failed["unreachable"]) == ("broker", True)
        assert ended.returncode == 3
        assert "FAILURE  broker:" in seedsweep("doctor").stdout

    @pytest.mark.usefixtures("without_ray")
    def test_a_kind_of_store_that_does_not_exist_ends_it_with_2(self, seedsweep, broker_url):
        where = {"SEEDSWEEP_BROKER_URL": broker_url, "SEEDSWEEP_STORE_URL": "ftp://somewhere"}
        ended = seedsweep("doctor", "--json", **where)
        failed = [f for f in json.loads(ended.stdout) if f["verdict"] == "failure"]
        assert "store" in {f["about"] for f in failed}
        assert ended.returncode == 2
