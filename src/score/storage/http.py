"""HTTP/1.1 to one store: small requests, answers that are read whole, over connections that are kept.

Ours, since the calls to the store are most of what a request costs the server: a general client needs several times
the processor time for each. Taking answers apart is left to httptools.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import time
import urllib.request
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple, cast
from urllib.parse import unquote, urlsplit

import httptools

from score._version import __version__
from score.errors import Integrity, Refused, Unavailable

LARGEST_ANSWER: Final = 256 * 1024 * 1024
"""Bytes. A listing or a state document is far below it."""
_IDLE = 15.0
"""Seconds after which a connection that nobody used is not used again: stores and proxies hang up then."""
_LONGEST = 5
"""Times as long as it may be silent an answer may take in all: else one that trickles has its connection for ever."""
_PROXY_PATIENCE = 30.0
"""Seconds without a byte after which a proxy is given up."""
_BODILESS = frozenset({204, 304})


class Answer(NamedTuple):
    """An answer of the store, read to its end. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """Connections to one ``origin``, ``scheme://host[:port]``, opened when they are needed, at most ``limit``.

    The proxy that the environment names for this address is used. ``tls`` says which certificates are trusted.
    """

    def __init__(
        self, origin: str, *, limit: int = 512, connect_timeout: float = 15.0, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(origin)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._origin = origin
        self._authority = parts.netloc
        self._connect_timeout = connect_timeout
        self._tls = tls
        proxy = _proxy_of(origin)
        self._proxy = _Proxy(proxy) if proxy else None
        self._limit = limit
        self._free = asyncio.Semaphore(limit)
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._idle.clear()
        ends = [connection.abort() for connection in self._open]
        if ends:
            await asyncio.wait(ends)

    async def request(
        self,
        what: str,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        read_timeout: float,
        most: int = LARGEST_ANSWER,
    ) -> Answer:
        """The answer to one request; ``what`` names it in messages, ``target`` is path and query as they are sent.

        ``read_timeout``: seconds without a byte after which to give up, and five times as many for the whole answer.
        Where all connections are in use, one has to become free within the time for making one. A kept connection
        that turns out to be closed is replaced by a new one at once, so every request must be one that may be sent
        twice.

        Raises Unavailable where there is no whole answer, Refused where no secure connection can be made, Integrity
        where the answer has more than ``most`` bytes.
        """
        if self._proxy and not self._secure:
            target = self._origin + target
            headers = {**headers, **self._proxy.credentials}
        request = _compose(method, target, self._authority, headers, body)
        await self._wait_for_turn(what)
        try:
            try:
                while True:
                    connection, kept = await self._connection()
                    try:
                        answer = await connection.exchange(request, method == "HEAD", most, read_timeout)
                    except _HungUpError:
                        if kept:
                            continue
                        raise
                    except BaseException:
                        connection.abort()
                        raise
                    if connection.usable:
                        self._keep(connection)
                    return answer
            finally:
                self._free.release()
        except ssl.SSLError as error:
            raise Refused(f"No secure connection to the store for {what}: {_reason(error)}.") from None
        except TimeoutError:
            raise Unavailable(f"The store did not answer in time to {what}.") from None
        except httptools.HttpParserError:
            raise Unavailable(f"The store's answer to {what} is not HTTP.") from None
        except _TooMuchError as error:
            raise Integrity(f"The store answers {error} bytes, not {most}, to {what}.") from None
        except OSError as error:
            raise Unavailable(f"The connection to the store failed at {what}: {_reason(error)}.") from None

    async def _wait_for_turn(self, what: str) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(
                f"None of {self._limit} connection(s) to the store became free in time for {what}.",
                hint="The store is slow, or there are too many calls at once.",
            ) from None

    def _keep(self, connection: _Connection) -> None:
        now = connection.since = time.monotonic()
        self._idle.append(connection)
        while now - self._idle[0].since > _IDLE:
            self._idle.popleft().abort()

    async def _connection(self) -> tuple[_Connection, bool]:
        """A connection, and whether it was used before."""
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.since <= _IDLE:
                return connection, True
            connection.abort()
        async with asyncio.timeout(self._connect_timeout):
            connection = await self._connect()
        self._open.add(connection)
        connection.ended.add_done_callback(lambda _: self._open.discard(connection))
        return connection, False

    async def _connect(self) -> _Connection:
        if self._proxy is None:
            tls, name = (self._context(), self._host) if self._secure else (None, None)
            return await _open(self._host, self._port, tls, name)
        if not self._secure:
            return await _open(self._proxy.host, self._proxy.port)
        return await (await self._proxy.tunnel(f"{self._host}:{self._port}")).secured(self._context(), self._host)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _HungUpError(ConnectionError):
    """The other side closed the connection before it said anything."""


class _TooMuchError(Exception):
    """An answer of more bytes than wanted; the argument is their number."""


class _Connection(asyncio.Protocol):
    """One connection, on which one request at a time is answered.

    ``since``: when it was last used. ``ended`` is done when it is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.since = 0.0
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._length = 0
        self._most = 0
        self._head = False
        self._heard = 0.0
        self._patience = 0.0
        self._end = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and self._answer is None and not self._transport.is_closing()

    def abort(self) -> asyncio.Future[None]:
        """Close it; gives ``ended``."""
        if self._transport is not None:
            self._transport.abort()
        return self.ended

    async def secured(self, tls: ssl.SSLContext, host: str) -> _Connection:
        """A connection to ``host`` by TLS within this one."""
        assert self._transport is not None
        made = _Connection(self._loop)
        transport = await self._loop.start_tls(self._transport, made, tls, server_hostname=host)
        if transport is None:
            raise ConnectionError("the proxy hung up")
        made.connection_made(transport)
        return made

    async def exchange(self, request: bytes, head: bool, most: int, patience: float) -> Answer:
        """Send a request and wait for its answer, which has no body where it is one to HEAD."""
        if self._transport is None or self._transport.is_closing():
            raise _HungUpError("The connection is closed")
        self._answer = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._head, self._most, self._patience = head, most, patience
        self._heard = self._loop.time()
        self._end = self._heard + _LONGEST * patience
        timer = self._loop.call_later(patience, self._watch)
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None
            timer.cancel()

    def _watch(self) -> None:
        """Give up where nothing was heard for too long, or the answer does not end."""
        if self._answer is None or self._answer.done():
            return
        left = min(self._heard + self._patience, self._end) - self._loop.time()
        if left > 0:
            self._loop.call_later(left, self._watch)
        else:
            self._answer.set_exception(TimeoutError())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done() or self._parser is None:
            self.abort()  # nobody asked: what comes next would be taken for another answer
            return
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            if self._status >= 200 and error is None and self._until_the_end():
                self._finish()
            elif self._status or self._body:
                self._fail(ConnectionResetError("It hung up in the middle of its answer"))
            else:
                self._fail(_HungUpError(_reason(error) if error else "It hung up"))
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)

    # httptools

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.abort()
        self._headers, self._body, self._length = {}, [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[_lower(name)] = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._status = self._parser.get_status_code()
        told = self._headers.get("content-length", "")
        if self._head or self._status in _BODILESS:
            self._finish()
        elif told.isdecimal() and int(told) > self._limit():
            self._fail(_TooMuchError(told))

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        if self._answer is None or self._answer.done():
            self.abort()
        elif self._length > self._limit():
            self._fail(_TooMuchError(f"at least {self._length}"))
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._finish()

    def _limit(self) -> int:
        """Bytes that the answer may have: an error says what it is in more words than were asked for."""
        return self._most if self._status in (200, 206) else LARGEST_ANSWER

    def _until_the_end(self) -> bool:
        """Whether the end of the connection is the end of the answer: nothing else tells its length."""
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _finish(self) -> None:
        if self._answer is None or self._answer.done() or self._parser is None:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._answer.set_result(Answer(self._status, self._headers, body))
        self._body = []
        if self._head or self._status in _BODILESS:  # of which the parser does not know
            last = self._headers.get("connection", "").lower() == "close"
        else:
            last = not self._parser.should_keep_alive()
        if last and self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.abort()


async def _open(
    host: str, port: int, tls: ssl.SSLContext | None = None, server_name: str | None = None
) -> _Connection:
    loop = asyncio.get_running_loop()
    made = _Connection(loop)
    await loop.create_connection(lambda: made, host, port, ssl=tls, server_hostname=server_name)
    return made


class _Proxy:
    """A proxy, by its URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise Refused(
                "The proxy that the environment names cannot be used for the store.",
                hint="Expected http://host:port.",
            )
        self.host = parts.hostname
        self.port = parts.port or 80
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        encoded = base64.b64encode(user.encode()).decode()
        self.credentials = {"proxy-authorization": f"Basic {encoded}"} if parts.username else {}

    async def tunnel(self, to: str) -> _Connection:
        """A connection through the proxy to ``to``, ``host:port``. ConnectionError where the proxy refuses."""
        made = await _open(self.host, self.port)
        request = _compose("CONNECT", to, to, self.credentials, b"")
        try:
            status = (await made.exchange(request, True, 0, _PROXY_PATIENCE)).status
        except (httptools.HttpParserError, ConnectionError):
            status = 0
        except BaseException:
            made.abort()
            raise
        if status != 200:
            made.abort()
            raise ConnectionError(f"the proxy answers {status}" if status else "the proxy hung up")
        return made


def _proxy_of(origin: str) -> str | None:
    """The URL of the proxy that the environment names for this address."""
    parts = urlsplit(origin)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _compose(method: str, target: str, authority: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request as it goes over the wire. Even an empty body has its length said where a body is expected."""
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in headers:
        lines.append(f"host: {authority}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in ("PUT", "POST"):
        lines.append(f"content-length: {len(body)}")
    lines.append(f"user-agent: score/{__version__}\r\naccept-encoding: identity\r\n\r\n")
    head = "\r\n".join(lines)
    if not head.count("\n") == head.count("\r") == len(lines) + 2:
        raise Integrity("A request to the store would have a line break within a line of its head.")
    return head.encode() + body


@lru_cache(maxsize=256)
def _lower(name: bytes) -> str:
    """The name of a header, of which a store has few."""
    return name.decode("latin-1").lower()


def _reason(error: BaseException) -> str:
    """Why a connection failed, in words that hold nothing of the request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    if isinstance(error, OSError) and error.errno:
        # Names that are not resolved have numbers of their own.
        return (error.strerror or "") if isinstance(error, socket.gaierror) else os.strerror(error.errno)
    return str(error) or type(error).__name__
