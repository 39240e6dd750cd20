"""The rows of what the services lean on: broker, store and Ray."""

from deploy.grafana.boards import PanelRow
from deploy.grafana.panels import PanelQuery, graph, stack


def broker() -> PanelRow:
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


def store() -> PanelRow:
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
                    "sum by (direction, job) (rate(seedsweep_store_bytes_total[$__rate_interval]))",
                    "{{job}} {{direction}}",
                ),
                width=6,
            ),
            graph(
                "Errors",
                "Requests a second that the store failed, by operation.",
                "reqps",
                PanelQuery(
                    "sum by (operation) (rate(seedsweep_store_errors_total[$__rate_interval]))",
                    "{{operation}}",
                ),
                width=6,
                limits=(0.01, 0.1),
            ),
        ),
    )


def ray() -> PanelRow:
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
    buckets = (
        "sum by (le, operation) (rate(seedsweep_store_request_seconds_bucket[$__rate_interval]))"
    )
    return f"histogram_quantile({share}, {buckets})"
