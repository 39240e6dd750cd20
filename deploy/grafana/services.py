"""Whether the services, the broker, the store and Ray are well."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import PanelRow, board
from deploy.grafana.panels import PanelQuery, figures, graph, stack
from deploy.grafana.servers import broker, ray, store

OURS = 'job=~"seedsweep-.*"'
NOT_BELOW_ONE = (1, 0.5)
"""Of a count that should not be 0: red then."""


def services() -> Dashboard:
    """The dashboard of the services and of what they lean on."""
    return board(
        "services",
        "seedsweep: services",
        "Whether the services, the broker, the store and Ray are well.",
        (),
        (_now(), _work(), _trouble(), broker(), store(), _processes(), ray()),
    )


def _now() -> PanelRow:
    return PanelRow(
        "Now",
        (
            figures(
                "Services that answer",
                "How many of each kind Prometheus reaches; silent: those that it knows of and does "
                "not reach. Red: none of a kind, as a deployment needs one of each.",
                "short",
                *(
                    PanelQuery(
                        f'sum(up{{job="seedsweep-{kind}"}}) or vector(0)',
                        f"{kind}s",
                        limits=NOT_BELOW_ONE,
                    )
                    for kind in ("scheduler", "analyst", "worker")
                ),
                PanelQuery(f"sum(1 - up{{{OURS}}})", "silent", limits=(1,)),
                width=6,
            ),
            figures(
                "Who leads",
                "1 if a scheduler leads, and of each scheduler by its address: 1 if it leads, 0 if "
                "it waits for its turn. Red: none leads.",
                "short",
                PanelQuery(
                    "max(seedsweep_scheduler_leading)", "a scheduler leads", limits=NOT_BELOW_ONE
                ),
                PanelQuery("max by (instance) (seedsweep_scheduler_leading)", "{{instance}} leads"),
                width=4,
            ),
            figures(
                "Workers",
                "Workers that showed life just now, and those lost within the last hour. Red: none "
                "lives.",
                "short",
                PanelQuery("max(seedsweep_workers_live)", "live", limits=NOT_BELOW_ONE),
                PanelQuery("max(seedsweep_workers_lost)", "lost", limits=(1,)),
                width=4,
            ),
            figures(
                "Store",
                "Services for which the store fails what they write or read, or is slow.",
                "short",
                PanelQuery("sum by (kind) (seedsweep_store_trouble)", "{{kind}}"),
                width=3,
                limits=(1,),
            ),
            figures(
                "Broker",
                "1 if a service gets answers from the broker, and how long the last one took.",
                "short",
                PanelQuery("max(seedsweep_broker_answers)", "answers", limits=NOT_BELOW_ONE),
                PanelQuery("max(seedsweep_broker_round_trip_seconds)", "seconds", limits=(0.1, 1)),
                width=3,
            ),
            figures(
                "Versions",
                "How many services run each version.",
                "short",
                PanelQuery("count by (version) (seedsweep_build_info)", "{{version}}"),
                width=4,
            ),
        ),
    )


def _work() -> PanelRow:
    return PanelRow(
        "Work",
        (
            graph(
                "Units remaining",
                "Units neither done, parked nor dropped, in active campaigns.",
                "short",
                PanelQuery("max(seedsweep_units_remaining)", "remaining"),
            ),
            stack(
                "Window",
                "Units handed out, over all campaigns: queued for a worker, or claimed by one.",
                "short",
                PanelQuery("max by (state) (seedsweep_window_units)", "{{state}}"),
            ),
            graph(
                "Workers over time",
                "Workers that showed life within 15 seconds, and those lost within the last hour.",
                "short",
                PanelQuery("max(seedsweep_workers_live)", "live"),
                PanelQuery("max(seedsweep_workers_lost)", "lost within an hour"),
            ),
        ),
    )


def _trouble() -> PanelRow:
    return PanelRow(
        "Trouble",
        (
            graph(
                "Lease expiries",
                "Claimed units whose worker vanished, within ten minutes.",
                "short",
                PanelQuery("sum(increase(seedsweep_lease_expiries_total[10m]))", "expired"),
                limits=(1, 5),
            ),
            graph(
                "Retries",
                "Units that went back to the queue within ten minutes, by reason.",
                "short",
                PanelQuery(
                    "sum by (reason) (increase(seedsweep_retries_total[10m]))", "{{reason}}"
                ),
                limits=(1, 20),
            ),
            graph(
                "Parked units",
                "Units given up within ten minutes: failed three times, or lost their worker five.",
                "short",
                PanelQuery(
                    "sum by (reason) (increase(seedsweep_parked_units_total[10m]))", "{{reason}}"
                ),
                limits=(1,),
            ),
        ),
    )


def _processes() -> PanelRow:
    return PanelRow(
        "Processes",
        (
            graph(
                "Process memory",
                "Memory that processes hold, all of a service together.",
                "bytes",
                PanelQuery(f"sum by (job) (process_resident_memory_bytes{{{OURS}}})", "{{job}}"),
            ),
            graph(
                "Process CPU",
                "Cores that processes keep busy, all of a service together.",
                "short",
                PanelQuery(
                    f"sum by (job) (rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval]))",
                    "{{job}}",
                ),
            ),
            graph(
                "Open files",
                "Files and connections that the process with most of them has open, as a share of "
                "what it may.",
                "percentunit",
                PanelQuery(
                    f"max by (job) (process_open_fds{{{OURS}}} / process_max_fds{{{OURS}}})",
                    "{{job}}",
                ),
                limits=(0.8, 0.95),
                highest=1,
            ),
        ),
    )
