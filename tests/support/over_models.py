"""A campaign over two models, its dispatcher and workers, with a real broker between them.

It asks of each picture what model a tells, what b tells, what both do, and has one picture made by
a, which is its own model: four loads, and so four queues. Three are of a kind of work that earlier
versions do not know.
"""

import base64
import json

from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.scheduler.dispatch.dispatcher import Dispatcher
from seedsweep.scheduler.dispatch.loads import load_of
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.pieces import Piece, pieces_of
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import make_app, publish, queue_of
from seedsweep.workers.generation.kinds import KINDS
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.stored_images import read_images
from tests.support.campaigns import make_campaign, noise_model
from tests.support.membership import Membership

MODELS = {"a": noise_model("a"), "b": noise_model("b")}
IDS = [model.model_id for model in MODELS.values()]
A = load_of(IDS[:1])
OF_A, OF_B, BOTH = (load_of(ids, "membership") for ids in (IDS[:1], IDS[1:], IDS))
KIND_IDS = ("a", "b", "a-b", "")
CUTS = tuple(SeedRange(first=seed, last=seed) for seed in range(len(KIND_IDS)))
PROMPTS = [f"picture {number}" for number in range(4)]


def unit_of(message):
    """The unit of a message as it lies in a queue."""
    (unit,), _, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
    return WorkUnit.model_validate(unit)


class Killed(BaseException):
    """The worker's process is ended at this point."""


class Worker:
    """A worker with a real heartbeat and ledger. Each turn takes a message from the queue of the
    load that it was told to serve, if there is one, and does it."""

    def __init__(self, broker, store, ledger, url, name, kinds=KINDS):
        self.broker, self.load, self.taken = broker, "", []
        self.renderer = Renderer(
            store, ledger, Workforce(url), name, follow=self.follow, kinds=kinds
        )

    def follow(self, load):
        self.load = load or self.load

    def turn(self):
        message = self.load and self.broker.rpop(f"seedsweep:{queue_of(self.load)}")
        if message:
            unit = unit_of(message)
            self.taken.append((self.load, unit.index))
            self.renderer.render(unit)

    def vanish(self):
        """Give no sign of life any more."""
        self.renderer._heartbeat._closing.set()
        self.renderer._heartbeat._thread.join()
        self.renderer._writer.close()
        self.broker.zadd("seedsweep:beats", {self.renderer._name: 0})
        self.broker.delete("seedsweep:crews")


class Deployment:
    """A campaign over two models, its dispatcher, and workers."""

    def __init__(self, store, ledger, broker, url):
        self.store, self.ledger, self.broker, self.url = store, ledger, broker, url
        self.membership = Membership(MODELS)
        self.workers, self.app = [], make_app(url)
        self.plan = self.submit("members")

    def submit(self, name, **changes):
        campaign = make_campaign(
            name,
            prompts=len(PROMPTS),
            model=MODELS["a"],
            seeds=len(CUTS),
            images_per_unit=1,
            **changes,
        )
        plan = Plan(campaign, PROMPTS, CUTS)
        submit_campaign(self.store, plan)
        return plan

    def begin(self):
        def send(queue, units):
            publish(self.app, queue, units)

        campaigns = lambda: self.store.folders("campaigns/")  # noqa: E731
        self.dispatcher = Dispatcher(self.store, self.ledger, Workforce(self.url), send, campaigns)
        self.dispatcher.tick()  # it learns of the campaign, and
        self.dispatcher.tick()  # feeds

    def start(self, name, kinds=None):
        kinds = {**KINDS, "membership": self.membership} if kinds is None else kinds
        worker = Worker(self.broker, self.store, self.ledger, self.url, name, kinds)
        self.workers.append(worker)
        return worker

    def turn(self):
        self.dispatcher.tick()
        for worker in self.workers:
            worker.turn()

    def is_done(self):
        """Take turns; whether no unit is left."""
        self.turn()
        return self.counts.remaining == 0

    @property
    def campaign_id(self):
        return self.plan.campaign.campaign_id

    @property
    def counts(self):
        return self.ledger.counts(self.campaign_id)

    def indexes(self, *kind_ids):
        return [i for i in range(len(self.plan)) if KIND_IDS[i % len(CUTS)] in kind_ids]

    def queue(self, load):
        return f"seedsweep:{queue_of(load)}"

    def check(self, indexes=None):
        """Each unit has its shard, of what its own models told."""
        for unit in map(self.plan.unit, range(len(self.plan)) if indexes is None else indexes):
            if unit.kind == "generate":
                assert [image.seed for image in read_images(self.store, unit_shard(unit))] == [3]
            else:
                assert self.membership.told(self.store, unit) == unit.kind_id.split("-")


def pieces_over_models(campaign, cuts):
    """What `pieces_of` says of the campaign, and of any whose name begins like its own."""
    if not campaign.name.startswith("members"):
        return pieces_of(campaign, cuts)
    return tuple(
        Piece(cut, 0, "membership", kind_id) if kind_id else Piece(cut, 1)
        for cut, kind_id in zip(cuts, KIND_IDS, strict=True)
    )
