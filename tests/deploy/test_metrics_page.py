"""docs/metrics.md tells of every metric, and is what the catalogue makes of it."""

import pytest

from deploy.metrics_page import metrics_page
from seedsweep.workers.monitoring.metrics import CATALOGUE
from tests.support.checkout import ROOT

PAGE = (ROOT / "docs" / "metrics.md").read_text()


def test_the_page_is_what_the_catalogue_makes_of_it():
    assert metrics_page() == PAGE


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_a_metric_has_one_line_with_its_kind_labels_services_and_meaning(entry):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{entry.name}` ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == 5
    assert cells[1] == entry.kind
    for label, values in entry.labels.items():
        assert f"`{label}`: {', '.join(values) or 'any'}" in cells[2]
    assert cells[3].split(", ") == list(entry.services)
    assert cells[4] == entry.help


def test_metrics_stand_under_the_services_that_show_them():
    sections = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
    assert "seedsweep_images_total" in sections["Worker"]
    assert "seedsweep_ray_actors" in sections["Analyst"]
    assert "seedsweep_units_remaining" in sections["Scheduler"]
    assert "seedsweep_retries_total" in sections["Scheduler and worker"]
    assert "seedsweep_build_info" in sections["Every service"]
