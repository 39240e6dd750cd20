"""What is asked of the store, added to the metrics: the callback of an `ObservedStore`."""

from seedsweep.storage.observed_store import StoreRequest
from seedsweep.workers.monitoring import metrics

_WRITES = ("create", "replace")


def note(request: StoreRequest) -> None:
    """Add one request to this process' metrics of the store; for any thread."""
    metrics.STORE_SECONDS.labels(request.operation).observe(request.seconds)
    if request.size:
        direction = "written" if request.operation in _WRITES else "read"
        metrics.STORE_BYTES.labels(direction).inc(request.size)
    if request.failed:
        metrics.STORE_ERRORS.labels(request.operation).inc()
