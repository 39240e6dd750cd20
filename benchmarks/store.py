"""How fast the S3 store is beside the bare minio client, on a server that this starts itself.

    .venv/bin/python -m benchmarks.store [ROUNDS]

In every round both write and then read the same objects, one right after the other, in an order
that alternates. Printed are medians over the rounds, and of the ratio store ÷ bare its lowest and
highest round too; the last column is the ratio of this process's CPU time, which tells a cost of
ours from the noise of a busy machine. Both send an object in one request and share nothing but the
server.
"""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3
from minio import Minio

from benchmarks.machine import machine
from seedsweep.storage.s3.store import SINGLE_PUT, S3Store
from tests.support.servers import WEED, S3Server

BUCKET = "benchmark"
CASES = [
    (size, threads, count)
    for (size, counts) in [(100_000, (80, 160)), (2_000_000, (16, 24)), (20_000_000, (4, 8))]
    for threads, count in zip((1, 8), counts, strict=True)
]


class Bare:
    """The minio client, used as its documentation shows."""

    def __init__(self, server, threads):
        self._client = Minio(
            f"127.0.0.1:{server.port}",
            server.access_key,
            server.secret_key,
            secure=False,
            region="us-east-1",
            http_client=urllib3.PoolManager(maxsize=threads, timeout=30),
        )

    def put(self, key, data):
        self._client.put_object(BUCKET, key, io.BytesIO(data), len(data), part_size=SINGLE_PUT)

    def get(self, key):
        response = self._client.get_object(BUCKET, key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()


class Store:
    """The store, used as the workers do."""

    def __init__(self, server, threads):
        self._store = S3Store(f"s3://{BUCKET}?endpoint={server.endpoint}", threads=threads)
        self._store.create_bucket()

    def put(self, key, data):
        assert self._store.create(key, data)

    def get(self, key):
        return self._store.read(key)


def measure(round_number, pool, sides, size, count):
    """Bytes per second and seconds of CPU of each side, for put and get."""
    data = os.urandom(size)
    order = sorted(sides, reverse=bool(round_number % 2))
    keys = {
        name: [f"{name}/{size}/{count}/{round_number}/{i}" for i in range(count)] for name in sides
    }
    rates = {}
    for name in order:
        with timed(rates, "put", name, size * count):
            list(pool.map(lambda key, side=sides[name]: side.put(key, data), keys[name]))
    for name in order:
        with timed(rates, "get", name, size * count):
            found = list(pool.map(sides[name].get, keys[name]))
        assert found == [data] * count
        del found  # or the other side is timed with less memory
    return rates


@contextlib.contextmanager
def timed(rates, action, name, size):
    begun, cpu = time.perf_counter(), time.process_time()
    yield
    rates[action, name] = size / (time.perf_counter() - begun)
    rates[action, name, "cpu"] = time.process_time() - cpu


def report(server, rounds):
    print("| object | threads | | bare MB/s | store MB/s | store ÷ bare | lowest | highest | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size, threads, count in CASES:
        sides = {"bare": Bare(server, threads), "store": Store(server, threads)}
        with ThreadPoolExecutor(threads) as pool:
            measure(
                rounds, pool, sides, size, count
            )  # warm: connections, volumes, the store's probe
            found = [measure(i, pool, sides, size, count) for i in range(rounds)]
        words = f"{size / 1e6:g} MB"
        for action in ("put", "get"):
            bare, store = (
                statistics.median(rates[action, name] for rates in found) / 1e6
                for name in ("bare", "store")
            )
            cpu = statistics.median(
                rates[action, "store", "cpu"] / rates[action, "bare", "cpu"] for rates in found
            )
            ratios = sorted(rates[action, "store"] / rates[action, "bare"] for rates in found)
            print(
                f"| {words} | {threads} | {action} | {bare:.0f} | {store:.0f} "
                f"| **{statistics.median(ratios):.2f}** | {ratios[0]:.2f} | {ratios[-1]:.2f} "
                f"| {cpu:.2f} |",
                flush=True,
            )


def servers_version():
    found = subprocess.run([WEED, "version"], check=True, capture_output=True, text=True).stdout
    return f"SeaweedFS {found.split()[2]}"


def main(rounds=8):  # an even number, so that each goes first equally often
    print(machine("minio", "urllib3"), servers_version(), f"{rounds} rounds", sep="; ", end="\n\n")
    with tempfile.TemporaryDirectory() as folder, S3Server(Path(folder)) as server:
        server.start()
        os.environ.update(server.environment)
        report(server, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
