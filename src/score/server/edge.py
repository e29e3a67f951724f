"""The outermost layer of HTTP: refusals before any application, the access log, and the address that was asked."""

from __future__ import annotations

import logging
import re
import time
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from score.server.problems import body, problem

log = logging.getLogger(__name__)
access_log = logging.getLogger("score.access")

LARGEST_HEAD = 64 * 1024
"""Bytes of request line and headers."""
BASE: ContextVar[str] = ContextVar("base", default="")
"""``scheme://host[:port]`` that the request at hand was sent to."""

_HOST = re.compile(rb"[A-Za-z0-9._~-]{1,255}(:\d{1,5})?\Z|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?\Z")
_TOO_LONG = f"The head of the request is longer than {LARGEST_HEAD} bytes."
_SLASHED = ("/upload/", "/download/", "/listing/", "/profile/")


class Edge:
    """An ASGI layer around the application.

    The access log never has query strings: those of the local store's URLs hold signatures. A slash at the end of a
    call of the protocol does not matter.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 0
        answered = False

        async def watch(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                answered = not message.get("more_body", False)
            await send(message)

        path: str = scope["path"]
        try:
            if refusal := _wrong_host(scope):
                await problem(400, path, refusal)(scope, receive, watch)
                return
            if path.endswith("/") and path.startswith(_SLASHED):
                scope["path"] = path.rstrip("/")
            await self._app(scope, receive, watch)
        except Exception:
            if not answered:
                raise  # the server hangs up: half an answer must not look like a whole one
            log.exception("A defect of the server")
        finally:
            client = scope["client"]
            raw: bytes = scope.get("raw_path") or path.encode()
            access_log.info(
                "%s %s %s %d %.1f ms",
                client[0] if client else "-",
                scope["method"],
                raw.decode("ascii", "backslashreplace"),
                status,
                (time.perf_counter() - start) * 1000,
            )


def _wrong_host(scope: Scope) -> str:
    """What is wrong with the request's Host, if anything; else notes the address for URLs of the local store."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) == 1 and _HOST.match(hosts[0]):
        BASE.set(f"{scope['scheme']}://{hosts[0].decode()}")
        return ""
    if not hosts and scope["http_version"] == "1.0":
        address, port = scope["server"]
        BASE.set(f"{scope['scheme']}://{f'[{address}]' if ':' in address else address}:{port}")
        return ""
    return "The request needs one valid Host header."


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a limit to the head of a request, and JSON for requests that are no HTTP."""

    _head = 0
    _unfinished = 0
    _in_head = False
    _refusal = ""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False  # uvicorn's own has query strings

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of the request is there."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot take, and hang up."""
        content = body(400, "", self._refusal or "This is no valid HTTP request.")
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: "
            + str(len(content)).encode()
            + b"\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head + content)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the connection. A header that never ends, of which the parser does not tell, is cut off too."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._unfinished = self._unfinished + len(data) if self._in_head else 0
        if self._unfinished > LARGEST_HEAD and not self.transport.is_closing():
            self._refusal = _TOO_LONG
            self.send_400_response("")

    def _count(self, length: int) -> None:
        self._head += length
        if self._head > LARGEST_HEAD:
            self._refusal = _TOO_LONG
            raise ValueError(_TOO_LONG)
