"""What generating takes on one device, measured on a few images before a campaign is run."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

import pyarrow.parquet as pq

from seedsweep.storage.errors import ConfigError, DeviceMemoryError, SeedsweepError, TransientError
from seedsweep.storage.image_rows import DESCRIBED, encode_rows
from seedsweep.storage.parquet import read_table
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import Blocks
from seedsweep.storage.store import Store
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.protocol import Generation, Pipeline

MIN_ROUNDS = 2
"""With one there is no spread."""

MIN_SECONDS = 3.0
"""Long beside a clock's tick and a device's first moments; short for somebody who waits."""

MAX_SECONDS = 60.0
"""Nothing is begun beyond: on a slow device one batch says what is to be known."""

SIZED_ROUNDS = 8
"""So many rounds are encoded: pictures differ in size, and encoding takes time of its own."""

_PER_IMAGE = {"seed", "descriptor", "sha256", "image.bytes", "image.path"}

Note = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Images per second of one device: of whole units, so that padded batches count as they cost.

    `lowest` and `highest` are those of single rounds, of which there were `rounds`, with `images`
    in `seconds`; all three are 0 where the rate was given and not measured.
    """

    device: str
    images_per_second: float
    lowest: float
    highest: float
    rounds: int
    images: int
    seconds: float

    @staticmethod
    def given(device: str, images_per_second: float) -> "Throughput":
        """A rate that is taken as it is."""
        return Throughput(
            device, images_per_second, images_per_second, images_per_second, 0, 0, 0.0
        )


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of shards and receipts: so many for each object, and so many more for each image."""

    shard: float
    shard_image: float
    receipt: float
    receipt_image: float
    measured: bool


def measure(
    store: Store, campaign: Campaign, units: Sequence[WorkUnit], device: str, note: Note
) -> tuple[Throughput, Sizes]:
    """Generate images of these units, all of one length, on a device as a worker does.

    A round is a whole batch, and where a unit ends with a smaller one, one such batch too; rounds
    take the units in turn. One batch is not timed; then rounds follow until there are `MIN_ROUNDS`
    in `MIN_SECONDS`, or `MAX_SECONDS` have passed. Only generating is timed, since encoding runs
    beside it in a worker. `note` is told after each round of how many images in how many seconds.
    Each unit is made with its prompt's own settings. Nothing is written to the store.

    Raises `ConfigError` where the model cannot be loaded or fails here, and `TransientError` where
    what holds it does not answer.
    """
    try:
        return _measure(store, campaign, units, device, note)
    except DeviceMemoryError as error:
        raise _cannot(device, error) from error
    except (ConfigError, TransientError):
        raise
    except Exception as error:  # a generator that is not ours may raise anything
        raise _cannot(device, error) from error


def sizes_of(shards: Sequence[tuple[bytes, int]]) -> Sizes:
    """Take the sizes of shards, each given with how many images it holds, apart.

    What grows with the images are their pictures, descriptors, hashes and seeds; all else is the
    same for any number of images: dictionaries of what they share, and the footer. Of 64 px images,
    six foretell a shard of 48 to 1 %, and a receipt, which is compressed, to 10 %.
    """
    images = sum(count for _, count in shards)
    receipts = [_receipt_of(shard) for shard, _ in shards]
    growing = sum(_growing(shard) for shard, _ in shards)
    growing_receipt = sum(map(_growing, receipts))
    return Sizes(
        shard=(sum(len(shard) for shard, _ in shards) - growing) / len(shards),
        shard_image=growing / images,
        receipt=(sum(map(len, receipts)) - growing_receipt) / len(shards),
        receipt_image=growing_receipt / images,
        measured=True,
    )


def _measure(
    store: Store, campaign: Campaign, units: Sequence[WorkUnit], device: str, note: Note
) -> tuple[Throughput, Sizes]:

    made_with = campaign.of(units[0].settings)
    pipeline = load_pipeline(store, made_with, device, threads=1)
    batch_size, length = campaign.sampling.batch_size, len(units[0].seeds)
    _time(pipeline, units[0], 0, min(batch_size, length))
    paces: list[float] = []
    shards: list[tuple[bytes, int]] = []
    images, spent = 0, 0.0
    for unit in cycle(units):
        if made_with.generation_id != unit.generation_id:
            made_with = campaign.of(unit.settings)
            pipeline = pipeline.with_sampling(made_with.sampling)
        made, seconds, unit_seconds = _round(pipeline, unit, batch_size)
        images, spent = images + len(made), spent + seconds
        paces.append(unit_seconds / length)
        if len(shards) < SIZED_ROUNDS:
            shards.append((_encode(unit, made, campaign.descriptors), len(made)))
        note(images, spent)
        if spent >= MAX_SECONDS or (len(paces) >= MIN_ROUNDS and spent >= MIN_SECONDS):
            break
    per_second = len(paces) / sum(paces)
    rate = Throughput(device, per_second, 1 / max(paces), 1 / min(paces), len(paces), images, spent)
    return rate, sizes_of(shards)


def _round(
    pipeline: Pipeline, unit: WorkUnit, batch_size: int
) -> "tuple[list[Generation], float, float]":
    """One batch of each length that the unit has: its images, its seconds, the whole unit's."""
    whole, rest = divmod(len(unit.seeds), batch_size)
    made: list[Generation] = []
    seconds = unit_seconds = 0.0
    for length, times in ((batch_size, whole), (rest, 1)):
        if length and times:
            batch, took = _time(pipeline, unit, len(made), length)
            made += batch
            seconds, unit_seconds = seconds + took, unit_seconds + took * times
    return made, seconds, unit_seconds


def _time(
    pipeline: Pipeline, unit: WorkUnit, skipped: int, length: int
) -> "tuple[list[Generation], float]":
    first = unit.seeds.first + skipped
    began = time.perf_counter()
    made = pipeline.generate(unit.prompt, range(first, first + length))
    return made, time.perf_counter() - began


def _encode(unit: WorkUnit, made: Sequence[Generation], blocks: Blocks) -> bytes:

    seeds = SeedRange(first=made[0].seed, last=made[-1].seed)
    return encode_unit(unit.model_copy(update={"seeds": seeds}), made, blocks)


def _receipt_of(shard: bytes) -> bytes:
    """What a receipt of a shard's images holds, but for the verdict on them."""
    table = read_table(shard).select(DESCRIBED.names).replace_schema_metadata(None)
    return encode_rows(table, DESCRIBED.names, "zstd")


def _growing(data: bytes) -> int:
    """The bytes of the columns that hold something else for every image."""
    group = pq.read_metadata(io.BytesIO(data)).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return sum(c.total_compressed_size for c in columns if c.path_in_schema in _PER_IMAGE)


def _cannot(device: str, error: Exception) -> ConfigError:
    reason = str(error) if isinstance(error, SeedsweepError) else repr(error)
    return ConfigError(
        f"The rate cannot be measured on {device} ({' '.join(reason.split())}); mend that, choose "
        "another --device, or give --images-per-second."
    )
