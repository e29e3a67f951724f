"""The outermost layer of HTTP: refusals before any application, the access log, and the address that was asked."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from asyncio import BaseTransport, TimerHandle
from contextvars import ContextVar
from http import HTTPStatus
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from score.broker.audit import TRAIL, Trail, conclude
from score.protocol.onward import ONWARD, REQUEST_ID
from score.server.logs import PROBED
from score.server.probes import Standing
from score.server.problems import CONTEXT, HTSGET, body, problem
from score.server.trail import Networks, Templates, client_of, new_id, request_id

if TYPE_CHECKING:
    from score.server.metrics import Metrics
    from score.server.tracing import Tracing

log = logging.getLogger(__name__)
access_log = logging.getLogger("score.access")

LARGEST_HEAD = 64 * 1024
"""Bytes of request line and headers."""
MOST_HEADERS = 100
LONGEST_QUERY = 8 * 1024
"""Bytes; those of signed URLs have a few hundred."""
MOST_WAITING = 20
"""Requests of a connection that wait while one before them is answered."""
LARGEST_BODY = 1024 * 1024
"""Bytes of a body that the call has no use for."""
BASE: ContextVar[str] = ContextVar("base", default="")
"""``scheme://host[:port]`` that the request at hand was sent to, with the path below which the server is."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::\d{1,5})?\Z")
_SHOWN = 500
"""Bytes of a path that logs show."""
_TOO_LONG = f"The head of the request is longer than {LARGEST_HEAD} bytes."
_TOO_MANY = f"The request has more than {MOST_HEADERS} headers."
_TOO_MANY_WAIT = f"More than {MOST_WAITING} requests wait for answers on this connection."
_OTHER_PROTOCOL = "No other protocol is spoken here: send a request with a body without the header Upgrade."
_TOO_SLOW = "The head of the request did not arrive in time."
_WITH_BODIES = ("/store/", "/submit/", HTSGET)
"""Paths of the calls that take bodies, and limit them themselves."""
_POLICY = b"content-security-policy"
_GUARDS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (_POLICY, b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
]
_FRESH = (b"cache-control", b"no-store")
_LAST = (b"connection", b"close")
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")
_SLASHED = ("/upload/", "/download/", "/listing/", "/profile/")


class Edge:
    """An ASGI layer around the application.

    The access log never has query strings: those of the local store's URLs hold signatures. A slash at the end of a
    call of the protocol does not matter. Every answer names its request (``X-Request-Id``), which is the same word in
    the logs, and says that it is not to be kept, framed or guessed at; what an answer says itself of keeping, and of
    what a browser may load for it, stays. ``proxies`` are believed about addresses.
    While the server leaves (``standing``), every answer is the last one of its connection. ``metrics`` counts,
    ``tracing`` makes a span of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        proxies: Networks,
        standing: Standing,
        metrics: Metrics | None,
        templates: Templates,
        tracing: Tracing | None,
        context: str,
    ) -> None:
        self._app = app
        self._context = context
        self._proxies = proxies
        self._standing = standing
        self._metrics = metrics
        self._templates = templates
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        path: str = scope["path"]
        raw: bytes = scope.get("raw_path") or path.encode()
        call = f"{scope['method']} {raw[:_SHOWN].decode('ascii', 'backslashreplace')}"
        outside = bool(self._context) and not path.startswith(f"{self._context}/")
        if not outside:
            CONTEXT.set(self._context)
            path = scope["path"] = path.removeprefix(self._context)
        status = 0
        answered = False
        trail = Trail(request_id(scope), client_of(scope, self._proxies))
        TRAIL.set(trail)
        ONWARD.set({REQUEST_ID: trail.request_id})
        if self._metrics is not None:
            self._metrics.begun()
        span = self._tracing.begun(scope, trail) if self._tracing is not None else None
        marks = [*_GUARDS, (b"x-request-id", trail.request_id.encode())]
        if scope["scheme"] == "https":
            marks.append(_TLS_ONLY)

        async def watch(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers", ())
                own = {name for name, _ in headers} & {_POLICY, _FRESH[0]}
                last = (_LAST,) if self._standing.leaving else ()
                marked = (mark for mark in (*marks, _FRESH, *last) if mark[0] not in own)
                message["headers"] = [*headers, *marked]
                conclude(trail, call, status)  # before the answer leaves
            elif message["type"] == "http.response.body":
                answered = not message.get("more_body", False)
            await send(message)

        try:
            if refused := _refuse(scope, self._context) or (_elsewhere(path, self._context) if outside else None):
                await refused(scope, receive, watch)
                return
            if path.endswith("/") and path.startswith(_SLASHED):
                scope["path"] = path.rstrip("/")
            await self._app(scope, receive, watch)
        except Exception:
            if not answered:
                raise  # the server hangs up: half an answer must not look like a whole one
            log.exception("A defect of the server")
        finally:
            if not status:
                conclude(trail, call, status)
            taken = time.perf_counter() - start
            route = self._templates.of(scope)
            if self._metrics is not None:
                self._metrics.answered(route, scope["method"], status, taken, trail)
            if self._tracing is not None and span is not None:
                self._tracing.answered(span, scope, route, status)
            _log_access(trail, call, route, status, taken * 1000)


def _log_access(trail: Trail, call: str, route: str, status: int, taken: float) -> None:
    """The line of a request; ``call`` is its method and path, ``taken`` in milliseconds."""
    level = logging.DEBUG if route in PROBED and status == 200 else logging.INFO
    if access_log.isEnabledFor(level):
        method, _, path = call.partition(" ")
        fields = {
            "message": f"{call} {status}", "method": method, "route": route, "path": path, "status": status,
            "ms": round(taken, 1), "client": trail.client,
        }  # fmt: skip
        said = (trail.client, call, status, taken, trail.request_id)
        access_log.log(level, "%s %s %d %.1f ms %s", *said, extra={"fields": fields})


def _elsewhere(path: str, context: str) -> ASGIApp:
    """The answer to a request that is not below ``context``: from its top to its first page, as Tomcat does it."""
    if path == context:
        return Response(status_code=302, headers={"Location": f"{context}/"})
    return problem(
        404, path, f"There is no such call: this server is below {context}/ (server.servlet.context-path)."
    )


def _refuse(scope: Scope, context: str) -> ASGIApp | None:
    """The refusal of a request that goes no further."""
    path = scope["path"]
    if wrong := _wrong_host(scope, context):
        return problem(400, path, wrong)
    if len(scope["query_string"]) > LONGEST_QUERY:
        return problem(414, path, f"The query is longer than {LONGEST_QUERY} bytes.", {"Connection": "close"})
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    large = len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY
    if large and not path.startswith(_WITH_BODIES):
        return problem(413, path, "This call takes no body of that size.", {"Connection": "close"})
    return None


def _wrong_host(scope: Scope, context: str) -> str:
    """What is wrong with the request's Host, if anything; else notes the address for URLs of the local store."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) == 1 and _is_host(hosts[0]):
        BASE.set(f"{scope['scheme']}://{hosts[0].decode()}{context}")
        return ""
    if not hosts and scope["http_version"] == "1.0":
        address, port = scope["server"]
        BASE.set(f"{scope['scheme']}://{f'[{address}]' if ':' in address else address}:{port}{context}")
        return ""
    return "The request needs one valid Host header."


def _is_host(text: bytes) -> bool:
    """Whether this is a host, with a port or without; within brackets an address of IPv6, since what makes and reads
    URLs takes no other."""
    found = _HOST.match(text)
    try:
        return found is not None and (found[1] is None or bool(IPv6Address(found[1].decode())))
    except ValueError:
        return False


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits to the head of a request, its size and its time, to a body that nobody
    reads, and to requests that are sent before others are answered; and JSON for requests that are no HTTP.

    A request for another protocol is answered in this one, and nothing after its head is read: the parser would take
    what a proxy sees as its body for the next request.

    ``head_within``: seconds in which a head must be there, counted from its first byte. A connection on which nothing
    comes is closed like one that was kept. ``taken_within``: seconds in which a caller has to take some of what it is
    sent, where the system can tell: else one that reads nothing keeps the answer and its connection for ever.
    """

    head_within = 30.0
    taken_within = 300.0
    _deadline: TimerHandle | None = None
    _answering: RequestResponseCycle | None = None
    _hearing = False
    _count_of_headers = 0
    _unread = 0
    _head = 0
    _unfinished = 0
    _in_head = False
    _is_last = False
    _refusal = ""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False  # uvicorn's own has query strings

    def connection_made(self, transport: BaseTransport) -> None:
        """Somebody connects."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            patience = int(self.taken_within * 1000)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        self._expect(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._head_is_there()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server ends. A request whose head has begun to arrive is still heard and answered."""
        if not self._hearing:
            super().shutdown()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = self._count_of_headers = self._unread = 0
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. What comes after a body is none: proxies that clean heads, or write into them, did not see it."""
        if not self._in_head:
            self._pass_over(len(name) + len(value))
            return
        self._count(len(name) + len(value) + 4)
        self._count_of_headers += 1
        if self._count_of_headers > MOST_HEADERS:
            self._refusal = _TOO_MANY
            raise ValueError(_TOO_MANY)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of the request is there."""
        self._in_head = False
        self._head_is_there()
        if len(self.pipeline) == MOST_WAITING:
            self._refusal = _TOO_MANY_WAIT
            raise ValueError(_TOO_MANY_WAIT)
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            return
        self._is_last = True
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        ):
            self._refusal = _OTHER_PROTOCOL
            raise ValueError(_OTHER_PROTOCOL)
        super().on_headers_complete()
        self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to tell: it is answered as any request."""

    def on_body(self, body: bytes) -> None:
        """A piece of the request's body."""
        self._pass_over(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there to its end."""
        if not self.parser.should_keep_alive():  # which a trailer may have said
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
        super().on_message_complete()
        if not self._is_answering():  # it was answered before its body came
            self._head_is_there()
            self._expect(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """A request is answered; the head of the next one may have begun to arrive."""
        super().on_response_complete()
        if self._in_head and not self.transport.is_closing():
            self._hearing = True
            self._expect(self.head_within)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot take, and hang up."""
        self._hang_up(400, self._refusal or "This is no valid HTTP request.")

    def data_received(self, data: bytes) -> None:
        """Bytes of the connection. A header that never ends, of which the parser does not tell, is cut off too."""
        if self.transport.is_closing() or self._is_last:
            return
        begins = not self._hearing and not self._is_answering()
        self._hearing = self._hearing or begins
        super().data_received(data)
        if begins and self._hearing:  # a head that is there at once, as nearly all are, needs no timer
            self._expect(self.head_within)
        self._unfinished = self._unfinished + len(data) if self._in_head else 0
        if self._unfinished > LARGEST_HEAD and not self.transport.is_closing():
            self._refusal = _TOO_LONG
            self.send_400_response("")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A request is answered from now on."""
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _pass_over(self, length: int) -> None:
        """Bytes after the head; the connection ends with too many of them that nobody will read."""
        if self.cycle.response_complete:
            self._unread += length
            if self._unread > LARGEST_BODY:
                self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect(self, seconds: float) -> None:
        """Give up in so many seconds, unless a head is there."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _head_is_there(self) -> None:
        self._hearing = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self._hearing:
            self.transport.close()
        elif not self.transport.is_closing():
            self._hang_up(408, _TOO_SLOW)

    def _hang_up(self, status: int, message: str) -> None:
        """Answer a request that no application sees, and end the connection. Within the answer to another request it
        ends without a word: whoever reads that would take these bytes for its own."""
        name = new_id()
        content = body(status, "", message, name)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nx-request-id: {name}\r\nconnection: close\r\n\r\n"
        )
        before = self._answering
        if before is None or not before.response_started or before.response_complete:
            self.transport.write(head.encode() + content)
        self.transport.close()
        client = self.client[0] if self.client else "-"
        fields = {"message": message, "status": status, "client": client, "request": name}
        access_log.info("%s %d %s %s", client, status, message, name, extra={"fields": fields})

    def _count(self, length: int) -> None:
        self._head += length
        if self._head > LARGEST_HEAD:
            self._refusal = _TOO_LONG
            raise ValueError(_TOO_LONG)


def configuration(
    app: ASGIApp, tls: ssl.SSLContext | None = None, *, protocol: type[Protocol] = Protocol, keep_alive: int = 75
) -> uvicorn.Config:
    """How uvicorn serves ``app``. ``keep_alive``: seconds after which an idle connection is closed; load balancers
    that keep theirs for 60 s must not meet a closed one."""
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=30,
        ssl_context_factory=(lambda config, default: tls) if tls is not None else None,
    )
