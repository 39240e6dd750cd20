"""What each worker does: how fast, with what, and what holds it up."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import PanelRow, board, choice
from deploy.grafana.panels import (
    IMAGES_A_SECOND,
    UNITS_A_SECOND,
    PanelQuery,
    figures,
    graph,
    heat_map,
    stack,
)

CHOSEN = 'job="seedsweep-worker",host=~"$host"'
WHILE = "[10m]"
"""A unit may take minutes and counts when it ends: shorter windows would show nothing but jumps."""


def workers() -> Dashboard:
    """The dashboard of the workers on the hosts chosen."""
    return board(
        "workers",
        "seedsweep: workers",
        "How fast each worker is, what it spends its time on, and what goes wrong.",
        (choice("host", "Host", 'label_values(up{job="seedsweep-worker"}, host)'),),
        (_now(), _time(), _trouble(), _resources()),
    )


def _now() -> PanelRow:
    return PanelRow(
        "Now",
        (
            figures(
                "Images a second",
                "Images stored by all workers chosen, over the last ten minutes.",
                IMAGES_A_SECOND,
                PanelQuery(f"sum({_images('stored')})", "stored"),
            ),
            figures(
                "Workers",
                "Workers that Prometheus reaches.",
                "short",
                PanelQuery(f"sum(up{{{CHOSEN}}})", "workers"),
            ),
            figures(
                "Idle",
                "Share of the last ten minutes in which devices neither loaded a model nor made "
                "images; a unit counts when it ends.",
                "percentunit",
                PanelQuery(f"avg({_idle()})", "idle"),
                limits=(0.2, 0.5),
                decimals=1,
            ),
            figures(
                "Units in hand",
                "Units that workers have claimed and not stored yet: up to four of each.",
                "short",
                PanelQuery(f"sum(seedsweep_held_units{{{CHOSEN}}})", "in hand"),
                decimals=0,
            ),
            figures(
                "Units failed",
                "Failed renderings within the time range shown; each unit is tried three times.",
                "short",
                PanelQuery(
                    f'sum(increase(seedsweep_units_total{{{CHOSEN},outcome="failed"}}[$__range]))',
                    "failed",
                ),
                limits=(1,),
                decimals=0,
            ),
            figures(
                "Model switches",
                "How often workers turned to another model within the time range shown.",
                "short",
                PanelQuery(
                    f"sum(increase(seedsweep_model_switches_total{{{CHOSEN}}}[$__range]))",
                    "switches",
                ),
                decimals=0,
            ),
        ),
    )


def _time() -> PanelRow:
    return PanelRow(
        "Pace",
        (
            graph(
                "Images a second by worker",
                "Images stored by each worker, over ten minutes.",
                IMAGES_A_SECOND,
                PanelQuery(f"sum by (worker) ({_images('stored')})", "{{worker}}"),
            ),
            graph(
                "Idle by worker",
                "Share of ten minutes in which a worker's device neither loaded a model nor made "
                "images; a unit counts when it ends.",
                "percentunit",
                PanelQuery(_idle(), "{{worker}}"),
                limits=(0.2, 0.5),
                highest=1,
            ),
            stack(
                "What the time goes to",
                "Seconds by step of making a unit, as shares of all; encode and upload run beside "
                "the next unit's denoise.",
                "percentunit",
                PanelQuery(f"sum by (stage) ({_stage_rate('sum')})", "{{stage}}"),
                percent=True,
            ),
            graph(
                "Seconds a unit",
                "Mean seconds that a unit spends in each step of being made.",
                "s",
                PanelQuery(
                    f"sum by (stage) ({_stage_rate('sum')}) / "
                    f"(sum by (stage) ({_stage_rate('count')}) > 0)",
                    "{{stage}}",
                ),
            ),
            heat_map(
                "Seconds to make a unit",
                "How many units took how long; two bands are two speeds, of workers or models.",
                "s",
                PanelQuery(
                    "sum by (le) (increase(seedsweep_stage_seconds_bucket"
                    f'{{{CHOSEN},stage="denoise"}}[$__rate_interval]))',
                    "{{le}}",
                ),
            ),
            graph(
                "Wait in the queue",
                "Seconds from a unit's issue to its claim: half, nine tenths and 99 % wait less.",
                "s",
                *(PanelQuery(_queue_wait(share), f"{share:.0%}") for share in (0.5, 0.9, 0.99)),
            ),
        ),
    )


def _trouble() -> PanelRow:
    return PanelRow(
        "Trouble",
        (
            graph(
                "Units by outcome",
                "Units a second by what became of them. stored: its images are in the store. "
                "shared: taken over from an earlier prompt that is the same to the model. "
                "existed: they were there already. failed: it is tried again, three times in all. "
                "handed_back: returned unharmed (store away, shutdown, or what it takes over is "
                "not there yet). refused: the broker did not let the worker have it: it was done, "
                "another one had it, or the campaign was paused or cancelled. foreign: the "
                "message was not ours.",
                UNITS_A_SECOND,
                PanelQuery(
                    f"sum by (outcome) (rate(seedsweep_units_total{{{CHOSEN}}}{WHILE}))",
                    "{{outcome}}",
                ),
            ),
            graph(
                "Failed units by worker",
                "Units that failed within ten minutes: one bad device shows here.",
                "short",
                PanelQuery(
                    f'sum by (worker) (increase(seedsweep_units_total{{{CHOSEN},outcome="failed"}}'
                    f"{WHILE}))",
                    "{{worker}}",
                ),
                limits=(1,),
            ),
            graph(
                "Retries",
                "Units that workers gave back to the queue within ten minutes, by reason.",
                "short",
                PanelQuery(
                    f"sum by (reason) (increase(seedsweep_retries_total{{{CHOSEN},"
                    f'reason=~"failed|handed_back"}}{WHILE}))',
                    "{{reason}}",
                ),
                limits=(1, 20),
            ),
            graph(
                "Images found in the store",
                "Images a second that were there already when their unit was claimed.",
                IMAGES_A_SECOND,
                PanelQuery(f"sum({_images('existed')})", "existed"),
            ),
            graph(
                "Model switches by worker",
                "How often a worker turned to another model within ten minutes.",
                "short",
                PanelQuery(
                    "round(sum by (worker) "
                    f"(increase(seedsweep_model_switches_total{{{CHOSEN}}}{WHILE})))",
                    "{{worker}}",
                ),
            ),
            graph(
                "Since the last unit",
                "Seconds since a worker last finished a unit; one that has finished none is not "
                "shown.",
                "s",
                PanelQuery(
                    "time() - max by (worker) "
                    f"(seedsweep_last_progress_timestamp_seconds{{{CHOSEN}}} > 0)",
                    "{{worker}}",
                ),
                limits=(900, 3600),
            ),
        ),
    )


def _resources() -> PanelRow:
    return PanelRow(
        "Devices and processes",
        (
            graph(
                "GPU memory",
                "Memory of each worker's GPU: used, and in all; empty if there is no GPU.",
                "bytes",
                PanelQuery(_gpu_memory("used"), "{{worker}} used"),
                PanelQuery(_gpu_memory("total"), "{{worker}} in all"),
                width=6,
            ),
            graph(
                "GPU utilisation",
                "Share of the time that each worker's GPU computed; empty if there is no GPU.",
                "percentunit",
                PanelQuery(
                    f"max by (worker) (seedsweep_device_utilisation_ratio{{{CHOSEN}}})",
                    "{{worker}}",
                ),
                width=6,
                limits=(0.7, 0.3),
                highest=1,
            ),
            graph(
                "Process memory",
                "Memory of the host that each worker's process holds.",
                "bytes",
                PanelQuery(
                    f"sum by (worker) (process_resident_memory_bytes{{{CHOSEN}}})", "{{worker}}"
                ),
                width=6,
            ),
            graph(
                "Process CPU",
                "Cores that each worker's process keeps busy.",
                "short",
                PanelQuery(
                    "sum by (worker) "
                    f"(rate(process_cpu_seconds_total{{{CHOSEN}}}[$__rate_interval]))",
                    "{{worker}}",
                ),
                width=6,
            ),
        ),
    )


def _images(outcome: str) -> str:
    return f'rate(seedsweep_images_total{{{CHOSEN},outcome="{outcome}"}}{WHILE})'


def _stage_rate(part: str) -> str:
    return f"rate(seedsweep_stage_seconds_{part}{{{CHOSEN}}}{WHILE})"


def _idle() -> str:
    # Not the stage `wait`: that is known only once the wait is over.
    busy = f'increase(seedsweep_stage_seconds_sum{{{CHOSEN},stage=~"load|denoise"}}{WHILE})'
    lived = f"clamp_max(time() - process_start_time_seconds{{{CHOSEN}}}, 600)"
    return f"clamp(1 - sum by (worker) ({busy}) / max by (worker) ({lived}), 0, 1)"


def _queue_wait(share: float) -> str:
    buckets = f"sum by (le) (rate(seedsweep_queue_wait_seconds_bucket{{{CHOSEN}}}{WHILE}))"
    return f"histogram_quantile({share}, {buckets})"


def _gpu_memory(kind: str) -> str:
    return f'max by (worker) (seedsweep_device_memory_bytes{{{CHOSEN},kind="{kind}"}})'
