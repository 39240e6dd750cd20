import json
import os
import signal
import sys
from urllib.parse import urlsplit

from seedsweep.storage.campaigns import store_control
from seedsweep.storage.records import Control
from tests.support.checkout import ROOT
from tests.support.command_line import refused
from tests.support.deployment import Process


def test_status_needs_only_the_store(seedsweep, campaign_id, away):
    (campaign,) = json.loads(seedsweep("status", "--json", SEEDSWEEP_BROKER_URL=away).stdout)
    assert campaign["id"] == campaign_id
    assert campaign["name"] == "small"
    assert campaign["state"] == "queued"
    counts = ("units", "units_done", "units_parked", "images", "prompts", "prompts_analysed")
    assert [campaign[name] for name in counts] == [6, 0, 0, 12, 3, 0]
    assert campaign_id in seedsweep("status").stdout


class TestStatus:
    def test_scripts_get_every_field_that_was_promised(self, seedsweep, campaign_id):
        (campaign,) = json.loads(seedsweep("status", campaign_id, "--json").stdout)
        promised = {"id", "name", "state", "units", "units_done", "units_parked", "images"}
        promised |= {"prompts", "prompts_analysed", "flagged", "images_done", "stuck"}
        assert promised <= campaign.keys()
        assert campaign["stuck"] == []

    def test_a_broker_that_refuses_the_password_is_not_said_to_be_absent(
        self, seedsweep, campaign_id, broker_url
    ):
        where = urlsplit(broker_url)
        wrong = f"redis://:wr0ng@{where.hostname}:{where.port}/0"
        shown = seedsweep("status", SEEDSWEEP_BROKER_URL=wrong)
        assert (shown.returncode, campaign_id in shown.stdout) == (0, True)
        refused = seedsweep("workers", SEEDSWEEP_BROKER_URL=wrong)
        assert refused.returncode == 2
        for said in (shown.stdout, refused.stderr):
            assert "invalid username-password pair" in " ".join(said.split())
            assert "wr0ng" not in said

    def test_counts_are_the_brokers_until_it_forgets(
        self, seedsweep, campaign_id, ledger, restore, broker, broker_url
    ):
        """The broker counts two units whose shards are not in the store."""
        restore()
        ledger.complete(campaign_id, 0)
        ledger.complete(campaign_id, 4)

        def counts():
            finished = seedsweep("status", "--json", SEEDSWEEP_BROKER_URL=broker_url)
            (campaign,) = json.loads(finished.stdout)
            return campaign["units_done"], campaign["images_done"], campaign["state"]

        assert counts() == (2, 4, "stopped")
        assert "2/6" in seedsweep("status").stdout
        assert "No scheduler leads" in seedsweep("status").stdout
        broker.flushall()
        assert counts() == (0, 0, "queued")

    def test_watching_is_for_people(self, seedsweep, campaign_id):
        assert refused(seedsweep("status", "--watch", "--json"), "--watch")

    def test_in_a_log_watching_prints_what_changed_until_ctrl_c(
        self, folder, store, campaign_id, wait_until, monkeypatch
    ):
        code = (
            "import signal; from seedsweep.cli import main as command_line, status_table;"
            "status_table.LOG_SECONDS = 0.01;"
            # Whoever runs the tests in a shell's background has SIGINT ignored for all of them.
            "signal.signal(signal.SIGINT, signal.default_int_handler); command_line.main()"
        )
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        command = [sys.executable, "-c", code, "status", "--watch"]
        watching = Process(command, folder, None, folder / "log")  # in our environment
        for state, then in [("queued", "paused"), ("paused", "cancelled"), ("cancelled", None)]:
            wait_until(lambda word=f" {state} ": word in watching.log.read_text(), timeout=30)
            if then:
                store_control(store, campaign_id, Control(state=then))
        assert watching.log.read_text().count(campaign_id) == 3
        os.kill(watching.pid, signal.SIGINT)
        wait_until(lambda: not watching.is_running)
        assert watching.stop() == 0
        assert "Traceback" not in watching.log.read_text()
