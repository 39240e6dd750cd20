"""How every dashboard is put together: rows of panels, and the variables above them."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    Panel,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.panels import SOURCE, of_the_deployment

TAG = "seedsweep"
WIDTH = 24


@dataclass(frozen=True, slots=True)
class PanelRow:
    """Panels under one heading; they fill lines of `WIDTH`."""

    title: str
    panels: tuple[Builder[Panel], ...]


def deployment_choice() -> dashboard.QueryVariable:
    """The variable that every query goes by: one deployment, or what bears no such label."""
    return (
        dashboard.QueryVariable("deployment")
        .label("Deployment")
        .datasource(SOURCE)
        .query({"query": "label_values(seedsweep_build_info, deployment)", "refId": "variable"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable that holds one, several or all values that the query finds."""
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": of_the_deployment(query), "refId": "variable"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def text_box(name: str, label: str, description: str, value: str) -> dashboard.TextBoxVariable:
    """A variable that people type in."""
    option = VariableOption(selected=True, text=value, value=value)
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .description(description)
        .default_value(value)
        .current(option)
        .options([option])
    )


def board(
    name: str,
    title: str,
    description: str,
    variables: tuple[Builder[VariableModel], ...],
    rows: tuple[PanelRow, ...],
) -> Dashboard:
    """The dashboard `seedsweep-NAME`, with links to the others."""
    built = (
        dashboard.Dashboard(title)
        .uid(f"{TAG}-{name}")
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink(TAG)
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    for variable in (deployment_choice(), *variables):
        built = built.with_variable(variable)
    numbers = iter(range(1, 1000))
    for row in rows:
        built = built.with_row(dashboard.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            built = built.with_panel(_numbered(panel, next(numbers)))
    return built.build()


def _numbered(panel: Builder[Panel], number: int) -> Builder[Panel]:
    panel.build().id_val = number
    return panel
