"""Limits to what one caller may have at once (``server.requestsPerToken``)."""

from __future__ import annotations

import hashlib
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from score.server.problems import problem
from score.server.routes import token_of


class PerToken:
    """An ASGI layer that answers 503 with ``Retry-After`` to more than ``most`` calls at once with one token.

    503 and not 429: clients of the reference, and Song, make such a call again.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._running: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        header = next((value for name, value in scope.get("headers", ()) if name == b"authorization"), b"")
        token = token_of(header.decode("latin-1"))
        if token is None:
            await self._app(scope, receive, send)
            return
        who = hashlib.sha256(token.encode()).digest()
        if self._running[who] >= self._most:
            refusal = problem(
                503, scope["path"], f"This token has {self._most} calls under way already.", {"Retry-After": "1"}
            )
            await refusal(scope, receive, send)
            return
        self._running[who] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[who] -= 1
            if not self._running[who]:
                del self._running[who]
