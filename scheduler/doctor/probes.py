"""Questions of `doctor` to libraries that are heavy or may hang, each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seedsweep.scheduler.campaign.descriptions import part_facts
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.doctor.diagnosis import answers, in_words, is_loopback
from seedsweep.storage.errors import SeedsweepError, TransientError
from seedsweep.storage.stores import open_store
from seedsweep.workers.cluster.ray_cluster import first_answer, joined_ray, probe_of
from seedsweep.workers.pipelines.loading import load_pipeline

RAY_SECONDS, TORCH_SECONDS, MODEL_SECONDS = 60.0, 60.0, 300.0


def ask_apart(
    question: Callable[..., dict[str, Any]], *arguments: str, seconds: float
) -> dict[str, Any]:
    """Call a function of this module in a process of its own, and return what it returns.

    Raises `SeedsweepError` with its error's words, and `TransientError` if a service did not
    answer it, or it did not end within `seconds`.
    """
    name = question.__name__
    code = f"from {__name__} import answer, {name}; answer({name})"
    try:
        finished = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            f"There was no answer within {seconds:g} s; try again when this machine is less busy."
        ) from error
    if finished.returncode:
        words = finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"]
        raise SeedsweepError(f"The process that looked ended early ({words[-1]}); mend that first.")
    said: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    if "refused" in said:
        raise (TransientError if said["unreachable"] else SeedsweepError)(said["refused"])
    return said


def answer(question: Callable[..., dict[str, Any]]) -> None:
    """Print as one line of JSON what the question gives for the command line's arguments."""
    try:
        said = question(*sys.argv[1:])
    except Exception as error:
        unreachable = isinstance(error, TransientError | ConnectionError | TimeoutError)
        said = {"refused": in_words(error), "unreachable": unreachable}
    print(json.dumps(said))


def ask_ray(address: str) -> dict[str, Any]:
    """Start or join Ray for one call; to be called in a process of its own."""

    began = time.monotonic()
    with joined_ray(1, address or None) as ray:
        first_answer(ray, address or "this machine", probe_of(ray), int)
        seconds = time.monotonic() - began
        nodes = [node for node in ray.nodes() if node["Alive"]]
        host, port = ray.get_runtime_context().gcs_address.rsplit(":", 1)
        return {
            "version": ray.__version__,
            "seconds": seconds,
            "nodes": len(nodes),
            "cpus": ray.cluster_resources().get("CPU", 0.0),
            "host": host,
            "open": not is_loopback(host) or answers("127.0.0.2", int(port)),
            "token": os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
        }


def ask_torch() -> dict[str, Any]:
    """Say what torch sees of CUDA; to be called in a process of its own."""
    import torch

    seen = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    devices = [torch.cuda.get_device_properties(number) for number in seen]
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": [{"name": device.name, "bytes": device.total_memory} for device in devices],
    }


def ask_model(store_url: str, campaign_file: str, device: str) -> dict[str, Any]:
    """Load a campaign's model and measure it; to be called in a process of its own."""

    campaign, _, settings = read_campaign(Path(campaign_file))
    campaign = campaign.of(settings[0] if settings else None)
    if campaign.model.pipeline == "noise":
        return {"kind": "noise"}
    began = time.monotonic()
    loaded: Any = load_pipeline(open_store(store_url), campaign, device, 1)
    seconds = time.monotonic() - began
    if campaign.model.pipeline != "diffusers":
        return {"kind": "foreign", "name": campaign.model.pipeline, "seconds": seconds}
    pipeline = loaded._pipeline
    parts = [part for part in pipeline.components.values() if hasattr(part, "parameters")]
    tensors = [tensor for part in parts for tensor in part.parameters()]
    return {
        "path": campaign.model.path,
        "parts": [f"{fact.label.lower()}: {fact.value}" for fact in part_facts(campaign.model)],
        "wanted": (campaign.sampling.width, campaign.sampling.height),
        "seconds": seconds,
        "kind": type(pipeline).__name__,
        "parameters": sum(tensor.numel() for tensor in tensors),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
        "side": _native_side(pipeline),
    }


def _native_side(pipeline: Any) -> int | None:
    """The side of the pictures that the model was trained on, if its configuration says."""
    core = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    side = getattr(getattr(core, "config", None), "sample_size", None)
    factor = getattr(pipeline, "vae_scale_factor", None)
    return side * factor if isinstance(side, int) and isinstance(factor, int) else None
