"""How every panel looks; what it shows is in `campaign`, `workers` and the others."""

import re
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as prometheus_words
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)

STAT_HEIGHT, GRAPH_HEIGHT = 5, 9
IMAGES_A_SECOND, PROMPTS_A_SECOND, UNITS_A_SECOND = (
    f"suffix:{what}/s" for what in ("images", "prompts", "units")
)
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")

_HEATMAP = prometheus_words.PromQueryFormat.HEATMAP
_OWN, _SHARED = 'deployment="$deployment"', 'deployment=~"$deployment|"'
_SELECTOR = re.compile(r"\b(?P<name>(?:seedsweep_|ray_|process_)\w+|up\b)(?P<brace>\{)?")

Limits = tuple[float, ...]
"""From which values on a figure is yellow, and then red; descending: below which."""


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """A PromQL expression, and what its series are called: words, or {{label}}.

    `expr` names metrics as if there were one deployment: a panel shows those of the one chosen.
    `limits` are of its series alone, in place of the panel's.
    """

    expr: str
    legend: str
    limits: Limits = ()


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
    coloured = limits or any(query.limits for query in queries)
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
        .color_mode(words.BigValueColorMode.VALUE if coloured else words.BigValueColorMode.NONE)
        .text_mode(
            words.BigValueTextMode.AUTO
            if len(queries) == 1 and "{{" not in queries[0].legend
            else words.BigValueTextMode.VALUE_AND_NAME
        )
        .span(width)
        .height(STAT_HEIGHT)
    )
    for name, query in _named(queries):
        if query.limits:
            own = DynamicConfigValue(id_val="thresholds", value=_thresholds(query.limits).build())
            panel = panel.override_by_query(name, [own])
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
            .display_mode(words.LegendDisplayMode.TABLE)
            .placement(words.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "mean", "max"])
            .sort_by("Last *")
            .sort_desc(True)
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


def heat_map(
    title: str, description: str, unit: str, query: PanelQuery, width: int = 8
) -> heatmap.Panel:
    """How many fell into each bucket of a histogram, over time; the query leaves its label `le`."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets([_target(query, "A", instant=False).format(_HEATMAP)])
        .unit("short")
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
        )
        .show_value(words.VisibilityMode.NEVER)
        .show_tooltip()
        .show_legend()
        .span(width)
        .height(GRAPH_HEIGHT)
    )


def _targets(queries: tuple[PanelQuery, ...], instant: bool) -> list[Builder[Dataquery]]:
    return [_target(query, name, instant) for name, query in _named(queries)]


def _named(queries: tuple[PanelQuery, ...]) -> list[tuple[str, PanelQuery]]:
    return [(chr(ord("A") + i), query) for i, query in enumerate(queries)]


def _target(query: PanelQuery, name: str, instant: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(of_the_deployment(query.expr))
        .legend_format(query.legend)
        .ref_id(name)
        .datasource(SOURCE)
    )
    return target.instant() if instant else target.range()


def of_the_deployment(expr: str) -> str:
    """The expression with each of its metrics chosen by the dashboard's deployment too.

    A Ray cluster may be nobody's own, so its metrics may also lack that label.
    """

    def choose(found: re.Match[str]) -> str:
        name, brace = found["name"], found["brace"]
        chosen = _SHARED if name.startswith("ray_") else _OWN
        return f"{name}{{{chosen},{'' if brace else '}'}".replace(",}", "}")

    return _SELECTOR.sub(choose, expr)


def _thresholds(limits: Limits) -> dashboard.ThresholdsConfig:
    colours = ["green", "yellow", "red"] if len(limits) > 1 else ["green", "red"]
    if limits and limits[0] > limits[-1]:
        colours.reverse()
    bounds = (None, *sorted(limits))
    steps = [Threshold(value=v, color=c) for v, c in zip(bounds, colours, strict=False)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
