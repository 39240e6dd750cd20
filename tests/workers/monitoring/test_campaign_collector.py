import dataclasses

import pynvml
import pytest
from prometheus_client import CollectorRegistry

from seedsweep.storage.live_state import LiveCounts
from seedsweep.workers.monitoring.campaign_collector import (
    CampaignCollector,
    CampaignState,
    registry_of,
)
from seedsweep.workers.monitoring.gpu_collector import DeviceCollector

STATE = CampaignState(
    counts=LiveCounts(
        units=12,
        done=5,
        parked=1,
        queued=2,
        claimed=3,
        failing=1,
        ready=4,
        analysed=6,
        flagged=7,
        state="active",
        trouble="",
        per_prompt=1,
        held=3,
        dropped=4,
    ),
    images=600,
    images_done=250,
    images_spared=70,
    device_seconds=12.5,
)


def shown(collector):
    """Every sample of a collector: (metric, its labels' values …) → value."""
    registry = CollectorRegistry()
    registry.register(collector)
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {(s.name, *s.labels.values()): s.value for s in samples}


class TestCampaigns:
    def test_each_count_is_shown_under_its_state(self):
        collector = CampaignCollector()
        collector.update({"small-1": STATE})
        units = {"done": 5, "parked": 1, "queued": 2, "claimed": 3, "held": 3, "dropped": 4}
        units["all"] = 12 - 4
        prompts = {"all": 12, "ready": 4, "analysed": 6, "flagged": 7}
        images = {"all": 600, "done": 250, "spared": 70}
        assert shown(collector) == {
            **{("seedsweep_campaign_units", "small-1", s): n for s, n in units.items()},
            **{("seedsweep_campaign_prompts", "small-1", s): n for s, n in prompts.items()},
            **{("seedsweep_campaign_images", "small-1", s): n for s, n in images.items()},
            ("seedsweep_campaign_device_seconds_total", "small-1"): 12.5,
        }

    def test_prompts_of_a_paused_campaign_wait_for_nobody(self):
        collector = CampaignCollector()
        paused = dataclasses.replace(STATE.counts, state="paused")
        collector.update({"small-1": dataclasses.replace(STATE, counts=paused)})
        assert shown(collector)["seedsweep_campaign_prompts", "small-1", "ready"] == 0

    def test_those_last_given_are_shown_and_no_others(self):
        collector = CampaignCollector()
        assert shown(collector) == {}
        given = {"a": STATE, "b": STATE}
        collector.update(given)
        given["c"] = STATE
        assert {campaign for _, campaign, *_ in shown(collector)} == {"a", "b"}
        collector.update({"b": dataclasses.replace(STATE, images_done=9)})
        assert {campaign for _, campaign, *_ in shown(collector)} == {"b"}
        assert shown(collector)["seedsweep_campaign_images", "b", "done"] == 9


class FakeNvml:
    """NVML of a machine whose one GPU has the UUID `u-1`; this machine has none."""

    NVMLError = pynvml.NVMLError

    @staticmethod
    def nvmlInit():
        pass

    @staticmethod
    def nvmlDeviceGetHandleByUUID(uuid):
        if uuid != "GPU-u-1":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    @staticmethod
    def nvmlDeviceGetMemoryInfo(_):
        return type("Memory", (), {"used": 3, "total": 80})

    @staticmethod
    def nvmlDeviceGetUtilizationRates(_):
        return type("Rates", (), {"gpu": 75})


class TestDevices:
    @pytest.fixture
    def nvml(self, monkeypatch):
        monkeypatch.setattr("seedsweep.workers.monitoring.gpu_collector.pynvml", FakeNvml)
        return monkeypatch

    def test_memory_and_utilisation_are_those_that_nvml_tells(self, nvml):
        nvml.setattr("seedsweep.workers.monitoring.gpu_collector._uuid_of", lambda _: "u-1")
        assert shown(DeviceCollector("cuda:0")) == {
            ("seedsweep_device_memory_bytes", "used"): 3,
            ("seedsweep_device_memory_bytes", "total"): 80,
            ("seedsweep_device_utilisation_ratio",): 0.75,
        }

    def test_a_gpu_that_nvml_does_not_know_is_not_shown(self, nvml):
        nvml.setattr("seedsweep.workers.monitoring.gpu_collector._uuid_of", lambda _: "u-2")
        assert shown(DeviceCollector("cuda:0")) == {}

    def test_a_cpu_is_not_shown(self, nvml):
        assert shown(DeviceCollector("cpu")) == {}

    def test_torch_is_not_woken_for_it(self, nvml):
        assert shown(DeviceCollector("cuda:0")) == {}

    def test_without_a_driver_nothing_is_shown(self, monkeypatch):
        monkeypatch.setattr("seedsweep.workers.monitoring.gpu_collector._uuid_of", lambda _: "u-1")
        assert shown(DeviceCollector("cuda:0")) == {}


def test_a_registry_shows_the_process_too():
    assert registry_of("worker").get_sample_value("process_resident_memory_bytes") > 0
