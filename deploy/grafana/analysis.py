"""Whether the analysis keeps pace, and what it spends its time on."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import PanelRow, board
from deploy.grafana.panels import PROMPTS_A_SECOND, PanelQuery, figures, graph, stack

WHILE = "[10m]"
"""Results are stored many at once: shorter windows would show nothing but jumps."""
READY = 'max by (campaign) (seedsweep_campaign_prompts{state="ready"})'
DECODED = (
    f"sum(rate(seedsweep_analysis_decoded_images_total{WHILE})) / "
    f"(sum(rate(seedsweep_analysis_images_total{WHILE})) > 0)"
)
PRUNED = (
    f"1 - sum(rate(seedsweep_analysis_candidate_pairs_total{WHILE})) / "
    f"(sum(rate(seedsweep_analysis_pairs_total{WHILE})) > 0)"
)


def analysis() -> Dashboard:
    """The dashboard of the analysts and their Ray actors."""
    return board(
        "analysis",
        "seedsweep: analysis",
        "Whether the analysis keeps pace, and what it spends its time on.",
        (),
        (_now(), _pace(), _work(), _around()),
    )


def _now() -> PanelRow:
    return PanelRow(
        "Now",
        (
            figures(
                "Prompts a second",
                "Prompts whose results were stored, over the last ten minutes.",
                PROMPTS_A_SECOND,
                PanelQuery(f"sum(rate(seedsweep_prompts_analysed_total{WHILE}))", "analysed"),
            ),
            figures(
                "Flagged",
                "Prompts found flagged within the time range shown.",
                "short",
                PanelQuery("sum(increase(seedsweep_prompts_flagged_total[$__range]))", "flagged"),
                decimals=0,
            ),
            figures(
                "Waiting",
                "Prompts that are ready, and whose result is not stored yet.",
                "short",
                PanelQuery(f"sum({READY}) or vector(0)", "ready"),
                decimals=0,
            ),
            figures(
                "Failed",
                "Analyses that failed within the time range shown; they are tried again.",
                "short",
                PanelQuery("sum(increase(seedsweep_prompts_failed_total[$__range]))", "failed"),
                limits=(1,),
                decimals=0,
            ),
            figures(
                "Images decoded",
                "Share of images that were decoded, as descriptors were not enough, over the last "
                "ten minutes. A prompt that repeats nothing needs none; one that is flagged needs "
                "most of its images. None if nothing was analysed.",
                "percentunit",
                PanelQuery(DECODED, "decoded"),
                decimals=2,
            ),
            figures(
                "Pairs pruned",
                "Share of pairs that the descriptors' bounds settled, over the last ten minutes. "
                "Near 100 % for prompts that repeat nothing, far less for those that repeat much. "
                "None if nothing was analysed.",
                "percentunit",
                PanelQuery(PRUNED, "pruned"),
                decimals=2,
            ),
        ),
    )


def _pace() -> PanelRow:
    return PanelRow(
        "Pace",
        (
            graph(
                "Prompts a second over time",
                "Prompts analysed, those of them that were flagged, and analyses that failed.",
                PROMPTS_A_SECOND,
                PanelQuery(f"sum(rate(seedsweep_prompts_analysed_total{WHILE}))", "analysed"),
                PanelQuery(f"sum(rate(seedsweep_prompts_flagged_total{WHILE}))", "flagged"),
                PanelQuery(f"sum(rate(seedsweep_prompts_failed_total{WHILE}))", "failed"),
            ),
            graph(
                "Prompts that wait",
                "Prompts that are ready, by campaign; a paused campaign's stay as they are.",
                "short",
                PanelQuery(READY, "{{campaign}}"),
            ),
            stack(
                "Ray actors",
                "Actors are the processes of Ray that analyse prompts. Busy ones have a prompt, "
                "idle ones wait for one.",
                "short",
                PanelQuery("sum by (state) (seedsweep_ray_actors)", "{{state}}"),
            ),
        ),
    )


def _work() -> PanelRow:
    return PanelRow(
        "Work on a prompt",
        (
            graph(
                "Seconds a prompt",
                "Seconds an actor takes: half, nine tenths and 99 % of the prompts take less.",
                "s",
                *(PanelQuery(_seconds(share), f"{share:.0%}") for share in (0.5, 0.9, 0.99)),
            ),
            stack(
                "Actors by step",
                "How many actors are in each step, on average; together, as many as are busy.",
                "short",
                PanelQuery(
                    f"sum by (step) (rate(seedsweep_analysis_step_seconds_sum{WHILE}))", "{{step}}"
                ),
            ),
            graph(
                "What descriptors spare",
                "Pairs that the bounds settled, and images that had to be decoded, as shares.",
                "percentunit",
                PanelQuery(PRUNED, "pairs pruned"),
                PanelQuery(DECODED, "images decoded"),
                highest=1,
            ),
        ),
    )


def _around() -> PanelRow:
    return PanelRow(
        "Store and processes",
        (
            graph(
                "Read from the store",
                "Bytes a second that analysts read themselves or through their actors.",
                "Bps",
                PanelQuery(
                    'sum by (direction) (rate(seedsweep_store_bytes_total{job="seedsweep-analyst"}'
                    "[$__rate_interval]))",
                    "{{direction}}",
                ),
            ),
            graph(
                "Store requests",
                "Requests a second by operation.",
                "reqps",
                PanelQuery(
                    "sum by (operation) (rate(seedsweep_store_request_seconds_count"
                    '{job="seedsweep-analyst"}[$__rate_interval]))',
                    "{{operation}}",
                ),
            ),
            graph(
                "Since the last result",
                "Seconds since an analyst last stored results; one that has stored none is not "
                "shown.",
                "s",
                PanelQuery(
                    "time() - max by (instance) (seedsweep_last_progress_timestamp_seconds"
                    '{job="seedsweep-analyst"} > 0)',
                    "{{instance}}",
                ),
                limits=(900, 3600),
            ),
        ),
    )


def _seconds(share: float) -> str:
    buckets = f"sum by (le) (rate(seedsweep_analysis_seconds_bucket{WHILE}))"
    return f"histogram_quantile({share}, {buckets})"
