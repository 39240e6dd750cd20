import csv
import json

from tests.support.command_line import refused


def test_results_are_a_table_for_people_and_every_prompt_for_scripts(
    seedsweep, campaign_id, folder
):
    (result,) = json.loads(seedsweep("results", campaign_id, "--json").stdout)
    assert result["clique_seeds"] == [1, 3]
    assert result["match"] is None
    assert "a <b>dog</b>" in seedsweep("results", campaign_id).stdout
    seedsweep("results", campaign_id, "--csv", "out.csv")
    with (folder / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["prompt"], row["clique_seeds"], row["l2"]) == ("a <b>dog</b>", "1 3", "")


def test_report_prints_the_path_of_the_page(seedsweep, campaign_id, folder):
    finished = seedsweep("report", campaign_id, "-o", "page")
    assert (folder / finished.stdout.strip()).is_file()
    usual = seedsweep("report", campaign_id).stdout.strip()
    assert usual == f"seedsweep-reports/{campaign_id}/index.html"
    assert (folder / usual).is_file()


def test_report_overwrites_its_own_page_and_no_other(seedsweep, campaign_id, folder):
    assert seedsweep("report", campaign_id, "-o", "page").returncode == 0
    assert seedsweep("report", campaign_id, "-o", "page").returncode == 0
    (folder / "page" / "index.html").write_text("<title>my home</title>")
    refused = seedsweep("report", campaign_id, "-o", "page")
    assert refused.returncode == 2
    assert "page/index.html is no page of seedsweep" in refused.stderr
    assert (folder / "page" / "index.html").read_text() == "<title>my home</title>"


def test_settings_that_make_no_sense_are_refused_by_analyse(seedsweep, campaign_id):
    wrong = seedsweep("analyse", campaign_id, "--edge-threshold", "-1")
    assert refused(wrong, "edge_threshold")
    wrong = seedsweep("analyse", campaign_id, "--min-clique-size", "5")
    assert refused(wrong, "min_clique_size = 5", "more than the 4 seeds")
    wrong = seedsweep("analyse", campaign_id, "--verification-threshold", "0.1")
    assert refused(wrong, "verification")


class TestCheck:
    def test_a_sound_campaign_passes(self, seedsweep, campaign_id, shards):
        passed = seedsweep("check", campaign_id)
        assert passed.returncode == 0
        assert "6 of 6 units stored, 12 images" in passed.stdout
        checkup = json.loads(seedsweep("check", campaign_id, "--json").stdout)
        assert (checkup["stored"], checkup["corrupt"], checkup["holes"]) == (6, [], [])

    def test_a_corrupt_shard_is_named_and_made_again_only_on_demand(
        self, seedsweep, campaign_id, store, shards
    ):
        store.replace(shards[3], b"")
        found = seedsweep("check", campaign_id)
        assert found.returncode == 1
        assert shards[3] in found.stdout
        assert "--repair" in found.stderr
        found = seedsweep("check", campaign_id, "--json")
        assert found.returncode == 1
        assert [fault["index"] for fault in json.loads(found.stdout)["corrupt"]] == [3]
        assert store.exists(shards[3])
        repaired = seedsweep("check", campaign_id, "--repair")
        assert repaired.returncode == 0
        assert "1 unit is made again when the campaign is run again" in repaired.stderr
        assert [key for key in shards if not store.exists(key)] == [shards[3]]
        assert seedsweep("check", campaign_id).returncode == 0

    def test_with_a_broker_holes_are_found_and_workers_make_all_again(
        self, seedsweep, campaign_id, store, shards, ledger, restore, broker_url
    ):
        restore()
        store.replace(shards[3], b"")
        store.delete(shards[5])
        found = seedsweep("check", campaign_id, SEEDSWEEP_BROKER_URL=broker_url)
        assert found.returncode == 1
        assert "Unit 5: counted as done" in found.stdout
        assert ledger.counts(campaign_id).done == 6
        repaired = seedsweep("check", campaign_id, "--repair")
        assert repaired.returncode == 0
        assert "2 units are made again by the running workers" in repaired.stderr
        assert ledger.counts(campaign_id).done == 4
        assert sorted(ledger.issue(campaign_id, 6)[1]) == [3, 5]

    def test_a_broker_that_is_away_is_said_and_nothing_is_deleted(
        self, seedsweep, campaign_id, store, shards, away
    ):
        store.replace(shards[3], b"")
        ended = seedsweep("check", campaign_id, "--repair", SEEDSWEEP_BROKER_URL=away)
        assert ended.returncode == 3
        assert store.exists(shards[3])
