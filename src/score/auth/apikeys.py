"""API keys: the authorization server (Ego, Keycloak) is asked whose they are. Protocol, section 7."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from score.auth.base import Identity
from score.errors import Unauthenticated, Unavailable

log = logging.getLogger(__name__)

_KEPT = 10.0
"""Seconds for which a good answer is used again: Keycloak looks through all its keys for each."""
_MOST_KEPT = 2000
_PATIENCE = 45.0
"""Seconds after which nothing is tried again: clients wait 60."""


@dataclass(frozen=True, slots=True)
class KeyServer:
    """Where keys are checked. ``form_field`` is the name of the form field; ``retries``, ``backoff`` (seconds before
    the first repetition) and ``multiplier`` are the settings ``auth.connection.*``."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    form_field: str = "apiKey"
    retries: int = 5
    backoff: float = 15.0
    multiplier: float = 2.0
    patience: float = _PATIENCE


def fingerprint(token: str) -> str:
    """What a token is called in logs."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


class ApiKeys:
    """An :class:`score.auth.base.Authorizer` for API keys. Must be made within a running event loop."""

    def __init__(
        self, server: KeyServer, clock: Callable[[], float] = time.monotonic, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self._server = server
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Identity]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Identity]] = {}
        credentials = f"{server.client_id}:{server.client_secret}"
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"},
            timeout=aiohttp.ClientTimeout(total=20, connect=5),
            connector=aiohttp.TCPConnector(ssl=tls or True),
        )

    async def identify(self, token: str) -> Identity:
        """The owner of an API key. Unauthenticated where it is not valid; Unavailable where nobody can tell now."""
        until, known = self._known.get(token, (0.0, None))
        if known is not None and self._clock() < until:
            return known
        task = self._asking.get(token)
        if task is None:
            task = self._asking[token] = asyncio.create_task(self._identify(token))
            task.add_done_callback(lambda _: self._asking.pop(token, None))
        return await asyncio.shield(task)

    async def probe(self) -> str:
        """Empty when the authorization server answers, be it with a refusal, else what is wrong."""
        try:
            status, body = await self._ask("00000000-0000-0000-0000-000000000000")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"The authorization server at {self._server.url} does not answer: {type(error).__name__}."
        if status >= 500 or status in (404, 405):
            return f"The authorization server at {self._server.url} answers {status}. Check auth.server.url."
        return self._misconfigured(status, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _identify(self, token: str) -> Identity:
        document = await self._check(token)
        lasts = document.get("exp")
        if (
            "error" in document
            or (isinstance(lasts, int | float) and lasts <= 0)
            or document.get("revoked") is True
            or document.get("valid") is False
        ):
            raise _refused()
        identity = Identity(
            subject=str(document.get("user_id") or "unknown"),
            scopes=_scopes(document.get("scope")),
            fingerprint=fingerprint(token),
        )
        kept = min(_KEPT, lasts) if isinstance(lasts, int | float) else _KEPT
        self._known[token] = (self._clock() + kept, identity)
        self._known.move_to_end(token)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
        return identity

    async def _check(self, token: str) -> dict[str, Any]:
        """What the server says of a key, asked again while that can help and there is time."""
        server = self._server
        end = self._clock() + server.patience
        last = server.patience / 9  # what is left for the last attempt
        wait, problem, retries = server.backoff, "", 0
        lost = False
        while True:
            try:
                status, body = await asyncio.wait_for(self._ask(token), max(end - self._clock(), last))
                document = _document(body)
                if status in (200, 207) and document is not None:
                    return document
                if 400 <= status < 500 and status != 429:
                    if wrong := self._misconfigured(status, body):
                        log.warning("%s", wrong)
                    raise _refused()
                problem = f"it answers {status}" if status >= 300 else "its answer is no JSON object"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = type(error).__name__
                if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError) and not lost:
                    lost = True  # a connection kept too long: the next one is new, no need to wait
                    continue
            left = end - self._clock()
            if retries >= server.retries or left <= last:
                raise Unavailable(
                    f"The authorization server at {server.url} cannot tell whose key this is: {problem}.",
                    hint="Try again later, or check auth.server.url.",
                )
            wait = min(wait, left - last)
            log.warning("The authorization server fails (%s); asking again in %.1f s", problem, wait)
            await asyncio.sleep(wait)
            retries += 1
            wait *= server.multiplier

    def _misconfigured(self, status: int, body: bytes) -> str:
        """What an answer says of our own settings: Ego refuses a wrong client without a word, Keycloak with these."""
        document = _document(body) or {}
        if status == 401 and document.get("error", "HTTP 401 Unauthorized") == "HTTP 401 Unauthorized":
            return (
                f"The authorization server at {self._server.url} does not know this server."
                " Check auth.server.clientId and auth.server.clientSecret."
            )
        if status == 400 and "path" in document:
            return (
                f"The authorization server at {self._server.url} does not find the key in the form field"
                f" {self._server.form_field!r}. Check auth.server.tokenName."
            )
        return ""

    async def _ask(self, token: str) -> tuple[int, bytes]:
        with aiohttp.MultipartWriter("form-data") as form:
            form.append(token).set_content_disposition("form-data", name=self._server.form_field)
        async with self._session.post(self._server.url, data=form, allow_redirects=False) as answer:
            return answer.status, await answer.read()


def _refused() -> Unauthenticated:
    return Unauthenticated("The API key is not valid.", hint="It may be revoked or expired: get a new one.")


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _scopes(given: object) -> frozenset[str]:
    """A list of scopes, or one text with blanks between them; anything else is none."""
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    return frozenset(word for word in words if isinstance(word, str))
