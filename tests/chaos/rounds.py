"""Rounds of chaos: a deployment to which everything happens that can happen to one.

In each round a new campaign runs while a seeded schedule of events strikes. Afterwards its images
and results must be those of an undisturbed run on one machine.
"""

import contextlib
import json
import random
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass

import redis

from seedsweep.storage.broker.connection import ROOT
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from seedsweep.storage.workforce import ANALYSTS, Workforce
from seedsweep.workers.generation.celery_app import queue_of
from tests.chaos.schedule import TROUBLES, draw_schedule
from tests.support.campaigns import campaign_file, small_sampling
from tests.support.deployment import PROMPTS, Deployment, pixels, stored_images, write_campaign
from tests.support.servers import wait_until
from tests.support.undisturbed import Undisturbed, undisturbed

SEEDS = 600
UNITS = len(PROMPTS) * SEEDS // 20
STAGES = ({"seeds": 20}, {"seeds": 100, "min_clique_size": 3})

SCREENED_SEEDS = 60
SCREENED_PROMPTS = [f"no {number}" if number % 3 else f"No {number + 1}" for number in range(90)]
"""A third of them are the same to the model as the one before."""

SCREENED_UNITS = 170
SCREENED = {"screen": "noise-magnitude", "share": 0.3, "cohort": 20, "seeds": 2}
"""A round's screen: 27 of these prompts go on."""

KINDS = 3
"""A round's kind is what its seed leaves of that: 0 makes all its images at once, 1 has stages of
pictures, 2 a screen of a tiny Stable Diffusion, of which cohorts are decided."""

WORKERS, SCHEDULERS = ("worker-0", "worker-1"), ("scheduler-0", "scheduler-1")
MARK = "Traceback"
PATIENCE_SECONDS = 6.0
"""A campaign that stands still is struck again after so long: events fall on each other then."""

FOREIGN = (b"not JSON", b"\xff\xfe", b"[]", b"{}", b'{"body": "!", "properties": {}}', b" " * 2**25)


@dataclass(slots=True)
class Round:
    """What came of a round: `lost` and `doubled` count images."""

    seed: int
    events: list[str]
    seconds: float = 0.0
    lost: int = 0
    doubled: int = 0
    pixels_equal: bool = False
    results_equal: bool = False
    state: str = ""
    parked: int = 0

    @property
    def fine(self):
        """Whether it ended as an undisturbed run does."""
        nothing_missing = (self.lost, self.doubled, self.parked) == (0, 0, 0)
        return nothing_missing and self.equal and self.state == "done"

    @property
    def equal(self):
        """Whether images and results are those of an undisturbed run."""
        return self.pixels_equal and self.results_equal

    def __str__(self):
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.lost} lost, {self.doubled} doubled, "
            f"{self.parked} parked, {self.state}, equal {self.equal} [{', '.join(self.events)}]"
        )


class Chaos:
    """A deployment of two schedulers, two workers and an analyst, behind proxies.

    `seed` is what the proxies' chance is drawn from. The environment must hold the S3 server's
    credentials.
    """

    def __init__(self, folder, seed):
        self.deployment = Deployment(folder, seed)
        self._kept = {}

    def __enter__(self):
        self.deployment.__enter__()
        deployment = self.deployment
        deployment.create_bucket()
        for name in SCHEDULERS:
            deployment.start(name, "scheduler", "--metrics-port", "0")
        deployment.start("analyst", "analyst", "--metrics-port", "0")
        for name in WORKERS:
            deployment.start_worker(name)
        self._ledger = Ledger(deployment.direct_broker_url)
        self._broker = redis.Redis.from_url(deployment.direct_broker_url, socket_timeout=30)
        self._workforce = Workforce(deployment.direct_broker_url)
        return self

    def __exit__(self, *problem):
        self._broker.close()
        self.deployment.__exit__(*problem)

    def run_undisturbed(self, seed):
        """What comes of the campaign of the round of this seed in a folder as its store; a screen
        is run by workers, and the others are worked off in this process."""
        folder = self.deployment.folder / "undisturbed"
        # A model for each kind: what one kind has stored another would take for its own.
        file = self._campaign(f"undisturbed {seed % KINDS}", seed)
        if seed % KINDS != 2:
            return undisturbed(folder, file)
        url = f"file:{folder}"
        output = self.deployment.seedsweep("run", str(file), "--workers", "2", store=url)
        campaign_id = output.splitlines()[-1]
        results = self.deployment.seedsweep("results", campaign_id, "--json", store=url)
        return Undisturbed(pixels(open_store(url), campaign_id), json.loads(results))

    def play(self, seed, undisturbed, timeout=180):
        """Play the round of this seed, and tell what came of it, be it not settled in time."""
        wait_until(self.is_serving, timeout=timeout)
        schedule = draw_schedule(seed, SCREENED_UNITS if seed % KINDS == 2 else UNITS)
        self._chance = random.Random(seed)
        for proxy in self.deployment.proxies:
            proxy.reseed(seed)
        began = time.monotonic()
        campaign_id = self.deployment.submit(self._campaign(f"round {seed}", seed))
        store = open_store(self.deployment.store_url)
        queue = ROOT + queue_of(load_campaign(store, campaign_id).campaign.model.model_id)
        healing = []
        for event in schedule:
            self._wait_for(event, campaign_id, queue)
            healing += self._strike(event, queue)
        for timer in healing:
            timer.join()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._is_settled(campaign_id), timeout=timeout)
        played = Round(seed, [str(event) for event in schedule], time.monotonic() - began)
        self._compare(played, store, campaign_id, undisturbed)
        return played

    def _campaign(self, model, seed):
        folder, kind = self.deployment.folder, seed % KINDS
        if kind == 2:
            return _write_screened(folder, model)
        return write_campaign(folder, "chaos", SEEDS, model, STAGES if kind else ())

    def stop(self):
        """End every service in good order: its exit code by name."""
        wait_until(self.is_serving, timeout=120)
        names = [name for name in self.deployment.services if name != "broker"]
        return {name: self.deployment.services[name].stop() for name in names}

    def is_serving(self):
        """Whether every service works again; Ray has an answer of its own to SIGTERM before."""
        services = self.deployment.services
        ready = all("is ready" in services[name].said for name in SCHEDULERS + WORKERS)
        return ready and self._workforce.analysts()

    def tracebacks(self):
        """What services have logged without knowing what it means, each with what follows."""
        logs = {name: s.log.read_text() for name, s in self.deployment.services.items()}
        return [
            f"{name}: {log[log.index(MARK) :][:5000]}" for name, log in logs.items() if MARK in log
        ]

    def _wait_for(self, event, campaign_id, queue):
        latest = time.monotonic() + PATIENCE_SECONDS

        def is_due():
            self._keep_messages(queue)
            counts = self._counts(campaign_id)
            return (counts and counts.done >= event.units) or time.monotonic() > latest

        wait_until(is_due, timeout=PATIENCE_SECONDS + 30)

    def _strike(self, event, queue):
        """Have the event happen; returns the timers that will undo it."""
        action, _, target = event.name.partition(" ")
        if action == "freeze":
            return [self._freeze(target, event.seconds)]
        if event.faults is not None:
            proxies = {"broker": self.deployment.broker_proxy, "store": self.deployment.s3_proxy}
            return [_afflict(proxies[action], event)]
        if action in TROUBLES:
            return [self._trouble(action, event.seconds)]
        if target == "messages":
            wait_until(self._broker_takes_writes, timeout=60)
            getattr(self, f"_{action}")(queue)
        elif target == "store":
            self.deployment.s3.restart()
        else:
            self._kill(target, and_forget=action == "forget")
        return []

    def _freeze(self, name, seconds):
        """Stop a service for a while, which then goes on as if no time had passed."""
        return _later(seconds, self.deployment.services[name].freeze())

    def _trouble(self, kind, seconds):
        """Have the broker refuse for a while; killed meanwhile, it has forgotten that."""
        trouble = contextlib.ExitStack()
        with contextlib.suppress(redis.RedisError):
            trouble.enter_context(TROUBLES[kind](self._broker))

        def end():
            with contextlib.suppress(redis.RedisError):
                trouble.close()

        return _later(seconds, end)

    def _kill(self, name, and_forget):
        service = self.deployment.services[name]
        service.kill()
        if name == "analyst":
            wait_until(self._broker_takes_writes, timeout=60)
            self._broker.delete(ANALYSTS)  # a dead one's sign of life counts for a while
        if and_forget:
            self.deployment.forget_broker()
        service.start()
        if name == "broker":
            wait_until(self._broker_answers)

    def _broker_answers(self):
        with contextlib.suppress(redis.RedisError):
            return self._broker.ping()
        return False

    def _broker_takes_writes(self):
        with contextlib.suppress(redis.RedisError):
            return self._broker.set("chaos", 1)
        return False

    def _keep_messages(self, queue):
        with contextlib.suppress(redis.RedisError):
            self._kept.update(dict.fromkeys(self._broker.lrange(queue, 0, -1)))

    def _repeat(self, queue):
        """Deliver every queued message twice more, and the last ones that were taken again."""
        for message in [*self._broker.lrange(queue, 0, -1), *list(self._kept)[-20:]]:
            self._broker.lpush(queue, message)
            self._broker.rpush(queue, message)

    def _reverse(self, queue):
        """Deliver the messages in the opposite order."""
        script = (
            "local all = redis.call('LRANGE', KEYS[1], 0, -1); redis.call('DEL', KEYS[1])"
            "for _, message in ipairs(all) do redis.call('LPUSH', KEYS[1], message) end"
        )
        self._broker.eval(script, 1, queue)

    def _foreign(self, queue):
        """Deliver what is no message of ours, to be taken first and last."""
        self._broker.lpush(queue, *FOREIGN)
        self._broker.rpush(queue, *FOREIGN)

    def _replay(self, queue):
        """Deliver messages of long ago again, those of earlier campaigns among them."""
        for message in self._chance.sample(list(self._kept), min(100, len(self._kept))):
            self._broker.rpush(queue, message)

    def _counts(self, campaign_id):
        with contextlib.suppress(BrokerUnavailableError):
            return self._ledger.counts(campaign_id) if self._ledger.has_epoch() else None

    def _is_settled(self, campaign_id):
        counts = self._counts(campaign_id)
        return counts is not None and counts.settled

    def _compare(self, played, store, campaign_id, undisturbed):
        images = list(stored_images(store, campaign_id))
        copies = Counter(name for name, _ in images)
        played.lost = len(undisturbed.pixels.keys() - copies.keys())
        played.doubled = sum(count - 1 for count in copies.values())
        played.pixels_equal = dict(images) == undisturbed.pixels
        results = self.deployment.seedsweep("results", campaign_id, "--json")
        played.results_equal = json.loads(results) == undisturbed.results
        status = self.deployment.status(campaign_id)
        played.state, played.parked = status["state"], status["units_parked"]


def _write_screened(folder, model):
    """Write a campaign file of the screened round; `model` tells models of equal pictures apart."""
    from tests.support.tiny_model import save_tiny_model

    models = folder / "models"
    if not models.exists():
        save_tiny_model(models / "tiny")
    shutil.copytree(models / "tiny", models / model)
    config = models / model / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_round": model}))
    return campaign_file(
        folder / "chaos.toml",
        SCREENED_PROMPTS,
        "chaos",
        model={"path": str(models / model), "dtype": "float32"},
        sampling=small_sampling(
            SCREENED_SEEDS, 16, steps=2, images_per_unit=20, batch_size=20, guidance_scale=3.0
        ),
        analysis={"min_clique_size": 5},
        stages=[SCREENED],
        missed_sample=0.0,
    )


def _afflict(proxy, event):
    """Set the proxy's faults, and heal it when their time is over."""
    proxy.faults = event.faults
    return _later(event.seconds, proxy.heal)


def _later(seconds, step):
    timer = threading.Timer(seconds, step)
    timer.start()
    return timer
