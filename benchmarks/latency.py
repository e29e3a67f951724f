"""A relay that lets bytes through late and no faster than it is told, as a long way does, and counts what passes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from score.testing.background import Background

_CHUNK = 64 * 1024


@dataclass(slots=True)
class Counts:
    """``requests``: heads of HTTP that passed; ``received``: bytes that came back, heads and bodies."""

    requests: int = 0
    received: int = 0
    connections: int = 0


class Relay:
    """A way to ``target`` of ``delay`` seconds there and back; a new connection costs one delay of its own, as TCP's
    handshake does. ``rate`` bounds the bytes that come back in a second, over all connections; 0: no bound."""

    def __init__(self, target: str, delay: float, rate: float = 0) -> None:
        parts = urlsplit(target)
        assert parts.hostname
        assert parts.port
        self._target = parts.hostname, parts.port
        self._half = delay / 2
        self.rate = rate
        self._free = 0.0
        self.counts = Counts()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        self._server.close()

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://127.0.0.1:{self._port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        await asyncio.sleep(2 * self._half)
        onward_reader, onward = await asyncio.open_connection(*self._target, limit=_CHUNK)
        there = asyncio.create_task(self._pump(reader, onward, back=False))
        back = asyncio.create_task(self._pump(onward_reader, writer, back=True))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        if there.done():  # the client hung up: what is on its way to it is lost
            back.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        for one in (writer, onward):
            one.close()

    def _due(self, count: int) -> float:
        """When bytes that come back now have arrived."""
        begin = max(time.monotonic(), self._free)
        self._free = begin + (count / self.rate if self.rate else 0)
        return self._free + self._half

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, back: bool) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(16)

        async def take() -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(_CHUNK):
                    await under_way.put((self._due(len(data)) if back else time.monotonic() + self._half, data))
            await under_way.put((0.0, b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await under_way.get()
                if not data:
                    return
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if back:
                    self.counts.received += len(data)
                else:
                    self.counts.requests += data.count(b"\r\n\r\n")
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            taking.cancel()


@contextmanager
def relays(delay: float, *targets: str) -> Iterator[list[Relay]]:
    """A relay to each of the targets."""
    background = Background("relay")
    made = [Relay(target, delay) for target in targets]
    try:
        for relay in made:
            background.run(relay.start())
        yield made
    finally:
        for relay in made:
            background.run(relay.stop())
        background.close()
