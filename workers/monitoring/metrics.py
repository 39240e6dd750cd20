"""The catalogue of every Prometheus metric of every service; docs/metrics.md is made from it.

Names follow Prometheus' conventions: base units, `_total` for counters. No label has more values
than are listed here, save `campaign`, which names the campaigns that are not settled yet: its
series end with them. Prompts, seeds and units never are labels.
"""

from seedsweep.workers.monitoring.catalogue import ANY, Catalogue, Service

STAGES = ("wait", "load", "denoise", "encode", "upload")
OUTCOMES = ("stored", "shared", "existed", "failed", "handed_back", "refused", "foreign")
RETRY_REASONS = ("lease_expired", "message_lost", "failed", "handed_back")
PARKING_REASONS = ("failed", "lost")
STEPS = ("read", "prune", "decode", "compare", "clique", "match")
TROUBLES = ("write", "read", "slow")
OPERATIONS = ("create", "replace", "read", "read_range", "exists", "list", "folders", "delete")

_catalogue = Catalogue()

CATALOGUE = _catalogue.entries
"""Every metric by its name, in the order of docs/metrics.md."""

registered_by = _catalogue.kept_by
"""What a service keeps itself; what is looked up at a scrape is in `campaign_collector.py` and
`gpu_collector.py`."""

_WORKER: tuple[Service, ...] = ("worker",)
_ANALYST: tuple[Service, ...] = ("analyst",)
_SCHEDULER: tuple[Service, ...] = ("scheduler",)
_ALL: tuple[Service, ...] = ("scheduler", "analyst", "worker")

# What workers do.
IMAGES = _catalogue.counter(
    "seedsweep_images_total",
    "Images of the units that ended so: made and stored by this worker, shared with an earlier "
    "prompt that is the same to the model and so not made again, or found in the store.",
    _WORKER,
    {"outcome": ("stored", "shared", "existed")},
)
UNITS = _catalogue.counter(
    "seedsweep_units_total",
    "Units this worker was given, by what became of them; foreign ones are dropped messages that "
    "are not ours.",
    _WORKER,
    {"outcome": OUTCOMES},
)
STAGE_SECONDS = _catalogue.histogram(
    "seedsweep_stage_seconds",
    "Seconds a unit spent in a step of being made; encode and upload run beside the next unit's "
    "denoise.",
    _WORKER,
    {"stage": STAGES},
)
QUEUE_WAIT = _catalogue.histogram(
    "seedsweep_queue_wait_seconds",
    "Seconds from putting a unit into the queue to its claim, by the broker's clock.",
    _WORKER,
)
MODEL_SWITCHES = _catalogue.counter(
    "seedsweep_model_switches_total", "How often this worker turned to another model.", _WORKER
)
HELD_UNITS = _catalogue.gauge(
    "seedsweep_held_units", "Units this worker has claimed and not stored yet.", _WORKER
)
DEVICE_MEMORY = _catalogue.enter(
    "seedsweep_device_memory_bytes",
    "gauge",
    "Memory of this worker's GPU, from NVML; not shown if there is none.",
    _WORKER,
    {"kind": ("used", "total")},
)
DEVICE_UTILISATION = _catalogue.enter(
    "seedsweep_device_utilisation_ratio",
    "gauge",
    "Share of the time that this worker's GPU computed, from NVML; not shown if there is none.",
    _WORKER,
)

# What the analyst does.
PROMPTS_ANALYSED = _catalogue.counter(
    "seedsweep_prompts_analysed_total", "Prompts whose results were stored.", _ANALYST
)
PROMPTS_FLAGGED = _catalogue.counter(
    "seedsweep_prompts_flagged_total", "Prompts analysed and found flagged.", _ANALYST
)
PROMPTS_FAILED = _catalogue.counter(
    "seedsweep_prompts_failed_total", "Analyses of a prompt that failed.", _ANALYST
)
ANALYSIS_SECONDS = _catalogue.histogram(
    "seedsweep_analysis_seconds", "Seconds an actor took for a prompt.", _ANALYST
)
STEP_SECONDS = _catalogue.histogram(
    "seedsweep_analysis_step_seconds",
    "Seconds an actor spent on a step of a prompt's analysis.",
    _ANALYST,
    {"step": STEPS},
)
ANALYSED_IMAGES = _catalogue.counter(
    "seedsweep_analysis_images_total",
    "Images judged, by their descriptors first unless the matrix is full.",
    _ANALYST,
)
DECODED_IMAGES = _catalogue.counter(
    "seedsweep_analysis_decoded_images_total",
    "Images decoded: their descriptors leave open whether they belong to a clique, or are of other "
    "blocks.",
    _ANALYST,
)
PAIRS = _catalogue.counter(
    "seedsweep_analysis_pairs_total", "Pairs of images to be judged.", _ANALYST
)
CANDIDATE_PAIRS = _catalogue.counter(
    "seedsweep_analysis_candidate_pairs_total",
    "Pairs that the descriptors' bounds could not prune.",
    _ANALYST,
)
RAY_ACTORS = _catalogue.gauge(
    "seedsweep_ray_actors", "Ray actors of this analyst.", _ANALYST, {"state": ("busy", "idle")}
)

# What the scheduler sees.
LEADING = _catalogue.gauge(
    "seedsweep_scheduler_leading",
    "1 if this scheduler leads; 0 if another one does, or the broker does not answer. What "
    "only the leading one knows is 0 then, too.",
    _SCHEDULER,
)
WINDOW = _catalogue.gauge(
    "seedsweep_window_units",
    "Units in the window, over all campaigns.",
    _SCHEDULER,
    {"state": ("queued", "claimed")},
)
REMAINING = _catalogue.gauge(
    "seedsweep_units_remaining",
    "Units neither done, parked nor dropped, in active campaigns.",
    _SCHEDULER,
)
WORKERS_LIVE = _catalogue.gauge(
    "seedsweep_workers_live", "Workers that showed life within a lease.", _SCHEDULER
)
WORKERS_LOST = _catalogue.gauge(
    "seedsweep_workers_lost",
    "Workers that vanished or took themselves out within the last hour.",
    _SCHEDULER,
)
LEASE_EXPIRIES = _catalogue.counter(
    "seedsweep_lease_expiries_total",
    "Leases of claimed units that ran out: their worker vanished.",
    _SCHEDULER,
)
RETRIES = _catalogue.counter(
    "seedsweep_retries_total",
    "Units that went back to the queue, by why.",
    ("scheduler", "worker"),
    {"reason": RETRY_REASONS},
)
PARKED = _catalogue.counter(
    "seedsweep_parked_units_total",
    "Units given up: they failed, or lost their worker, too often.",
    ("scheduler", "worker"),
    {"reason": PARKING_REASONS},
)
BROKER_MEMORY = _catalogue.gauge(
    "seedsweep_broker_memory_bytes", "Memory that the broker uses.", _SCHEDULER
)
BROKER_MEMORY_LIMIT = _catalogue.gauge(
    "seedsweep_broker_memory_limit_bytes",
    "Memory that the broker may use; 0 if nothing limits it but its host.",
    _SCHEDULER,
)
BROKER_CONNECTIONS = _catalogue.gauge(
    "seedsweep_broker_connections", "Connections that the broker has.", _SCHEDULER
)
BROKER_ROUND_TRIP = _catalogue.gauge(
    "seedsweep_broker_round_trip_seconds",
    "Seconds that the broker last took to answer.",
    _SCHEDULER,
)
CAMPAIGN_UNITS = _catalogue.enter(
    "seedsweep_campaign_units",
    "gauge",
    "Units of a campaign. all: those that are not dropped; held: those that wait until their "
    "prompt goes on after a stage of the campaign.",
    _SCHEDULER,
    {
        "campaign": ANY,
        "state": ("all", "done", "parked", "queued", "claimed", "held", "dropped"),
    },
)
CAMPAIGN_IMAGES = _catalogue.enter(
    "seedsweep_campaign_images",
    "gauge",
    "Images of a campaign; spared are those of dropped units, all are the others.",
    _SCHEDULER,
    {"campaign": ANY, "state": ("all", "done", "spared")},
)
CAMPAIGN_PROMPTS = _catalogue.enter(
    "seedsweep_campaign_prompts",
    "gauge",
    "Prompts of a campaign; ready are those that wait for the analyst, if the campaign is active.",
    _SCHEDULER,
    {"campaign": ANY, "state": ("all", "ready", "analysed", "flagged")},
)
CAMPAIGN_DEVICE_SECONDS = _catalogue.enter(
    "seedsweep_campaign_device_seconds_total",
    "counter",
    "Device seconds that a campaign took while this scheduler led. Each live worker that serves "
    "its model counts one a second. Campaigns of one model divide them by their claimed units.",
    _SCHEDULER,
    {"campaign": ANY},
)

# What all of them do.
LAST_PROGRESS = _catalogue.gauge(
    "seedsweep_last_progress_timestamp_seconds", "When this service last got something done.", _ALL
)
STORE_SECONDS = _catalogue.histogram(
    "seedsweep_store_request_seconds",
    "Seconds that the store took for what was asked of it.",
    _ALL,
    {"operation": OPERATIONS},
)
STORE_BYTES = _catalogue.counter(
    "seedsweep_store_bytes_total",
    "Bytes of objects moved to and from the store.",
    _ALL,
    {"direction": ("read", "written")},
)
STORE_ERRORS = _catalogue.counter(
    "seedsweep_store_errors_total",
    "Requests that the store failed, each try that the caller saw.",
    _ALL,
    {"operation": OPERATIONS},
)
STORE_TROUBLE = _catalogue.gauge(
    "seedsweep_store_trouble",
    "1 if this service finds that the store fails what is written or read, or is slow.",
    _ALL,
    {"kind": TROUBLES},
)
BROKER_ANSWERS = _catalogue.gauge(
    "seedsweep_broker_answers",
    "1 if the broker did what this service last asked, 0 if it did not answer.",
    _ALL,
)
BUILD = _catalogue.gauge(
    "seedsweep_build_info", "1, for the version that runs.", _ALL, {"version": ANY}
)
