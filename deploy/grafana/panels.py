"""How every panel and dashboard looks; what it shows is in `campaign`, `workers` and the others."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    FieldColorModeId,
    Panel,
    Threshold,
    ThresholdsMode,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

TAG = "seedsweep"
WIDTH = 24
STAT_HEIGHT, GRAPH_HEIGHT = 5, 8
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")

Limits = tuple[float, ...]
"""From which values on a figure is yellow, and then red."""


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """A PromQL expression, and what its series are called: words, or {{label}}."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading; they fill lines of `WIDTH`."""

    title: str
    panels: tuple[Builder[Panel], ...]


def figures(
    title: str,
    description: str,
    unit: str,
    *queries: PanelQuery,
    width: int = 4,
    limits: Limits = (),
    decimals: int | None = None,
) -> stat.Panel:
    """One large figure for each series, as it is now."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(_targets(queries, instant=True))
        .unit(unit)
        .no_value("none")
        .thresholds(_thresholds(limits))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(words.BigValueGraphMode.NONE)
        .color_mode(words.BigValueColorMode.VALUE if limits else words.BigValueColorMode.NONE)
        .text_mode(
            words.BigValueTextMode.AUTO
            if len(queries) == 1 and "{{" not in queries[0].legend
            else words.BigValueTextMode.VALUE_AND_NAME
        )
        .span(width)
        .height(STAT_HEIGHT)
    )
    return panel if decimals is None else panel.decimals(decimals)


def shares(title: str, description: str, *queries: PanelQuery, width: int = 6) -> bargauge.Panel:
    """One bar from 0 to 100 % for each series, as it is now."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(_targets(queries, instant=True))
        .unit("percentunit")
        .min(0)
        .max(1)
        .decimals(1)
        .no_value("none")
        .thresholds(_thresholds(()))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .display_mode(words.BarGaugeDisplayMode.BASIC)
        .orientation(words.VizOrientation.HORIZONTAL)
        .span(width)
        .height(STAT_HEIGHT)
    )


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: PanelQuery,
    width: int = 8,
    limits: Limits = (),
    highest: float | None = None,
) -> timeseries.Panel:
    """Lines over time, from 0 up; `highest` is where the axis ends, if it has an end."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(_targets(queries, instant=False))
        .unit(unit)
        .min(0)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(words.LegendDisplayMode.LIST)
            .placement(words.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(words.TooltipDisplayMode.MULTI)
            .sort(words.SortOrder.DESCENDING)
        )
        .line_width(1)
        .fill_opacity(10)
        .show_points(words.VisibilityMode.NEVER)
        .thresholds(_thresholds(limits))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .span(width)
        .height(GRAPH_HEIGHT)
    )
    if limits:
        style = words.GraphTresholdsStyleMode.DASHED
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    return panel if highest is None else panel.max(highest)


def stack(
    title: str,
    description: str,
    unit: str,
    *queries: PanelQuery,
    width: int = 8,
    percent: bool = False,
) -> timeseries.Panel:
    """Areas over time, one upon the other; with `percent`, each as its share of them all."""
    mode = words.StackingMode.PERCENT if percent else words.StackingMode.NORMAL
    panel = graph(title, description, unit, *queries, width=width)
    return panel.stacking(common.StackingConfig().mode(mode).group("A")).fill_opacity(40)


def choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable that holds one, several or all values that the query finds."""
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": "variable"})
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
    rows: tuple[Row, ...],
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
    for variable in variables:
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


def _targets(queries: tuple[PanelQuery, ...], instant: bool) -> list[Builder[Dataquery]]:
    return [_target(query, chr(ord("A") + i), instant) for i, query in enumerate(queries)]


def _target(query: PanelQuery, name: str, instant: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(name)
        .datasource(SOURCE)
    )
    return target.instant() if instant else target.range()


def _thresholds(limits: Limits) -> dashboard.ThresholdsConfig:
    colours = ("yellow", "red") if len(limits) > 1 else ("red",)
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=v, color=c) for v, c in zip(limits, colours, strict=False)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
