"""Calls to an authorization server: repeated while that can help, bounded in time and size."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from score.errors import Unavailable

log = logging.getLogger(__name__)

_LARGEST = 4 * 1024 * 1024
"""Bytes of an answer: a list of permissions, or a set of keys."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is repeated: the settings ``auth.connection.*``. ``backoff`` is what passes before the first
    repetition, ``total`` when nothing is tried again; both in seconds. Clients wait 60."""

    retries: int = 5
    backoff: float = 15.0
    multiplier: float = 2.0
    total: float = 45.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an authorization server said; ``document`` is None where it is no JSON."""

    status: int
    document: Any

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object, an empty one where it is none."""
        return self.document if isinstance(self.document, dict) else {}


Send = Callable[[], Awaitable[tuple[int, bytes]]]


def open_session(
    tls: ssl.SSLContext | None = None, *, patience: float = 20.0, **options: Any
) -> aiohttp.ClientSession:
    """Connections to an authorization server. ``tls`` says whom to believe, None: the authorities of the system;
    ``patience`` is for one call, in seconds."""
    timeout, connector = aiohttp.ClientTimeout(total=patience, connect=5), aiohttp.TCPConnector(ssl=tls or True)
    return aiohttp.ClientSession(timeout=timeout, connector=connector, **options)


async def body_of(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an answer, cut where it goes on beyond any sense."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > _LARGEST:
            break
    return bytes(body)


def as_json(body: bytes | str) -> Any:
    """The document of a body, None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


async def ask(
    send: Send, url: str, patience: Patience, kind: type = dict, clock: Callable[[], float] = time.monotonic
) -> Answer:
    """The first answer that is one: 200 or 207 with JSON of that ``kind``, or a refusal (4xx).

    What fails in a way that may pass is asked again, after growing waits. Unavailable when repetitions or time are
    used up.
    """
    end = clock() + patience.total
    last = patience.total / 9  # what is left for the last attempt
    wait, retries = patience.backoff, 0
    lost = False
    while True:
        try:
            status, body = await asyncio.wait_for(send(), max(end - clock(), last))
            answer = Answer(status, as_json(body))
            if status in (200, 207) and isinstance(answer.document, kind):
                return answer
            if 400 <= status < 500 and status not in (408, 429):
                return answer
            problem = f"it answers {status}" if status >= 300 else "its answer is not what it should be"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = type(error).__name__
            if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError) and not lost:
                lost = True  # a connection kept too long: the next one is new, no need to wait
                continue
        left = end - clock()
        if retries >= patience.retries or left <= last:
            raise Unavailable(
                f"The authorization server at {url} cannot tell whose token this is: {problem}.",
                hint="Try again later.",
                retry_after=5,
            )
        wait = min(wait, left - last)
        log.warning("The authorization server at %s fails (%s); asking again in %.1f s", url, problem, wait)
        await asyncio.sleep(wait)
        retries += 1
        wait *= patience.multiplier
