"""What NVML tells of the GPU that this worker serves."""

import sys
from collections.abc import Iterator
from typing import Any

import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from seedsweep.workers.monitoring import metrics


class DeviceCollector(Collector):
    """Memory and utilisation of a CUDA device, asked for at each scrape.

    Nothing is shown of a CPU, if NVML is not there, and before the process uses the device: only
    then its UUID is known, and only that names the same GPU to torch and to NVML.
    """

    def __init__(self, device: str) -> None:
        self._device = device

    def collect(self) -> Iterator[Metric]:
        """Ask NVML anew."""
        uuid = _uuid_of(self._device)
        if uuid is None:
            return
        try:
            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
            percent = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
        except pynvml.NVMLError:
            return
        entry = metrics.DEVICE_MEMORY
        family = GaugeMetricFamily(entry.name, entry.help, labels=list(entry.labels))
        family.add_metric(["used"], memory.used)
        family.add_metric(["total"], memory.total)
        yield family
        entry = metrics.DEVICE_UTILISATION
        yield GaugeMetricFamily(entry.name, entry.help, value=percent / 100)


def _uuid_of(device: str) -> str | None:
    """The UUID of a CUDA device, without importing torch or waking a GPU for it."""
    torch: Any = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None or not torch.cuda.is_initialized():
        return None
    return str(torch.cuda.get_device_properties(device).uuid)
