"""Calls from web pages: which origins may make them (``server.cors.allowedOrigins``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from score.server.problems import HTSGET, problem

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_READS = ("GET", "HEAD", "OPTIONS")
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*\Z")
_LONGEST = 1000
_LIFE = "600"
"""Seconds for which a browser need not ask again."""
_LIFE_HTSGET = "2592000"
"""The same for htsget, whose specification wants 30 days."""
_FOREIGN = (
    "Pages of this origin may change nothing here. A proxy in front has to pass the header Host on; "
    "other origins are named in server.cors.allowedOrigins."
)
_EXPOSED = "ETag, Content-Range, Accept-Ranges, Retry-After, X-Request-Id"


class Cors:
    """An ASGI layer. Credentials of browsers (cookies) are never allowed, so ``*`` gives away nothing but what
    anybody may have who reaches the server.

    A page of another origin that is not allowed cannot read answers, and cannot change anything either: browsers
    send its POSTs without asking, so these are refused.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._all = "*" in self._origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = _text(headers, b"origin") if b"origin" in headers else None
        method = scope["method"]
        allowed = origin is not None and (self._all or origin.lower() in self._origins)
        answer: ASGIApp = self._app
        if method == "OPTIONS" and self._origins and b"access-control-request-method" in headers:
            answer = _preflight(scope["path"], headers, allowed)
        elif origin is not None and not allowed and method not in _READS and not _same(origin, headers):
            answer = problem(403, scope["path"], _FOREIGN)

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._marks(origin if allowed else None)]
            await send(message)

        await answer(scope, receive, mark if self._origins else send)

    def _marks(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        marks = [] if self._all else [(b"vary", b"Origin")]
        if origin is not None:
            marks.append((b"access-control-allow-origin", b"*" if self._all else origin.encode("latin-1")))
            marks.append((b"access-control-expose-headers", _EXPOSED.encode()))
        return marks


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    """A header's value, empty where it is not there."""
    return headers.get(name, b"").decode("latin-1")


def _same(origin: str, headers: dict[bytes, bytes]) -> bool:
    """Whether a page is of this server."""
    return origin.partition("://")[2].lower() == _text(headers, b"host").lower() != ""


def _preflight(path: str, headers: dict[bytes, bytes], allowed: bool) -> Response:
    wanted = _text(headers, b"access-control-request-headers")
    method = _text(headers, b"access-control-request-method")
    if not allowed or method not in _METHODS or len(wanted) > _LONGEST or (wanted and not _NAMES.match(wanted)):
        return problem(403, path, "Pages of this origin may not make this call.")
    life = _LIFE_HTSGET if path.startswith(HTSGET) else _LIFE
    answer = {"Access-Control-Allow-Methods": ", ".join(_METHODS), "Access-Control-Max-Age": life}
    if wanted:
        answer["Access-Control-Allow-Headers"] = wanted
    return Response(status_code=204, headers=answer)
