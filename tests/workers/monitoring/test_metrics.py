import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from seedsweep.workers.monitoring.campaign_collector import registry_of
from seedsweep.workers.monitoring.metrics import CATALOGUE

SERVICES = ["scheduler", "analyst", "worker"]


def samples(service):
    """Every sample of ours that a service shows before anything has happened."""
    families = registry_of(service).collect()
    return [s for f in families for s in f.samples if s.name.startswith("seedsweep")]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_shows_its_own_metrics_and_no_others(service):
    shown = {re.sub("_(bucket|sum|count)$", "", s.name) for s in samples(service)}
    own = {entry.name for entry in CATALOGUE.values() if service in entry.services}
    looked_up = {name for name in own if re.match("seedsweep_(campaign|device)", name)}
    assert {name for name in shown if name != "seedsweep_build_info"} == (
        own - looked_up - {"seedsweep_build_info"}
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_value_of_a_label_is_shown_from_the_start(service):
    shown = {
        (re.sub("_(bucket|sum|count)$", "", sample.name), label, value)
        for sample in samples(service)
        for label, value in sample.labels.items()
        if label != "le"
    }
    looked_up = re.compile("seedsweep_(campaign|device)")
    assert shown == {
        (entry.name, label, value)
        for entry in CATALOGUE.values()
        if service in entry.services and not looked_up.match(entry.name)
        for label, values in entry.labels.items()
        for value in values
    }


def test_no_label_names_a_prompt_a_seed_or_a_unit():
    labels = {label for entry in CATALOGUE.values() for label in entry.labels}
    assert labels == {
        *("outcome", "stage", "kind", "step", "state", "reason", "campaign", "operation"),
        *("direction", "version"),
    }


def test_only_campaigns_and_versions_have_values_that_no_list_names():
    unlisted = {
        label for e in CATALOGUE.values() for label, values in e.labels.items() if not values
    }
    assert unlisted == {"campaign", "version"}


def test_counters_end_in_total_and_everything_is_in_base_units():
    for entry in CATALOGUE.values():
        assert re.fullmatch(r"seedsweep(_[a-z]+)+", entry.name)
        assert (entry.kind == "counter") == entry.name.endswith("_total")
        assert entry.kind != "histogram" or entry.name.endswith("_seconds")
        assert not re.search(r"_(ms|milli\w*|minutes|hours|percent|mb|kb)\b", entry.name)


def test_every_metric_says_what_it_is():
    assert len(CATALOGUE) > 30
    assert all(entry.help.endswith(".") for entry in CATALOGUE.values())


def test_what_is_shown_has_the_catalogues_kind_and_words():
    page = registry_of("worker")
    families = text_string_to_metric_families(generate_latest(page).decode())
    for family in (f for f in families if f.name.startswith("seedsweep")):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert (family.type, family.documentation) == (CATALOGUE[name].kind, CATALOGUE[name].help)
