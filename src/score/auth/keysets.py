"""The public keys that prove JWTs: a PEM (Ego) or a JWK set (Keycloak). Protocol, section 7."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import ssl
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from score.auth.calls import as_json, body_of, open_session
from score.errors import Misconfigured, Unavailable
from score.protocol.onward import ONWARD

log = logging.getLogger(__name__)

_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between attempts to fetch the first keys; the last one for ever."""
_RENEWAL = 10.0
"""Seconds that pass at least between two looks for a key that is not known, whatever tokens come."""
_PATIENCE = 10.0
"""Seconds that a fetch may take: what follows, permissions, takes up to 45, and clients wait 60."""
_FRESH = 300.0
"""Seconds after which keys are fetched anew, so that one that was withdrawn ends."""
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END \1-----")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA public key; ``kid`` is its name in a set, None where it has none."""

    public: RSAPublicKey
    kid: str | None = None


def read_pem(text: str, where: str) -> tuple[SigningKey, ...]:
    """The RSA public key of a PEM, however its lines are broken (Ego: all in one). Raises Misconfigured."""
    found = _PEM.search(text)
    if found is None:
        raise Misconfigured(f"{where} holds no public key in PEM format.")
    label, encoded = found.groups()
    lines = "\n".join(textwrap.wrap("".join(encoded.split()), 64))
    pem = f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
    try:
        key = load_pem_x509_certificate(pem).public_key() if label == "CERTIFICATE" else load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{where} holds no public key that can be read: {error}.") from error
    if not isinstance(key, RSAPublicKey):
        raise Misconfigured(f"{where} holds a key that is not RSA: tokens are verified with RS256.")
    return (SigningKey(key),)


def read_jwks(text: str, where: str) -> tuple[SigningKey, ...]:
    """The keys of a JWK set that RS256 signatures can be verified with; others are passed over.

    Raises Misconfigured where there is none. Addresses in a key (``x5u``) are not looked at.
    """
    document = as_json(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = tuple(key for one in listed if (key := _jwk(one)) is not None) if isinstance(listed, list) else ()
    if not keys:
        raise Misconfigured(f"{where} holds no JWK set with an RSA key for signatures.")
    return keys


def _jwk(entry: Any) -> SigningKey | None:
    if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
        return None
    if entry.get("alg", "RS256") != "RS256":
        return None
    try:
        public = RSAPublicNumbers(_number(entry["e"]), _number(entry["n"])).public_key()
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    kid = entry.get("kid")
    return SigningKey(public, kid if isinstance(kid, str) else None)


def _number(text: Any) -> int:
    if not isinstance(text, str):
        raise TypeError("no text")
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def key_file(location: str) -> Path | None:
    """The file of a key location, ``file:`` before it or not; None for a URL. Raises Misconfigured for others."""
    if re.match(r"https?://", location):
        return None
    if location.startswith("classpath:"):
        raise Misconfigured(f"The location {location!r} of the public key is none.", hint="Give a URL or a file.")
    return Path(re.sub(r"\Afile:(//(?=/))?", "", location))


Read = Callable[[str, str], tuple[SigningKey, ...]]


class KeySet:
    """The keys at a location, which is the operator's: no token can name another.

    Keys in a file are read at once (Misconfigured where that fails). Those at a URL are fetched in the background,
    tried again until they are there, and renewed when tokens come. Must be made within a running event loop.
    """

    def __init__(
        self,
        location: str,
        read: Read,
        clock: Callable[[], float] = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self._location = location
        self._name = location.partition("?")[0]  # a query may hold a secret, and callers see messages
        self._read = read
        self._clock = clock
        self._keys: tuple[SigningKey, ...] = ()
        self._problem = f"The public key at {self._name} has not been fetched yet."
        self._fetched = self._looked = -_FRESH
        self._lost = False
        self._tried = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        file = key_file(location)
        if file is None:
            self._session = open_session(tls, patience=_PATIENCE)
            self._task = asyncio.create_task(self._fetch_until_there())
        else:
            try:
                self._keys = read(file.read_text(), str(file))
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(f"The public key in {file} cannot be read: {error}.") from error
            self._tried.set()

    async def freshen(self) -> None:
        """Fetch the keys anew where they are old, once for all who ask: one that was withdrawn proves nothing more.
        Where they are not to be had, the present ones stay in use, and nobody waits for the next look."""
        now = self._clock()
        if self._session is None or not self._keys or now - self._fetched <= _FRESH:
            return
        self._lost = self._lost and now - self._looked <= _FRESH
        if now - self._looked >= _RENEWAL and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._fetch_once())
        if self._task is not None and not self._lost:
            await asyncio.shield(self._task)

    def candidates(self, kid: str | None) -> Sequence[RSAPublicKey]:
        """The keys that may have signed a token with this ``kid``: the one of that name, or all where it has none.

        Unavailable while there are no keys.
        """
        if not self._keys:
            raise Unavailable(self._problem, hint="Try again later.", retry_after=5)
        return [key.public for key in self._keys if kid is None or key.kid is None or key.kid == kid]

    async def renewed(self, kid: str | None) -> bool:
        """Whether a look at the location, at most one in a while, brought other keys, for a token of a new one.

        Unavailable where the latest look failed: the key may be a new one, and nobody can tell.
        """
        if self._session is None or (kid is not None and any(key.kid == kid for key in self._keys)):
            return False
        if self._clock() - self._looked < _RENEWAL:
            if self._looked > self._fetched:
                raise Unavailable(f"The public key at {self._name} could not be renewed.", retry_after=_RENEWAL)
            return False
        before = self._keys
        await self._fetch()
        return {(key.kid, key.public.public_numbers()) for key in before} != {
            (key.kid, key.public.public_numbers()) for key in self._keys
        }

    async def probe(self) -> str:
        """Empty when there is a key to verify with, else what is wrong. The end of the first look is waited for."""
        await self._tried.wait()
        return "" if self._keys else self._problem

    async def close(self) -> None:
        """End what runs in the background."""
        if self._task is not None:
            self._task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _fetch_once(self) -> None:
        try:
            await self._fetch()
            self._lost = False
        except Unavailable as error:
            self._lost = True
            log.warning("%s The keys from before stay in use", error)

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

    async def _fetch(self) -> None:
        """Get the keys from their URL, or raise Unavailable."""
        assert self._session is not None
        self._looked = self._clock()
        try:
            async with self._session.get(self._location, headers=ONWARD.get()) as answer:
                hops = (*answer.history, answer)
                if self._location.lower().startswith("https:") and any(hop.url.scheme != "https" for hop in hops):
                    raise self._away("it sends on to an address without TLS")
                if answer.status != 200:
                    raise self._away(str(answer.status))
                text = (await body_of(answer)).decode(errors="replace")
            self._keys = self._read(text, self._name)
            self._fetched = self._looked
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(type(error).__name__) from error
        except Misconfigured as error:
            raise Unavailable(str(error), retry_after=_RENEWAL) from error
        finally:
            self._tried.set()

    def _away(self, why: str) -> Unavailable:
        return Unavailable(f"The public key at {self._name} is not to be had: {why}.", retry_after=_RENEWAL)
