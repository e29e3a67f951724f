"""Signed URLs tried out from the server, as clients and web pages call them. For checks: no payload goes here."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

_PATIENCE = 10.0
"""Seconds for a call."""


@dataclass(frozen=True, slots=True)
class Web:
    """``tls``: whom to believe, None: the authorities of the system. Proxies of the environment count."""

    tls: ssl.SSLContext | None = None

    async def send(
        self, method: str, url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> str:
        """What was wrong with a call, empty where nothing was; never the URL, only its host."""
        address = urlsplit(url).netloc
        try:
            status, _ = await self._call(method, url, data, headers or {})
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"{address} cannot be reached: {type(error).__name__}."
        return "" if status in (200, 201) else f"{address} answers {status} to {method}."

    async def allows(self, method: str, url: str, origin: str, headers: str) -> bool:
        """Whether a browser would make this call, with these request headers, for a page of this origin."""
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        }
        try:
            status, given = await self._call("OPTIONS", url, None, asked)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        methods = [word.strip() for word in given.get("Access-Control-Allow-Methods", "").split(",")]
        origins = ("*", origin)
        return status in (200, 204) and given.get("Access-Control-Allow-Origin") in origins and method in methods

    async def _call(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str]]:
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        async with (
            aiohttp.ClientSession(timeout=timeout, skip_auto_headers=("Content-Type",), trust_env=True) as session,
            session.request(method, url, data=data, headers=headers, ssl=self.tls or True) as answer,
        ):
            await answer.read()
            return answer.status, answer.headers
