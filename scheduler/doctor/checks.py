"""Is everything there that a campaign needs, and how is what fails to be mended?"""

import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from seedsweep.scheduler.campaign.progress import Broker
from seedsweep.scheduler.doctor.broker_check import judge_broker
from seedsweep.scheduler.doctor.diagnosis import Diagnosis, guarded
from seedsweep.scheduler.doctor.probes import (
    MODEL_SECONDS,
    RAY_SECONDS,
    TORCH_SECONDS,
    ask_apart,
    ask_model,
    ask_ray,
    ask_torch,
)
from seedsweep.scheduler.doctor.services_check import judge_services
from seedsweep.scheduler.environment import Environment
from seedsweep.scheduler.quantities import count_words, size_words
from seedsweep.storage.broker.facts import read_broker_facts
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.store import Store
from seedsweep.storage.stores import open_store
from seedsweep.workers.devices import visible_devices

PROBE_BYTES = 4 * 1024 * 1024
SKEW_NOTICED, SKEW_REFUSED = 60.0, 15 * 60.0
"""Seconds; S3 servers refuse requests that are signed a quarter of an hour beside their clock."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - nothing is written there
SHARED_BYTES = 1024**3
DISK_BYTES = 5 * 10**9


def examine(
    environment: Environment,
    store_url: str,
    campaign_file: Path | None,
    create_bucket: bool = False,
) -> Iterator[Diagnosis]:
    """Look at everything, yielding each diagnosis as it is made; none of it stops the others.

    The model is looked at if a campaign file names one; it is brought to this host if it is not
    there. `create_bucket` makes the bucket of an S3 store that has none yet. No object is left
    behind, and nothing is raised.
    """
    yield from guarded("broker", _broker(environment))
    yield from guarded("store", _store(store_url, create_bucket))
    yield from guarded("disk", _disk(store_url))
    yield from guarded("Ray", _ray(environment.ray_address))
    yield from guarded("shared memory", _shared_memory(SHARED_MEMORY))
    yield from guarded("devices", _devices())
    if campaign_file is not None:
        yield from guarded("model", _model(store_url, campaign_file))


def _broker(environment: Environment) -> Iterator[Diagnosis]:
    if environment.broker_url is None:
        yield Diagnosis(
            "broker",
            "warning",
            "No broker is configured: `run` brings its own, the services need one.",
            "For the services, set SEEDSWEEP_BROKER_URL=redis://:PASSWORD@HOST:6379/0.",
        )
        return
    url = environment.broker_url.get_secret_value()
    yield from judge_broker(read_broker_facts(url), url)
    yield from judge_services(Broker.at(url))


def _store(url: str, create_bucket: bool) -> Iterator[Diagnosis]:
    store = open_store(url)
    if create_bucket and isinstance(store, S3Store):
        store.create_bucket()
    elif create_bucket:
        yield Diagnosis(
            "store", "warning", "Only an S3 store's bucket can be created, so none was."
        )
    facts = store.inspect()
    yield _speed(store)
    if facts.credentials:
        yield Diagnosis("store", "fine", f"Its credentials come from {facts.credentials}.")
    if facts.checked_by:
        yield Diagnosis(
            "store",
            "fine",
            "The store refuses x-amz-checksum-crc32: it checks what is written by "
            f"{facts.checked_by} instead.",
        )
    if not facts.conditional_create:
        yield Diagnosis(
            "store",
            "warning",
            "The store cannot create only what is not there: of two writers the last one wins, "
            "with a shard that is as whole and as right.",
            "Nothing need be done; servers that honour If-None-Match: * do better.",
        )
    skew = abs(facts.clock_skew_seconds)
    if skew > SKEW_NOTICED:
        yield Diagnosis(
            "store",
            "failure" if skew > SKEW_REFUSED else "warning",
            f"The clocks of this machine and of the store are {skew:.0f} s apart; S3 servers "
            f"refuse requests from {SKEW_REFUSED:.0f} s on.",
            "Let NTP set both clocks.",
        )


def _speed(store: Store) -> Diagnosis:
    """Write, read and remove one object of a name of its own."""
    key, data = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(PROBE_BYTES)
    began = time.perf_counter()
    store.create(key, data)
    written = time.perf_counter()
    try:
        same = store.read(key) == data
        read = time.perf_counter()
    finally:
        store.delete(key)
    if not same:
        return Diagnosis(
            "store",
            "failure",
            f"The store {store.url} does not give back what was written.",
            "Check its disks, and what stands between it and this machine.",
        )
    writing, reading = PROBE_BYTES / (written - began), PROBE_BYTES / (read - written)
    return Diagnosis(
        "store",
        "fine",
        f"The store {store.url} writes {writing / 1e6:.0f} and reads {reading / 1e6:.0f} MB/s, "
        f"in one object of {PROBE_BYTES // 2**20} MiB.",
    )


def _disk(store_url: str) -> Iterator[Diagnosis]:
    store = open_store(store_url)
    if not isinstance(store, FolderStore):
        return
    folder = next(path for path in (store.root, *store.root.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if free >= DISK_BYTES:
        yield Diagnosis("disk", "fine", f"The store's disk has {free / 1e9:.0f} GB free.")
    else:
        yield Diagnosis(
            "disk",
            "warning",
            f"The disk of {folder} has {free / 1e9:.1f} GB free.",
            "Free some, or name a store on another disk; `seedsweep plan` says what is needed.",
        )


def _ray(address: str | None) -> Iterator[Diagnosis]:
    facts = ask_apart(ask_ray, address or "", seconds=RAY_SECONDS)
    token = "on" if facts["token"] else "off"
    if address is None:
        says = f"starts here, bound to {facts['host']}, and answers in {facts['seconds']:.1f} s"
    else:
        nodes = count_words(facts["nodes"], "node")
        says = f"at {address} has {nodes} with {facts['cpus']:g} CPUs"
    yield Diagnosis(
        "Ray", "fine", f"Ray {facts['version']} {says}; token authentication is {token}."
    )
    if facts["open"] and not facts["token"]:
        yield Diagnosis(
            "Ray",
            "warning",
            "Ray's ports are open to other machines: whoever reaches them runs code in it.",
            "Set RAY_AUTH_MODE=token and a token on every node, or keep it in a private network.",
        )


def _shared_memory(folder: Path) -> Iterator[Diagnosis]:
    if not folder.is_dir():
        return
    size = shutil.disk_usage(folder).total
    if size >= SHARED_BYTES:
        yield Diagnosis("shared memory", "fine", f"{folder} has {size_words(size)}.")
    else:
        yield Diagnosis(
            "shared memory",
            "warning",
            f"{folder} has only {size_words(size)}; Ray keeps its objects there.",
            "Give the container more: --shm-size=1g, or an emptyDir of medium Memory.",
        )


def _devices() -> Iterator[Diagnosis]:
    devices = visible_devices()
    if devices == ["cpu"]:
        yield Diagnosis("devices", "fine", "There is no CUDA device here: cpu only.")
        return
    facts = ask_apart(ask_torch, seconds=TORCH_SECONDS)
    if facts["cuda"] is None:
        yield Diagnosis(
            "devices",
            "failure",
            f"This machine has {len(devices)} NVIDIA devices, but torch {facts['version']} is "
            "built for the CPU alone.",
            "Install the CUDA build of the same torch that fits the driver: "
            "https://pytorch.org/get-started/locally.",
        )
    elif len(facts["devices"]) != len(devices):
        yield Diagnosis(
            "devices",
            "failure",
            f"This machine has {len(devices)} NVIDIA devices, but torch {facts['version']} sees "
            f"{len(facts['devices'])} of them.",
            f"Compare the driver in nvidia-smi with CUDA {facts['cuda']}, and correct "
            "CUDA_VISIBLE_DEVICES.",
        )
    for name, device in zip(devices, facts["devices"], strict=False):
        memory = size_words(device["bytes"])
        yield Diagnosis("devices", "fine", f"{name} is {device['name']} with {memory}.")


def _model(store_url: str, campaign_file: Path) -> Iterator[Diagnosis]:
    device = visible_devices()[0]
    facts = ask_apart(ask_model, store_url, str(campaign_file), device, seconds=MODEL_SECONDS)
    if facts["kind"] == "noise":
        yield Diagnosis("model", "fine", "The campaign's model is noise, which needs no files.")
        return
    if facts["kind"] == "foreign":
        words = f"The pipeline {facts['name']} loads on {device} in {facts['seconds']:.1f} s."
        yield Diagnosis("model", "fine", words)
        return
    yield Diagnosis(
        "model",
        "fine",
        f"{facts['path']} loads on {device} in {facts['seconds']:.1f} s from safetensors: a "
        f"{facts['kind']}, {facts['parameters'] / 1e6:,.1f} million parameters as "
        f"{', '.join(facts['dtypes'])}, {size_words(facts['bytes'])}.",
    )
    if facts["parts"]:
        yield Diagnosis("model", "fine", f"It is loaded with {'; '.join(facts['parts'])}.")
    side, wanted = facts["side"], tuple(facts["wanted"])
    if side is not None and wanted != (side, side):
        yield Diagnosis(
            "model",
            "warning",
            f"The model was made for {side} x {side} pictures, and the campaign asks for "
            f"{wanted[0]} x {wanted[1]}.",
            f"Set width and height to {side} unless another size is meant.",
        )
