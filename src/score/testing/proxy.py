"""A reverse proxy that does damage on request: faults between a client and its server or store.

It speaks HTTP/1.1, streams bodies both ways without keeping them, and passes heads on as they came, ``Host`` too: a
signed URL stays valid where it was signed for the proxy's address. Each request gets a connection of its own to the
server behind; those of the client are kept alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from weakref import WeakSet

from score.testing.background import Background, settle
from score.testing.faults import (
    Answer,
    CutRequest,
    CutResponse,
    Exchange,
    Fault,
    Flip,
    Hold,
    LoseResponse,
    Reset,
    Traffic,
)

_CHUNK = 64 * 1024
_LARGEST_HEAD = 256 * 1024
_HOP = {"connection", "keep-alive", "proxy-connection"}


class _Ended(Exception):
    """A side went away, or a fault says so: what to record, and how the client's connection ends."""

    def __init__(self, end: str, *, reset: bool = True) -> None:
        super().__init__(end)
        self.end = end
        self.reset = reset


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line and the headers of a message, as they came."""

    line: str
    fields: list[tuple[str, str]]

    def get(self, name: str) -> str:
        """The value of a header, given in lower case; empty where it is not there."""
        return next((value for key, value in self.fields if key.lower() == name), "")

    @property
    def has_body(self) -> bool:
        """Whether a body comes whose end the head tells."""
        return self.get("transfer-encoding").lower() == "chunked" or self.get("content-length") not in ("", "0")

    def to_bytes(self, *, close: bool) -> bytes:
        """The head as it travels on, with our own word on the connection."""
        lines = [self.line, *(f"{key}: {value}" for key, value in self.fields if key.lower() not in _HOP)]
        if close:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = text[:-4].split("\r\n")
    pairs = (entry.partition(":") for entry in lines)
    return _Head(line, [(key, value.strip()) for key, _, value in pairs])


async def _read_body(reader: asyncio.StreamReader, head: _Head, *, to_end: bool = False) -> AsyncIterator[bytes]:
    """The body as it is framed on the wire; ``to_end``: one without length lasts until the connection ends."""
    if head.get("transfer-encoding").lower() == "chunked":
        while True:
            line = await reader.readuntil(b"\n")
            yield line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            async for piece in _read_exactly(reader, size + 2):
                yield piece
        while (line := await reader.readuntil(b"\n")) not in (b"\r\n", b"\n"):
            yield line
        yield line
    elif length := head.get("content-length"):
        async for piece in _read_exactly(reader, int(length)):
            yield piece
    elif to_end:
        while piece := await reader.read(_CHUNK):
            yield piece


async def _read_exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, _CHUNK))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
        yield piece


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset, so that the other side sees an error and not an end."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class FaultProxy:
    """A proxy in front of ``upstream`` (``http://host:port``), on a free loopback port; a context manager.

    ``traffic`` scripts the faults and holds the record. ``url`` is where clients go. With ``below``, as
    ``/storage-api``, what is below that path is passed on without it, and everything else answered by 404.
    """

    def __init__(self, upstream: str, *, below: str = "") -> None:
        self.traffic = Traffic()
        self._below = below
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "", address.port or 80)
        self._background = Background("fault proxy")
        self._listening: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._transports: WeakSet[asyncio.WriteTransport] = WeakSet()
        self._port = 0

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.traffic.heal()
        self.shut()
        self._background.close()

    @property
    def host(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """``http://host:port``, and the path below which the server is."""
        return f"http://{self.host}{self._below}"

    def open(self) -> None:
        """Listen, on the same port as before where there was one; nothing happens where it does."""

        async def listen() -> None:
            if self._listening is not None:
                return
            self._listening = await asyncio.start_server(self._accept, "127.0.0.1", self._port, limit=_LARGEST_HEAD)
            self._port = self._listening.sockets[0].getsockname()[1]

        self._background.run(listen())

    def shut(self) -> None:
        """Refuse connections from now on, and reset those that are there."""

        async def stop() -> None:
            if self._listening is not None:
                self._listening.close()
                self._listening = None
            await settle()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            for transport in list(self._transports):
                transport.abort()  # one whose last bytes nobody reads would stay open
            await settle()
            # One that was accepted as the server closed, asyncio leaves open and unread in a cycle of references, and
            # its client would wait for an answer.
            gc.collect()

        self._background.run(stop())

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection of a client in a task that can be cancelled, also before it has begun."""

        def end(task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            if task.cancelled():
                _reset(writer)
            writer.close()

        self._transports.add(writer.transport)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(end)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        try:
            while await self._exchange(await _read_head(reader), reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass

    async def _exchange(self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection can serve another."""
        method, target, _ = head.line.split(" ")
        path, _, query = target.partition("?")
        headers = {key.lower(): value for key, value in head.fields}
        exchange, fault = self.traffic.begin(method, path, query, headers)
        if self._below and not target.startswith(f"{self._below}/"):
            fault = Answer(404)
        head = _Head(head.line.replace(self._below, "", 1), head.fields)
        end = "cancelled"
        try:
            keep = await _Passage(exchange, fault, head, reader, writer).run(*self._upstream)
            end = "fault" if isinstance(fault, Answer) else "answered"
            return keep
        except _Ended as ended:
            end = ended.end
            if ended.reset:
                _reset(writer)
            return False
        finally:
            self.traffic.finish(exchange, end)


class _Passage:
    """One request on its way to the server behind, and the answer on its way back."""

    def __init__(
        self,
        exchange: Exchange,
        fault: Fault | None,
        head: _Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._exchange = exchange
        self._fault = fault
        self._head = head
        self._reader = reader
        self._writer = writer

    async def run(self, host: str, port: int) -> bool:
        """Let it pass, or do the damage; whether the client's connection can serve another request."""
        match self._fault:
            case Reset():
                raise _Ended("fault")
            case Answer():
                return await self._answer(self._fault)
            case Hold(gate, None):
                await gate.pass_through()
                if self._reader.at_eof():
                    raise _Ended("client gone")
        try:
            behind, onward = await asyncio.open_connection(host, port, limit=_LARGEST_HEAD)
        except OSError:
            raise _Ended("upstream gone") from None
        onward.write(self._head.to_bytes(close=True))
        sending = asyncio.create_task(self._send(onward))
        try:
            return await self._deliver(await self._response(behind, sending), behind, sending)
        finally:
            onward.transport.abort()  # first: the wait below may be cancelled
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _answer(self, answer: Answer) -> bool:
        """Our own answer, once the request has been read: a client that still sends would see a reset instead."""
        waits = bool(self._head.get("expect"))
        if not waits:
            async for piece in self._request_body():
                self._exchange.sent += len(piece)
        fields = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
        head = _Head(f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", fields)
        self._exchange.status = answer.status
        await self._write(head.to_bytes(close=waits))
        if self._exchange.method != "HEAD":
            await self._write(answer.body)
            self._exchange.received = len(answer.body)
        return not waits

    async def _request_body(self) -> AsyncIterator[bytes]:
        try:
            async for piece in _read_body(self._reader, self._head):
                yield piece
        except (asyncio.IncompleteReadError, OSError):
            raise _Ended("client gone") from None

    async def _send(self, onward: asyncio.StreamWriter) -> None:
        """The request's body. A server that takes no more of it may answer all the same."""
        async for piece in self._request_body():
            before, after = piece, b""
            if isinstance(self._fault, CutRequest | Hold) and self._fault.after is not None:
                before, after = _split(piece, self._fault.after - self._exchange.sent)
            try:
                onward.write(before)
                await onward.drain()
                self._exchange.sent += len(before)
                if after:
                    if not isinstance(self._fault, Hold):
                        raise _Ended("fault")
                    await self._fault.gate.pass_through()
                    onward.write(after)
                    await onward.drain()
                    self._exchange.sent += len(after)
            except OSError:
                return

    async def _response(self, behind: asyncio.StreamReader, sending: asyncio.Task[None]) -> _Head:
        """The head of the final answer; interim ones are passed on."""
        while True:
            heading = asyncio.create_task(_read_head(behind))
            try:
                await asyncio.wait({heading, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                head = await heading
            except (asyncio.IncompleteReadError, OSError):
                raise _Ended("upstream gone") from None
            finally:
                heading.cancel()
            if not head.line.split(" ")[1].startswith("1"):
                return head
            await self._write(head.to_bytes(close=False))

    async def _deliver(self, head: _Head, behind: asyncio.StreamReader, sending: asyncio.Task[None]) -> bool:
        """The final answer, damaged where that was asked for."""
        status = int(head.line.split(" ")[1])
        bodiless = self._exchange.method == "HEAD" or status in (204, 304)
        framed = bodiless or head.has_body or head.get("content-length") == "0"
        keep = framed and sending.done() and self._head.get("connection").lower() != "close"
        lost = isinstance(self._fault, LoseResponse)
        if not lost:
            self._exchange.status = status
            await self._write(head.to_bytes(close=not keep))
        try:
            if not bodiless:
                async for piece in _read_body(behind, head, to_end=True):
                    if not lost:
                        await self._pass_back(piece)
        except (asyncio.IncompleteReadError, OSError):
            raise _Ended("upstream gone", reset=False) from None
        if lost:
            raise _Ended("fault")
        return keep

    async def _pass_back(self, piece: bytes) -> None:
        """A piece of the answer's body."""
        at = self._exchange.received
        match self._fault:
            case CutResponse(limit) if at + len(piece) > limit:
                await self._write(piece[: limit - at])
                self._exchange.received = limit
                raise _Ended("fault", reset=False)
            case Flip(offset) if at <= offset < at + len(piece):
                flipped = piece[offset - at] ^ 0xFF
                piece = piece[: offset - at] + bytes([flipped]) + piece[offset - at + 1 :]
            case Hold(gate, int(limit)) if not self._head.has_body and at <= limit < at + len(piece):
                await self._write(piece[: limit - at])
                piece, self._exchange.received = piece[limit - at :], limit
                await gate.pass_through()
        await self._write(piece)
        self._exchange.received += len(piece)

    async def _write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise _Ended("client gone") from None


def _split(piece: bytes, at: int) -> tuple[bytes, bytes]:
    """``piece`` before and from ``at``; whole, where that lies outside."""
    return (piece[:at], piece[at:]) if 0 <= at < len(piece) else (piece, b"")
