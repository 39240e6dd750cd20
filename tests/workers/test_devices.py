import pytest

from seedsweep.workers.devices import visible_devices


@pytest.mark.parametrize(
    ("variable", "devices"),
    [("", ["cpu"]), ("-1", ["cpu"]), ("0", ["cuda:0"]), ("3,5", ["cuda:0", "cuda:1"])],
)
def test_the_devices_are_those_that_are_left_visible(monkeypatch, variable, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_devices() == devices
