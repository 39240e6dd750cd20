"""The Ray that actors run on: a cluster that is joined, or a private one."""

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from seedsweep.storage.errors import ConfigError, RayUnavailableError
from seedsweep.workers.cluster.jobs import in_brief
from seedsweep.workers.cluster.private_ray import (
    ONE_THREAD,
    first_line,
    private_folder,
    start,
    use_private_environment,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 1.0
SOON_SECONDS, START_SECONDS = 10.0, 60.0
"""So long is the first actor of a crew waited for before an actor without a CPU is tried, and so
long may that one take to start."""


_ANYWHERE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Started by `uv run`, Ray would pack this folder and have its nodes run uv.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # One that refuses us is asked three times, not twenty times, a second apart.
    "RAY_NUM_REDIS_GET_RETRIES": "3",
}
# On every system, not only on those that it is named after: one node, bound to loopback.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}
"""Otherwise a driver looks for its node at this machine's outer address."""
ACTORS_PER_GPU = 4
"""An actor decodes on its CPU for longer than it multiplies on a GPU."""


@dataclass(frozen=True, slots=True)
class Actors:
    """The Ray actors to work with.

    `count` of them, each on a CPU of its own; `device`: what computes distances, that CPU or a GPU
    that a few of them share; `address`: the cluster, None for a Ray on this machine.
    """

    count: int = 1
    device: Literal["cpu", "cuda"] = "cpu"
    address: str | None = None


def one_thread(address: str | None) -> dict[str, Any]:
    """The options of an actor that has `ONE_THREAD`: with those of a private Ray it is born."""
    return {"runtime_env": {"env_vars": ONE_THREAD}} if address else {}


def gpu_share(ray: Any, actors: Actors) -> float:
    """How much of a GPU each of the actors takes; raises `ConfigError` if one is wanted and Ray has
    none."""
    if actors.device == "cpu":
        return 0.0
    # Otherwise Ray would wait for a GPU for ever.
    if not ray.cluster_resources().get("GPU"):
        raise ConfigError("Ray has no GPU to compute on; leave --device cuda out.")
    return 1 / ACTORS_PER_GPU


@contextlib.contextmanager
def noticing_its_end(address: str | None) -> Iterator[None]:
    """Raise what Ray's client says of a cluster that has gone as `RayUnavailableError`."""
    try:
        yield
    except Exception as error:
        # Ray itself raises a bare Exception here.
        if not isinstance(error, ConnectionError) and "not connected" not in str(error):
            raise
        raise RayUnavailableError(
            f"The Ray cluster at {address or 'this machine'} has gone ({first_line(error)}); "
            "start it again."
        ) from error


def expect_ray(address: str | None) -> None:
    """Raise what `joined_ray` would, as far as that shows without a start or a joining."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "Ray is not installed here; run this where it is, such as in the analyst's image."
        )
    if address:
        _expect_answer(address)
    else:
        with private_folder():
            pass


@contextlib.contextmanager
def joined_ray(cpus: int, address: str | None) -> Iterator[Any]:
    """Use Ray for the time of the block: a private one with so many CPUs, or the cluster.

    No other Ray is joined, whatever else names one or runs on this machine; whether it runs our
    actors is for `first_answer` to say. Raises `ConfigError` if the cluster refuses us, or a
    private one has no folder, `RayUnavailableError` if the cluster does not answer, and
    `TransientError` if no Ray starts here.
    """
    expect_ray(address)
    if address is None:
        use_private_environment()
    os.environ.update(_ANYWHERE)
    if address is None or _host_and_port(address)[0] in _LOOPBACK_HOSTS:
        os.environ.update(_LOOPBACK)
    import ray

    with contextlib.ExitStack() as stack:
        with _own_sigterm(ray):
            if address:
                _join(ray, address)
            else:
                start(ray, cpus, stack.enter_context(private_folder()))
        has_gone = False
        try:
            yield ray
        except RayUnavailableError:
            has_gone = True
            raise
        finally:
            # Told to leave a cluster that has gone, Ray would wait for it.
            if not has_gone:
                with _own_sigterm(ray):
                    ray.shutdown()


def _expect_answer(address: str) -> None:
    """Fail soon if nothing listens: Ray would try for minutes."""
    host, port = _host_and_port(address)
    if not host or not port:
        raise ConfigError(
            f"SEEDSWEEP_RAY_ADDRESS is {address!r}, which names no cluster; write HOST:PORT, or "
            "ray://HOST:PORT for a Ray client."
        )
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise RayUnavailableError(
            f"The Ray cluster at {address} does not answer ({error.strerror or error}); start it, "
            "correct SEEDSWEEP_RAY_ADDRESS, or unset that for a Ray on this machine."
        ) from error


class Cluster:
    """A cluster that was joined, or the Ray of this process, which ends with it."""

    def __init__(self, address: str | None) -> None:
        self._address, self._asked = address, time.monotonic()

    def expect(self) -> None:
        """Raise `RayUnavailableError` if nothing listens there any more; asks once a second.

        Ray itself waits, and aborts the process once another cluster is at its address.
        """
        if self._address and time.monotonic() - self._asked > LOOK_SECONDS:
            self._asked = time.monotonic()
            _expect_answer(self._address)


def _host_and_port(address: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return parts.hostname, parts.port
    except ValueError:
        return None, None


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        if "AuthenticationError" in str(error.__cause__):
            raise ConfigError(
                f"The Ray cluster at {address} wants another token; set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN or ~/.ray/auth_token to the cluster's."
            ) from error
        raise RayUnavailableError(
            f"The Ray cluster at {address} cannot be joined ({first_line(error)}); start a Ray "
            "node on this machine, write ray://HOST:PORT for a Ray client, or set RAY_AUTH_TOKEN "
            "to the cluster's token."
        ) from error


@contextlib.contextmanager
def crew_within(kind: type) -> Iterator[tuple[Any, list[Any]]]:
    """Ray, and for the time of the block as many actors of this kind as it has CPUs, for one that
    runs in an actor itself. They claim none: that actor waits for them, and others of its kind may
    have all. They inherit its variables."""
    import ray

    count = max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=3)(kind)
    crew = [remote.remote() for _ in range(count)]
    try:
        yield ray, crew
    finally:
        for actor in crew:
            ray.kill(actor)


class _Probe:
    pass


def probe_of(ray: Any) -> Any:
    """An actor that does nothing, and takes no CPU."""
    return ray.remote(num_cpus=0)(_Probe).remote()


def first_answer(ray: Any, address: str, first: Any, question: Callable[..., T], *of: Any) -> T:
    """What the function returns, given `of`, on a node of the cluster that was joined.

    It is asked in `first`, an actor of the crew; if that has not begun soon, as on a cluster whose
    CPUs are all taken, in an actor that takes none. Raises `ConfigError` if the cluster can be
    joined and still runs nothing for us, and `RayUnavailableError` if it starts no actor.
    """
    with contextlib.suppress(ray.exceptions.RayError):
        return _ask(ray, first, SOON_SECONDS, question, of)
    try:
        return _ask(ray, probe_of(ray), START_SECONDS, question, of)
    except ray.exceptions.GetTimeoutError as error:
        raise RayUnavailableError(
            f"The Ray cluster at {address} started no actor within {START_SECONDS:.0f} s; see "
            "whether its nodes are alive."
        ) from error
    except ray.exceptions.RayError as error:
        # So it is if its nodes lack our code, and if we use tokens and it does not: Ray lets us in
        # and ends our actors before they begin.
        raise ConfigError(
            f"The Ray cluster at {address} runs no actor of ours ({in_brief(error)}); install this "
            "seedsweep on its nodes, and set RAY_AUTH_MODE here as it is there."
        ) from error


def _ask(ray: Any, actor: Any, seconds: float, question: Callable[..., T], of: Sequence[Any]) -> T:
    answered: T = ray.get(actor.__ray_call__.remote(_put, question, of), timeout=seconds)
    return answered


def _put(actor: Any, question: Callable[..., T], of: Sequence[Any]) -> T:
    return question(*of)


@contextlib.contextmanager
def _own_sigterm(ray: Any) -> Iterator[None]:
    """Keep the caller's answer to SIGTERM, if there is one: Ray replaces it when it starts, in
    Python and in C++, and at its end takes it away."""
    own, utils = signal.getsignal(signal.SIGTERM), ray._private.utils
    if own is signal.SIG_DFL:
        yield
        return
    replace = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = replace
        signal.signal(signal.SIGTERM, own)
