"""A proxy that does to connections what networks and overloaded servers do to them.

It stands in front of one server of this machine and passes bytes on unchanged, until it is told of
faults. They may be switched while it runs, and chance is drawn from a seeded generator.
"""

import asyncio
import contextlib
import random
import threading
from dataclasses import dataclass, field

from tests.support.servers import free_ports

HOST = "127.0.0.1"
PIECE = 64 * 1024
"""At most so many bytes are passed on at once."""


@dataclass(frozen=True, slots=True)
class HttpError:
    """What an S3 server answers that cannot do as it is asked."""

    status: int
    code: str
    message: str = "told by a proxy"

    def encode(self):
        """The answer as bytes; the connection is kept."""
        body = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        head = (
            f"HTTP/1.1 {self.status} {self.code}\r\n"
            f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()


INTERNAL_ERROR = HttpError(500, "InternalError")
SLOW_DOWN = HttpError(503, "SlowDown")
STORAGE_FULL = HttpError(507, "XMinioStorageFull", "Storage backend has reached its minimum")


@dataclass(frozen=True, slots=True)
class Faults:
    """What befalls connections; without arguments nothing does.

    `latency`: before each piece up to so many seconds go by, evenly distributed.
    `cut`: the probability that of a piece, in either direction, only a part is passed on and both
    sides are then closed.
    `cut_sent`, `cut_answered`: a connection is closed on both sides as soon as so many bytes went
    to the server, or came from it, since the faults were switched.
    `lose_answer`: the probability that the server gets a request and does as it is asked, but both
    sides are closed before its answer is passed on.
    `black_hole`: connections are accepted and nothing is passed on; what was sent meanwhile
    arrives once that ends, as TCP would have it.
    `refuse`: connections are closed, new ones refused.
    `errors`: the probability that an HTTP request is answered with `error` and never reaches the
    server; with `only`, one of that method.
    """

    latency: float = 0.0
    cut: float = 0.0
    cut_sent: int | None = None
    cut_answered: int | None = None
    lose_answer: float = 0.0
    black_hole: bool = False
    refuse: bool = False
    errors: float = 0.0
    error: HttpError = field(default=SLOW_DOWN)
    only: str = ""


NONE = Faults()


class _CutError(Exception):
    """The connection has to be closed on both sides now."""


class Proxy:
    """Passes connections to `port` of this machine on to the server at `upstream`, with faults.

    With `http` it knows requests from one another, as `Faults.errors` needs; every request with a
    body then has to name its length. With `tls`, the context of a server, it speaks that with its
    clients. It runs on a thread of its own, from `start` to `stop`.
    """

    def __init__(self, upstream, seed=0, http=False, tls=None):
        (self.port,) = free_ports(1)
        self._upstream, self._http, self._tls = upstream, http, tls
        self._random = random.Random(seed)
        self._faults, self._switches = NONE, 0
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._passing = asyncio.Event()
        self._passing.set()
        self._listener = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Accept connections from now on."""
        self._thread.start()
        self._run(self._listen())

    def stop(self):
        """Close every connection, and the port."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def faults(self):
        """What befalls connections at present; setting it holds at once, for open ones too."""
        return self._faults

    @faults.setter
    def faults(self, faults):
        self._run(self._switch(faults))

    def heal(self):
        """Pass everything on as it is."""
        self.faults = NONE

    def reseed(self, seed):
        """Draw chance from this seed from now on."""
        self._random = random.Random(seed)

    def cut(self):
        """Close every connection now; new ones are accepted."""
        self._run(self._close_connections())

    def lead_to(self, upstream):
        """Stand before another server from now on; every connection to the old one is closed."""
        self._upstream = upstream
        self.cut()

    def _run(self, step):
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=60)

    async def _switch(self, faults):
        self._faults, self._switches = faults, self._switches + 1
        if faults.black_hole:
            self._passing.clear()
        else:
            self._passing.set()
        if faults.refuse:
            await self._close()
        elif self._listener is None:
            await self._listen()

    async def _listen(self):
        self._listener = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls)

    async def _close(self):
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._close_connections()

    async def _close_connections(self):
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader, writer):
        connection = asyncio.current_task()
        self._connections.add(connection)
        try:
            await self._passing.wait()
            server_reader, server_writer = await asyncio.open_connection(HOST, self._upstream)
            try:
                link = _Link(reader, writer, server_reader, server_writer)
                await _until_one_ends(self._pass_up(link), self._pass_down(link))
            finally:
                server_writer.transport.abort()
        except (OSError, _CutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        else:
            writer.close()
        finally:
            self._connections.discard(connection)

    async def _pass_up(self, link):
        sent = _Budget(self, "cut_sent")
        if not self._http:
            while piece := await link.client_reader.read(PIECE):
                await self._send_up(link, piece, sent)
            return
        while head := await _read_head(link.client_reader):
            left = _length_of_body(head)
            if head.startswith(self._faults.only.encode()) and self._happens(self._faults.errors):
                await self._passing.wait()
                await link.client_reader.readexactly(left)
                link.client_writer.write(self._faults.error.encode())
                continue
            await self._send_up(link, head, sent)
            while left:
                piece = await link.client_reader.read(min(left, PIECE))
                if not piece:
                    return
                left -= len(piece)
                await self._send_up(link, piece, sent)

    async def _send_up(self, link, piece, sent):
        link.awaits_answer = True
        await self._send(piece, link.server_writer, sent)

    async def _pass_down(self, link):
        answered = _Budget(self, "cut_answered")
        while piece := await link.server_reader.read(PIECE):
            if link.awaits_answer and self._happens(self._faults.lose_answer):
                raise _CutError
            link.awaits_answer = False
            await self._send(piece, link.client_writer, answered)

    async def _send(self, piece, writer, budget):
        if self._faults.latency:
            await asyncio.sleep(self._random.uniform(0, self._faults.latency))
        await self._passing.wait()
        allowed = budget.take(len(piece))
        if self._happens(self._faults.cut):
            allowed = min(allowed, self._random.randrange(len(piece)))
        writer.write(piece[:allowed])
        await writer.drain()
        if allowed < len(piece):
            raise _CutError

    def _happens(self, probability):
        return probability > 0 and self._random.random() < probability


@dataclass(slots=True)
class _Link:
    """A client's connection and the one to the server that belongs to it."""

    client_reader: asyncio.StreamReader
    client_writer: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter
    awaits_answer: bool = False


class _Budget:
    """How many bytes of a connection may still go in one direction."""

    def __init__(self, proxy, limit):
        self._proxy, self._limit = proxy, limit
        self._switches, self._taken = None, 0

    def take(self, count):
        """How many of `count` more bytes may go."""
        limit = getattr(self._proxy._faults, self._limit)
        if self._switches != self._proxy._switches:
            self._switches, self._taken = self._proxy._switches, 0
        allowed = count if limit is None else max(0, min(count, limit - self._taken))
        self._taken += allowed
        return allowed


async def _until_one_ends(*directions):
    """Whatever ends one direction, or fails in it, ends the other."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_head(reader):
    """The next request's head with its empty line, or nothing where no request follows."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        return await reader.readuntil(b"\r\n\r\n")
    return b""


def _length_of_body(head):
    """How many bytes follow a request's head."""
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:-2])
    assert b"transfer-encoding" not in headers, "the proxy knows only bodies of a named length"
    return int(headers.get(b"content-length", 0))
