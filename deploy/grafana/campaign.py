"""How far the campaigns are, when they will be done, and what they cost."""

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import PanelRow, board, choice, text_box
from deploy.grafana.panels import IMAGES_A_SECOND, PanelQuery, figures, graph, shares, stack

UNITS, IMAGES, PROMPTS = (f"seedsweep_campaign_{each}" for each in ("units", "images", "prompts"))
LIFE = "90d"
"""Longer than campaigns take, and than most Prometheus servers remember."""
DEVICE_SECONDS = 'seedsweep_campaign_device_seconds_total{campaign=~"$campaign"}'


def campaign() -> Dashboard:
    """The dashboard of the campaigns chosen."""
    return board(
        "campaign",
        "seedsweep: campaign",
        "How far campaigns are, when they will be done, and what they cost.",
        (
            choice("campaign", "Campaign", "label_values(seedsweep_campaign_units, campaign)"),
            text_box("price", "Price", "Price of an hour of one device.", "1"),
        ),
        (_progress(), _generation(), _analysis()),
    )


def _progress() -> PanelRow:
    return PanelRow(
        "Progress",
        (
            shares(
                "Progress",
                "Share done, of all campaigns chosen together: of units, of images, and of prompts "
                "analysed. Once a campaign is done its curve ends, just before 100 %; `seedsweep "
                "status` has the final number.",
                PanelQuery(f"{_last(UNITS, 'done')} / {_last(UNITS, 'all')}", "units"),
                PanelQuery(f"{_last(IMAGES, 'done')} / {_last(IMAGES, 'all')}", "images"),
                PanelQuery(f"{_last(PROMPTS, 'analysed')} / {_last(PROMPTS, 'all')}", "prompts"),
                width=3,
            ),
            _of_all("Units", "Work units whose shard is stored, of all.", UNITS, "done"),
            _of_all("Images", "Images in shards that are stored, of all.", IMAGES, "done"),
            _of_all("Prompts analysed", "Prompts with a result, of all.", PROMPTS, "analysed"),
            figures(
                "Flagged",
                "Prompts whose largest clique reaches the size that the campaign asks for.",
                "short",
                PanelQuery(_last(PROMPTS, "flagged"), "flagged"),
                width=2,
            ),
            figures(
                "Parked",
                "Units given up, since they failed or lost their worker too often.",
                "short",
                PanelQuery(_last(UNITS, "parked"), "parked"),
                width=2,
                limits=(1,),
            ),
            figures(
                "Spared",
                "Images that are not made, since stages dropped their prompts.",
                "short",
                PanelQuery(_last(IMAGES, "spared"), "spared"),
                width=2,
            ),
            figures(
                "Time left",
                "Time until each campaign's last image, at its own pace of the last half hour. It "
                "leaves out the analysis, and other campaigns that take or leave workers.",
                "s",
                PanelQuery(
                    f"({_remaining()}) / (max by (campaign) (deriv({_done()}[30m])) > 0)",
                    "{{campaign}}",
                ),
                width=3,
            ),
            figures(
                "Cost",
                "Device-hours of each campaign that the time range shows, and their price: since "
                "it began, or as far back as Prometheus remembers.",
                "short",
                PanelQuery(f"({_device_hours()}) * $price", "{{campaign}} cost"),
                PanelQuery(_device_hours(), "{{campaign}} device-hours"),
                width=3,
                decimals=2,
            ),
        ),
    )


def _generation() -> PanelRow:
    return PanelRow(
        "Generation",
        (
            stack(
                "Units by state",
                "Work units, without dropped ones. Those that are not queued yet wait for room in "
                "the window; others wait until their prompt goes on after a stage of the campaign.",
                "short",
                PanelQuery(_now(UNITS, "done"), "done"),
                PanelQuery(_now(UNITS, "claimed"), "claimed"),
                PanelQuery(_now(UNITS, "queued"), "queued"),
                PanelQuery(_now(UNITS, "parked"), "parked"),
                PanelQuery(_now(UNITS, "held"), "wait for a stage"),
                PanelQuery(_not_queued(), "not queued yet"),
                width=12,
            ),
            graph(
                "Images a second",
                "Images whose shard was stored, or found in the store, by campaign.",
                IMAGES_A_SECOND,
                PanelQuery(
                    "clamp_min(max by (campaign) (deriv(seedsweep_campaign_images"
                    '{campaign=~"$campaign",state="done"}[$__rate_interval])), 0)',
                    "{{campaign}}",
                ),
                width=12,
            ),
            graph(
                "Window",
                "Units handed out: queued for a worker, or claimed by one.",
                "short",
                PanelQuery(_by_campaign(UNITS, "queued"), "{{campaign}} queued"),
                PanelQuery(_by_campaign(UNITS, "claimed"), "{{campaign}} claimed"),
                width=12,
            ),
            graph(
                "Devices at work",
                "Live workers that serve the campaign's model; campaigns of one model share them.",
                "short",
                PanelQuery(
                    f"sum by (campaign) (rate({DEVICE_SECONDS}[$__rate_interval]))",
                    "{{campaign}}",
                ),
                width=12,
            ),
        ),
    )


def _analysis() -> PanelRow:
    return PanelRow(
        "Analysis",
        (
            graph(
                "Prompts analysed and flagged",
                "Prompts with a result, and those of them that were flagged.",
                "short",
                PanelQuery(_by_campaign(PROMPTS, "analysed"), "{{campaign}} analysed"),
                PanelQuery(_by_campaign(PROMPTS, "flagged"), "{{campaign}} flagged"),
                width=12,
            ),
            graph(
                "Prompts that wait for analysis",
                "Prompts whose units are all done or parked, and whose result is not stored yet.",
                "short",
                PanelQuery(_by_campaign(PROMPTS, "ready"), "{{campaign}}"),
                width=12,
            ),
        ),
    )


def _of_all(title: str, description: str, metric: str, state: str) -> stat.Panel:
    return figures(
        title,
        description,
        "short",
        PanelQuery(_last(metric, state), state),
        PanelQuery(_last(metric, "all"), "of all"),
        width=3,
        decimals=0,
    )


def _chosen(metric: str, state: str) -> str:
    return f'{metric}{{campaign=~"$campaign",state="{state}"}}'


def _done() -> str:
    return _chosen(UNITS, "done")


def _by_campaign(metric: str, state: str) -> str:
    # Only the scheduler that leads has a campaign's numbers; when the lead changes, both may.
    return f"max by (campaign) ({_chosen(metric, state)})"


def _now(metric: str, state: str) -> str:
    return f"sum({_by_campaign(metric, state)})"


def _last(metric: str, state: str) -> str:
    # A campaign that was settled within the range is still to be seen.
    return f"sum(max by (campaign) (last_over_time({_chosen(metric, state)}[$__range])))"


def _device_hours() -> str:
    # Each scheduler counts since it leads, so those of all are added.
    hours = f"sum by (campaign) (increase({DEVICE_SECONDS}[{LIFE}])) / 3600"
    return f"{hours} and on (campaign) last_over_time({_chosen(UNITS, 'all')}[$__range])"


def _remaining() -> str:
    states = (_by_campaign(UNITS, state) for state in ("all", "done", "parked"))
    return " - ".join(states)


def _not_queued() -> str:
    states = ("all", "done", "claimed", "queued", "parked", "held")
    return " - ".join(_now(UNITS, state) for state in states)
