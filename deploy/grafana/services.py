"""Whether the services, the broker, the store and Ray are well."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.boards import PanelRow, board
from deploy.grafana.panels import PanelQuery, figures, graph, stack

OURS = 'job=~"seedsweep-.*"'
SINCE = "[$__rate_interval]"
NOT_BELOW_ONE = (1, 0.5)
"""Of a count that should not be 0: red then."""


def services() -> Dashboard:
    """The dashboard of the services and of what they lean on."""
    return board(
        "services",
        "seedsweep: services",
        "Whether the services, the broker, the store and Ray are well.",
        (),
        (_now(), _work(), _trouble(), _broker(), _store(), _processes(), _ray()),
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


def _broker() -> PanelRow:
    return PanelRow(
        "Broker",
        (
            graph(
                "Broker memory",
                "Memory that the broker uses, and its limit; a limit of 0 says that it has none.",
                "bytes",
                PanelQuery("max(seedsweep_broker_memory_bytes)", "used"),
                PanelQuery("max(seedsweep_broker_memory_limit_bytes)", "limit"),
            ),
            graph(
                "Connections",
                "Connections that the broker has: about five for each worker.",
                "short",
                PanelQuery("max(seedsweep_broker_connections)", "connections"),
            ),
            graph(
                "Round trip",
                "Seconds that the broker took to answer the scheduler.",
                "s",
                PanelQuery("max(seedsweep_broker_round_trip_seconds)", "round trip"),
                limits=(0.1, 1),
            ),
        ),
    )


def _store() -> PanelRow:
    return PanelRow(
        "Store",
        (
            graph(
                "Seconds a request, half",
                "Half of the requests take less, by operation.",
                "s",
                PanelQuery(_request_seconds(0.5), "{{operation}}"),
                width=6,
                limits=(5, 20),
            ),
            graph(
                "Seconds a request, 99 %",
                "99 % of the requests take less, by operation.",
                "s",
                PanelQuery(_request_seconds(0.99), "{{operation}}"),
                width=6,
                limits=(5, 20),
            ),
            graph(
                "Bytes",
                "Bytes of objects moved a second, by direction and service.",
                "Bps",
                PanelQuery(
                    f"sum by (direction, job) (rate(seedsweep_store_bytes_total{SINCE}))",
                    "{{job}} {{direction}}",
                ),
                width=6,
            ),
            graph(
                "Errors",
                "Requests a second that the store failed, by operation.",
                "reqps",
                PanelQuery(
                    f"sum by (operation) (rate(seedsweep_store_errors_total{SINCE}))",
                    "{{operation}}",
                ),
                width=6,
                limits=(0.01, 0.1),
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
                    f"sum by (job) (rate(process_cpu_seconds_total{{{OURS}}}{SINCE}))", "{{job}}"
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


def _ray() -> PanelRow:
    return PanelRow(
        "Ray",
        (
            graph(
                "Ray CPU",
                "Share of each Ray node's CPUs that is busy.",
                "percent",
                PanelQuery("max by (ip) (ray_node_cpu_utilization)", "{{ip}}"),
                width=6,
                highest=100,
            ),
            graph(
                "Ray memory",
                "Share of each Ray node's memory that is in use; Ray ends actors at 95 %.",
                "percentunit",
                PanelQuery(
                    "max by (ip) (ray_node_mem_used) / max by (ip) (ray_node_mem_total)", "{{ip}}"
                ),
                width=6,
                limits=(0.85, 0.95),
                highest=1,
            ),
            stack(
                "Object store",
                "Bytes that Ray holds for its processes, by where: MMAP_SHM in shared memory, "
                "MMAP_DISK in files in place of it, SPILLED on disk since memory was full, "
                "WORKER_HEAP in the processes themselves. A few MB are usual.",
                "bytes",
                PanelQuery("sum by (Location) (ray_object_store_memory)", "{{Location}}"),
                width=6,
            ),
            stack(
                "Actors",
                "Actors (processes that keep running) of the Ray cluster, whoever started them. "
                "ALIVE ones serve; PENDING_CREATION and DEPENDENCIES_UNREADY ones wait for a place "
                "or are about to start; RESTARTING ones died and are started again; DEAD ones "
                "ended.",
                "short",
                PanelQuery(
                    'sum by (State) (ray_gcs_actors_count{State!="Destroyed"})', "{{State}}"
                ),
                width=6,
            ),
        ),
    )


def _request_seconds(share: float) -> str:
    buckets = f"sum by (le, operation) (rate(seedsweep_store_request_seconds_bucket{SINCE}))"
    return f"histogram_quantile({share}, {buckets})"
