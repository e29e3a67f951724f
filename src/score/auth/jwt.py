"""JWTs as Ego makes them: RS256, verified with the server's public key. Protocol, section 7."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from score.auth.apikeys import fingerprint
from score.auth.base import Identity
from score.errors import Misconfigured, Unauthenticated, Unavailable

log = logging.getLogger(__name__)

_LEEWAY = 60
"""Seconds by which clocks may differ."""
_RENEWAL = 60.0
"""Seconds that pass at least between two looks for a new key, when a signature is not of the one that is known."""
_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between attempts to fetch the key; the last one for ever."""
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END \1-----")


def read_key(text: str, where: str) -> RSAPublicKey:
    """The RSA public key of a PEM, however its lines are broken (Ego: all in one). Raises Misconfigured."""
    found = _PEM.search(text)
    if found is None:
        raise Misconfigured(f"{where} holds no public key in PEM format.")
    label, base64 = found.groups()
    lines = "\n".join(textwrap.wrap("".join(base64.split()), 64))
    pem = f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
    try:
        key = load_pem_x509_certificate(pem).public_key() if label == "CERTIFICATE" else load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{where} holds no public key that can be read: {error}.") from error
    if not isinstance(key, RSAPublicKey):
        raise Misconfigured(f"{where} holds a key that is not RSA: tokens are verified with RS256.")
    return key


def key_file(location: str) -> Path | None:
    """The file of a key location, ``file:`` before it or not; None for a URL. Raises Misconfigured for others."""
    if re.match(r"https?://", location):
        return None
    if location.startswith("classpath:"):
        raise Misconfigured(f"The location {location!r} of the public key is none.", hint="Give a URL or a file.")
    return Path(re.sub(r"\Afile:(//(?=/))?", "", location))


class Jwts:
    """An :class:`score.auth.base.Authorizer` for JWTs.

    A key in a file is read at once (Misconfigured where that fails). One at a URL is fetched in the background, tried
    again until it is there; tokens that come before get Unavailable. Must be made within a running event loop.
    """

    def __init__(
        self, location: str, clock: Callable[[], float] = time.monotonic, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self._location = location
        self._clock = clock
        self._key: RSAPublicKey | None = None
        self._problem = f"The public key at {location} has not been fetched yet."
        self._fetched = -_RENEWAL
        self._session: aiohttp.ClientSession | None = None
        self._first: asyncio.Task[None] | None = None
        file = key_file(location)
        if file is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=15), connector=aiohttp.TCPConnector(ssl=tls or True)
            )
            self._first = asyncio.create_task(self._fetch_until_there())
        else:
            try:
                self._key = read_key(file.read_text(), str(file))
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(f"The public key in {file} cannot be read: {error}.") from error

    async def identify(self, token: str) -> Identity:
        """The owner of a JWT. Unauthenticated where it is not valid; Unavailable while there is no key."""
        if self._key is None:
            raise Unavailable(self._problem, hint="Try again later.", retry_after=5)
        try:
            claims = _decode(token, self._key)
        except jwt.InvalidSignatureError as error:
            if not await self._renewed():
                raise _refused(error) from error
            try:
                claims = _decode(token, self._key)
            except jwt.PyJWTError as again:
                raise _refused(again) from again
        except jwt.PyJWTError as error:
            raise _refused(error) from error
        context = claims.get("context")
        scopes = context.get("scope") if isinstance(context, dict) else None
        return Identity(
            subject=str(claims.get("sub") or "unknown"),
            scopes=frozenset(one for one in scopes if isinstance(one, str))
            if isinstance(scopes, list)
            else frozenset(),
            fingerprint=fingerprint(token),
        )

    async def probe(self) -> str:
        """Empty when there is a key to verify with, else what is wrong."""
        return "" if self._key is not None else self._problem

    async def close(self) -> None:
        """End what runs in the background."""
        if self._first is not None:
            self._first.cancel()
        if self._session is not None:
            await self._session.close()

    async def _fetch_until_there(self) -> None:
        attempt = 0
        while True:
            try:
                await self._fetch()
            except Unavailable as error:
                wait = _WAITS[min(attempt, len(_WAITS) - 1)]
                self._problem = str(error)
                log.warning("%s Trying again in %.0f s", error, wait)
                await asyncio.sleep(wait)
                attempt += 1
            else:
                return

    async def _renewed(self) -> bool:
        """Whether the authorization server has another key now, as Ego has after a restart."""
        if self._session is None or self._clock() - self._fetched < _RENEWAL:
            return False
        before = self._key
        try:
            await self._fetch()
        except Unavailable as error:
            log.warning("%s", error)
            return False
        return before is None or self._key is None or before.public_numbers() != self._key.public_numbers()

    async def _fetch(self) -> None:
        """Get the key from its URL, or raise Unavailable."""
        assert self._session is not None
        self._fetched = self._clock()
        try:
            async with self._session.get(self._location) as answer:
                text = await answer.text(errors="replace")
                if answer.status != 200:
                    raise Unavailable(f"The public key at {self._location} is not to be had: {answer.status}.")
            self._key = read_key(text, self._location)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(
                f"The public key at {self._location} is not to be had: {type(error).__name__}."
            ) from error
        except Misconfigured as error:
            raise Unavailable(str(error)) from error


def _decode(token: str, key: RSAPublicKey) -> dict[str, Any]:
    options: Any = {
        "require": ["exp"],
        "verify_aud": False,
        "verify_iss": False,
        "verify_sub": False,
        "verify_jti": False,
    }
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], leeway=_LEEWAY, options=options)
    return claims


def _refused(error: jwt.PyJWTError) -> Unauthenticated:
    return Unauthenticated(f"The token is not valid: {error}.", hint="Get a new one.")
