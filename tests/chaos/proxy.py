"""A TCP proxy before a broker that cuts, holds and swallows, and knows whose reply it swallows.

toxiproxy cuts connections too, but cannot tell the reply to a commit from any other. Of Kafka's protocol only the frame is
read: its size, and of a request the API and the correlation id. Nothing is rewritten: the broker advertises the proxy's port.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Collection, Iterator
from enum import IntEnum

MOST_BYTES = 128 << 20  # of a frame; a fetch answers 50 MB at most


class Api(IntEnum):
    """Requests whose replies are interfered with, by Kafka's own numbers."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Proxy:
    """Listens on a port of its own and forwards to `upstream`, in a thread.

    Attributes:
        port: where it listens.
        upstream: the broker's port.
        swallowed: how many replies were, by API.
        cuts: connections that were reset.
        waiting: replies that are held.
    """

    def __init__(self, upstream: int, seed: int = 0) -> None:
        self.upstream = upstream
        self.swallowed: dict[int, int] = {}
        self.cuts = self.waiting = 0
        self._rng = random.Random(seed)
        self._swallow: Collection[int] = ()
        self._share, self._left, self._silent = 0.0, 0, False
        self._held: Collection[int] = ()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # What goes wrong.

    def cut(self) -> None:
        """Reset every connection, whatever is under way on it."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._reset_all)
        self._loop.call_soon_threadsafe(done.set)
        done.wait(10)

    def swallow(self, apis: Collection[int], share: float, most: int, silent: bool = False) -> None:
        """The broker does what it was asked for and the client is not told: its connection is reset instead.

        Args:
            apis: to whose requests.
            share: of the replies, at random.
            most: so many and no more.
            silent: the connection stays, and the client waits until it gives up.
        """
        self._share, self._left, self._silent, self._swallow = share, most, silent, apis

    @contextlib.contextmanager
    def hold(self, apis: Collection[int]) -> Iterator[None]:
        """Replies to these wait, and those to no others."""
        before, self._held = self._held, apis
        try:
            yield
        finally:
            self._held = before

    @property
    def left(self) -> int:
        """Replies that `swallow` has still to swallow."""
        return self._left

    # How it works.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._reset_all()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            reset(writer)
            return
        asked: dict[int, int] = {}
        self._writers.add(writer)
        try:
            pumps = [self._requests(reader, upstream[1], asked), self._replies(upstream[0], writer, asked)]
            tasks = [asyncio.ensure_future(pump) for pump in pumps]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._writers.discard(writer)
            reset(writer)
            reset(upstream[1])

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read_frame(reader)
                api, _, correlation = struct.unpack_from(">hhi", frame, 4)
                asked[correlation] = api
                writer.write(frame)
                await writer.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await read_frame(reader)
                api = asked.pop(struct.unpack_from(">i", frame, 4)[0], -1)
                if api in self._held:
                    self.waiting += 1
                    try:
                        while api in self._held:
                            await asyncio.sleep(0.05)
                    finally:  # the client may be gone before it is let through
                        self.waiting -= 1
                if api in self._swallow and self._left > 0 and self._rng.random() < self._share:
                    self._left -= 1
                    self.swallowed[api] = self.swallowed.get(api, 0) + 1
                    if self._silent:
                        continue
                    return
                writer.write(frame)
                await writer.drain()

    def _reset_all(self) -> None:
        self.cuts += len(self._writers)
        for writer in list(self._writers):
            reset(writer)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """A request or a reply with its size before it."""
    head = await reader.readexactly(4)
    size = struct.unpack(">i", head)[0]
    if not 4 <= size <= MOST_BYTES:
        raise OSError(f"a frame of {size} bytes")
    return head + await reader.readexactly(size)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, as a peer that is gone does."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
