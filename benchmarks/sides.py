"""The two sides of the benchmark of orchestration: a bare diffusers loop, and a deployment.

Each tells what a run took as a Counter: images, seconds, and seconds on a core, among others.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from seedsweep.scheduler.campaign.control import steer
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from tests.support.servers import wait_until

POLL_SECONDS = 0.005
PATIENCE_SECONDS = 60.0
STAGES = {"wait", "denoise", "encode", "upload"}
"""What is measured of the worker by its metrics; one that it no longer shows is no zero."""

BARE = """
import itertools, json, sys, time
import diffusers, torch

model, dtype, batch_size, arguments, prompts, seeds = json.loads(sys.argv[1])
torch.set_num_threads(1)
pipeline = diffusers.DiffusionPipeline.from_pretrained(model, dtype=getattr(torch, dtype))
pipeline.set_progress_bar_config(disable=True)
for prompt in itertools.cycle(prompts):
    for first in range(0, seeds, batch_size):
        generators = [torch.Generator("cpu").manual_seed(first + i) for i in range(batch_size)]
        images = pipeline(
            prompt=prompt,
            num_images_per_prompt=batch_size,
            generator=generators,
            output_type="np",
            **arguments,
        ).images
        print(time.perf_counter(), flush=True)
"""


class Bare:
    """The bare loop; it stands still unless it is measured."""

    def __init__(self, campaign, prompts, deployment):
        sampling = campaign.sampling
        arguments = {
            "num_inference_steps": sampling.steps,
            "guidance_scale": sampling.guidance_scale,
            "width": sampling.width,
            "height": sampling.height,
        }
        model, self._batch_size = campaign.model, sampling.batch_size
        recipe = [model.path, model.dtype, self._batch_size, arguments, prompts, sampling.seeds]
        self._process = subprocess.Popen(
            [sys.executable, "-c", BARE, json.dumps(recipe)],
            env=deployment.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._next_batch()
        self._process.send_signal(signal.SIGSTOP)

    def place(self, cores):
        place(self._process.pid, cores)

    def run(self, seconds):
        """What so many seconds took, from one batch to another."""
        self._process.send_signal(signal.SIGCONT)
        first = self._next_batch()
        begun, images = self._on_core(), 0
        while True:
            moment = self._next_batch()
            images += self._batch_size
            if moment - first >= seconds:
                break
        found = Counter(images=images, seconds=moment - first, on_core=self._on_core() - begun)
        self._process.send_signal(signal.SIGSTOP)
        return found

    def close(self):
        self._process.kill()
        self._process.wait()

    def _next_batch(self):
        return float(self._process.stdout.readline())

    def _on_core(self):
        return thread_times(self._process.pid, self._process.pid)[0]


class Deployed:
    """The deployment with its one worker; its campaign is paused unless it is measured."""

    def __init__(self, deployment, campaign_id, metrics_port, images_per_unit):
        services = {name: service.pid for name, service in deployment.services.items()}
        self._roots = {**services, "S3 server": deployment.s3._process.pid}
        self._worker, self._rendering = services["worker"], None
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        self._store = open_store(deployment.environment["SEEDSWEEP_STORE_URL"])
        self._ledger, self._campaign_id = Ledger(deployment.broker_url), campaign_id
        self._images_per_unit = images_per_unit

    def counts(self):
        return self._ledger.counts(self._campaign_id)

    def find_rendering_thread(self):
        """It is the worker's busiest one, once some units are rendered."""
        threads = psutil.Process(self._worker).threads()
        self._rendering = max(threads, key=lambda thread: thread.user_time).id

    def place(self, cores, rendering):
        for root in self._roots.values():
            place(root, cores)
        os.sched_setaffinity(self._rendering, rendering)

    def run(self, seconds):
        """What so many seconds took, from one unit recorded as done to another."""
        self.go_on()
        steer(self._store, self._campaign_id, "active", self._ledger)
        self._next_unit()
        self._next_unit()
        first, before = self._next_unit()
        begun = self._totals(first)
        while True:
            moment, after = self._next_unit()
            if moment - first >= seconds:
                break
        found = difference(self._totals(moment), begun)
        # Counted where the clock is read: the worker's own count is of another moment.
        found["images"] = (after - before) * self._images_per_unit
        self.pause()
        return found

    def pause(self):
        """Have the worker end what it has in hand, then stop every process of the deployment."""
        steer(self._store, self._campaign_id, "paused", self._ledger)
        wait_until(lambda: not self.counts().claimed, timeout=60)
        self._signal(signal.SIGSTOP)

    def go_on(self):
        """Have the stopped processes run, so that they can end."""
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        for root in self._roots.values():
            for process in family(root):
                process.send_signal(number)

    def _next_unit(self):
        """Wait for the next unit to be done: when it was seen, and how many were by then."""
        before, deadline = self.counts().done, time.perf_counter() + PATIENCE_SECONDS
        while (done := self.counts().done) == before:
            assert time.perf_counter() < deadline, "no unit was done: is the campaign at its end?"
            time.sleep(POLL_SECONDS)
        return time.perf_counter(), done

    def _stages(self):
        """The worker's metrics: seconds by stage."""
        with urllib.request.urlopen(self._metrics, timeout=10) as response:  # noqa: S310
            text = response.read().decode()
        found = {
            sample.labels["stage"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "seedsweep_stage_seconds_sum"
        }
        assert found.keys() >= STAGES, f"the worker shows no seconds of {STAGES - found.keys()}"
        return found

    def _totals(self, moment):
        on_core, queued = thread_times(self._worker, self._rendering)
        totals = Counter(self._stages(), seconds=moment, on_core=on_core, queued=queued)
        for name, root in self._roots.items():
            for process in family(root):
                times = process.cpu_times()
                totals[f"CPU of {name}"] += times.user + times.system
        totals["CPU of worker"] -= on_core
        return totals


def family(root):
    """The process and its descendants."""
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def place(root, cores):
    """Put all threads of a process and its descendants on these cores."""
    for process in family(root):
        for thread in process.threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, cores)


def thread_times(process, thread):
    """Seconds that a thread was on a core, and that it was ready but waited for one."""
    on_core, queued, _ = Path(f"/proc/{process}/task/{thread}/schedstat").read_text().split()
    return int(on_core) / 1e9, int(queued) / 1e9


def difference(after, before):
    return Counter({name: after[name] - before[name] for name in after})
