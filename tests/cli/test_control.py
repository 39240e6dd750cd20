import json

import pytest

from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.storage.campaigns import load_campaign, load_control, load_parked, store_control
from seedsweep.storage.records import Control
from seedsweep.storage.result_parts import store_results
from tests.support.campaigns import park_unit
from tests.support.command_line import refused
from tests.support.results import make_flagged, make_result

STEERING = [
    ("pause", "active", "paused"),
    ("cancel", "active", "cancelled"),
    ("cancel", "paused", "cancelled"),
    ("resume", "paused", "active"),
    ("resume", "cancelled", "active"),
]


@pytest.mark.parametrize(("command", "before", "after"), STEERING)
class TestSteering:
    @pytest.fixture(autouse=True)
    def _before(self, store, campaign_id, before):
        store_control(store, campaign_id, Control(state=before))

    def test_a_broker_is_told_at_once(
        self, seedsweep, campaign_id, store, ledger, restore, broker_url, command, before, after
    ):
        restore()
        assert ledger.counts(campaign_id).state == before
        done = seedsweep(command, campaign_id, SEEDSWEEP_BROKER_URL=broker_url)
        assert (done.returncode, done.stdout) == (0, "")
        assert {"active": "goes on now"}.get(after, f"is {after} now") in done.stderr
        assert ledger.counts(campaign_id).state == after
        assert load_control(store, campaign_id).state == after
        (campaign,) = json.loads(seedsweep("status", "--json").stdout)
        assert campaign["state"] == {"active": "queued"}.get(after, after)

    @pytest.mark.parametrize("is_named", [False, True])
    def test_without_an_answering_broker_it_is_stored_for_the_scheduler(
        self, seedsweep, campaign_id, store, away, command, before, after, is_named
    ):
        environment = {"SEEDSWEEP_BROKER_URL": away} if is_named else {}
        done = seedsweep(command, campaign_id, **environment)
        assert (done.returncode, done.stdout) == (0, "")
        wanted = {"active": "is to go on"}.get(after, f"is to be {after}")
        assert f"{wanted}. Saved. It takes effect when a scheduler next" in done.stderr
        assert load_control(store, campaign_id).state == after
        (campaign,) = json.loads(seedsweep("status", "--json").stdout)
        assert campaign["state"] == {"active": "queued"}.get(after, after)


class TestSteeringInVain:
    @pytest.fixture
    def finish(self, store, campaign_id, shards, restore):
        """Analyse all that is made; the broker is told of it if somebody serves."""

        def finish(is_served):
            campaign = load_campaign(store, campaign_id).campaign
            results = [make_result(prompt=prompt, seeds=4) for prompt in ("a cat", "an owl")]
            results.append(make_flagged(prompt="a <b>dog</b>", seeds=4))
            store_results(store, campaign.analysis_id, campaign_id, results)
            if is_served:
                restore()

        return finish

    def test_what_is_so_already_is_said_to_have_been(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="paused"))
        assert "was paused already" in seedsweep("pause", campaign_id).stderr
        assert "was" not in seedsweep("resume", campaign_id).stderr
        assert "was neither paused nor cancelled" in seedsweep("resume", campaign_id).stderr

    def test_what_is_cancelled_is_not_paused(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="cancelled"))
        ended = seedsweep("pause", campaign_id)
        assert refused(ended, "cancelled", f"seedsweep resume {campaign_id}")
        assert load_control(store, campaign_id).state == "cancelled"

    @pytest.mark.parametrize("state", ["paused", "cancelled"])
    def test_results_of_what_rests_say_so_unless_nothing_is_left(
        self, seedsweep, campaign_id, store, finish, state
    ):
        said = f"The campaign is {state}; `seedsweep resume {campaign_id}` lets it go on."
        assert said not in seedsweep("results", campaign_id).stdout
        store_control(store, campaign_id, Control(state=state))
        assert said in " ".join(seedsweep("results", campaign_id).stdout.split())
        finish(False)
        assert said not in " ".join(seedsweep("results", campaign_id).stdout.split())

    @pytest.mark.parametrize("command", ["pause", "resume", "cancel", "resume --failed"])
    @pytest.mark.parametrize("is_served", [False, True])
    def test_a_campaign_that_is_done_stays_so(
        self, seedsweep, campaign_id, store, ledger, finish, broker_url, command, is_served
    ):
        finish(is_served)
        environment = {"SEEDSWEEP_BROKER_URL": broker_url} if is_served else {}
        done = seedsweep(*command.split(), campaign_id, **environment)
        assert done.returncode == 0
        and_said = ", and" if "--failed" in command else ";"
        assert f"is done already{and_said} nothing was changed." in done.stderr
        assert load_control(store, campaign_id) == Control()
        (campaign,) = json.loads(seedsweep("status", "--json").stdout)
        assert campaign["state"] == "done"


class TestPrioritising:
    def test_what_is_given_is_stored_and_the_rest_stays(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="paused", weight=3))
        done = seedsweep("prioritise", campaign_id, "--priority", "2")
        assert "priority 2 and weight 3" in done.stderr
        assert load_control(store, campaign_id) == Control(state="paused", priority=2, weight=3)

    def test_without_a_change_it_is_refused(self, seedsweep, campaign_id):
        assert refused(seedsweep("prioritise", campaign_id), "--priority", "--weight")

    @pytest.mark.parametrize("wrong", [("--weight", "0"), ("--priority", "9999")])
    def test_what_is_out_of_range_is_refused(self, seedsweep, campaign_id, store, wrong):
        assert seedsweep("prioritise", campaign_id, *wrong).returncode == 2
        assert load_control(store, campaign_id) == Control()

    def test_an_unknown_campaign_is_refused(self, seedsweep, campaign_id):
        assert refused(seedsweep("prioritise", "other", "--priority", "1"), "other", campaign_id)

    def test_a_campaign_can_be_submitted_with_both(self, seedsweep, store):
        done = seedsweep("submit", "campaign.toml", "--priority", "-1", "--weight", "0.5")
        control = load_control(store, done.stdout.strip())
        assert control == Control(priority=-1, weight=0.5)


class TestRetrying:
    """`resume --failed` on a campaign of six units, two a prompt; units 1 and 4 are parked."""

    @pytest.fixture(autouse=True)
    def _parked(self, store, campaign_id):
        plan = load_plan(store, load_campaign(store, campaign_id))
        for index in (1, 4):
            park_unit(store, plan, index, "It broke.")

    @pytest.fixture
    def settle(self, ledger, campaign_id, restore):
        """Make all other units and analyse every prompt, on the broker alone."""

        def settle():
            restore()
            for index in (0, 2, 3, 5):
                ledger.complete(campaign_id, index)
            for prompt in ledger.take_ready(campaign_id, 3):
                ledger.analysed(campaign_id, prompt, flagged=False)
            assert ledger.counts(campaign_id).settled

        return settle

    def test_parked_units_of_a_campaign_that_is_done_are_open_and_their_prompts_judged_again(
        self, seedsweep, campaign_id, store, ledger, settle, broker_url
    ):
        settle()
        done = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert (done.returncode, done.stdout) == (0, "")
        assert f"2 parked units of {campaign_id} are tried again now" in done.stderr
        assert load_parked(store, campaign_id) == []
        counts = ledger.counts(campaign_id)
        assert (counts.parked, counts.done, counts.analysed) == (0, 4, 1)
        assert sorted(ledger.issue(campaign_id, 6)[1]) == [1, 4]
        ledger.complete(campaign_id, 1)
        ledger.complete(campaign_id, 4)
        assert sorted(ledger.take_ready(campaign_id, 3)) == [0, 2]

    def test_a_paused_campaign_goes_on(
        self, seedsweep, campaign_id, store, ledger, restore, broker_url
    ):
        store_control(store, campaign_id, Control(state="paused"))
        restore()
        seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert load_control(store, campaign_id).state == "active"
        assert ledger.counts(campaign_id).state == "active"
        assert sorted(ledger.issue(campaign_id, 6)[1]) == [0, 1, 2, 3, 4, 5]

    def test_a_cancelled_campaign_is_left_alone(self, seedsweep, campaign_id, store):
        store_control(store, campaign_id, Control(state="cancelled"))
        ended = seedsweep("resume", campaign_id, "--failed")
        assert refused(ended, "cancelled", f"seedsweep resume {campaign_id}")
        assert load_control(store, campaign_id).state == "cancelled"
        assert len(load_parked(store, campaign_id)) == 2

    def test_of_one_that_was_cancelled_and_has_nothing_else_left_they_are_tried_again(
        self, seedsweep, campaign_id, store, settle, broker_url
    ):
        settle()
        store_control(store, campaign_id, Control(state="cancelled"))
        done = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert f"2 parked units of {campaign_id} are tried again now" in done.stderr
        assert load_control(store, campaign_id).state == "active"

    @pytest.mark.parametrize("is_named", [False, True])
    def test_without_an_answering_broker_the_next_run_finds_them_open(
        self, seedsweep, campaign_id, store, away, is_named
    ):
        environment = {"SEEDSWEEP_BROKER_URL": away} if is_named else {}
        done = seedsweep("resume", campaign_id, "--failed", **environment)
        assert (done.returncode, done.stdout) == (0, "")
        assert "2 parked units" in done.stderr
        assert "when it is run again" in done.stderr
        plan = load_plan(store, load_campaign(store, campaign_id))
        assert restore_state(store, plan).parked == frozenset()

    def test_said_again_it_tells_a_broker_that_was_away(
        self, seedsweep, campaign_id, ledger, settle, broker_url, away
    ):
        settle()
        seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=away)
        assert ledger.counts(campaign_id).parked == 2
        again = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        assert "2 parked units" in again.stderr
        assert ledger.counts(campaign_id).parked == 0

    def test_where_none_is_parked_it_says_so(
        self, seedsweep, campaign_id, store, ledger, settle, broker_url
    ):
        settle()
        seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        again = seedsweep("resume", campaign_id, "--failed")
        assert again.returncode == 0
        none = f"No unit of {campaign_id} is parked, so none is tried again"
        assert f"{none}, and the campaign was neither paused nor cancelled." in again.stderr
        store_control(store, campaign_id, Control(state="paused"))
        environment = {"SEEDSWEEP_BROKER_URL": broker_url}
        again = seedsweep("resume", campaign_id, "--failed", **environment)
        assert f"{none}; the campaign goes on now." in again.stderr
        assert load_control(store, campaign_id).state == "active"

    def test_a_parked_unit_that_was_stored_after_all_is_not_tried_again(
        self, seedsweep, campaign_id, store, shards, ledger, restore, broker_url
    ):
        restore()
        done = seedsweep("resume", campaign_id, "--failed", SEEDSWEEP_BROKER_URL=broker_url)
        made = f"2 parked units of {campaign_id} are made by now, so none is tried again"
        assert made in done.stderr
        assert ledger.counts(campaign_id).done == 6
        assert load_parked(store, campaign_id) == []


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "check"])
def test_an_unknown_campaign_cannot_be_steered_or_checked(seedsweep, campaign_id, store, command):
    before = list(store.list(""))
    assert refused(seedsweep(command, "other"), "other", campaign_id)
    assert list(store.list("")) == before
