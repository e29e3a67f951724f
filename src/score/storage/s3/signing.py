"""What the wire client and the store need of a signature, whichever version makes it.

A signer is pure: credentials and the time are arguments. Paths and queries are given as they go over the wire
(see :func:`encode_path` and :func:`encode_query`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

from score.protocol.parts import Span


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys to a store. ``token``: the session token of temporary keys; ``expires``: when these cease to work."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: datetime | None = None


class Resource(NamedTuple):
    """A bucket or an object as a URL without query: ``origin`` is ``https://host[:port]``, ``path`` is encoded."""

    origin: str
    path: str

    @property
    def host(self) -> str:
        """Value of the ``Host`` header: the port only where it is not the scheme's own."""
        scheme, _, authority = self.origin.partition("://")
        return authority.removesuffix(":443" if scheme == "https" else ":80").lower()


class Signer(Protocol):
    """Signs requests and URLs. ``now`` is an aware time; ``life`` is in whole seconds, at least 1."""

    def sign_request(
        self,
        keys: Credentials,
        method: str,
        resource: Resource,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
    ) -> dict[str, str]:
        """The headers to send: those given, with the signature and what it needs."""
        ...

    def sign_parts(
        self, keys: Credentials, resource: Resource, upload: str, numbers: Iterable[int], life: int, now: datetime
    ) -> list[str]:
        """URLs to PUT parts of a multipart upload; the payload is not signed."""
        ...

    def sign_gets(
        self, keys: Credentials, resource: Resource, spans: Iterable[Span | None], life: int, now: datetime
    ) -> list[str]:
        """URLs to GET an object, bound to exactly the ``Range`` of a span, to no range at all where it is None."""
        ...


def encode_path(*segments: str) -> str:
    """An absolute path of these segments, percent-encoded as S3 signs it; a ``/`` within a segment stays one."""
    return "/" + "/".join([_IN_PATHS.sub(_percent, segment) for segment in segments])


def encode_query(query: Iterable[tuple[str, str]]) -> str:
    """A query string, sorted and percent-encoded as S3 signs it."""
    encoded = sorted([(_IN_QUERIES.sub(_percent, name), _IN_QUERIES.sub(_percent, value)) for name, value in query])
    return "&".join([f"{name}={value}" for name, value in encoded])


_IN_PATHS = re.compile(r"[^A-Za-z0-9._~/-]")
_IN_QUERIES = re.compile(r"[^A-Za-z0-9._~-]")
"""What needs encoding, of which there is little: urllib looks at every character, in twice the time."""


def _percent(found: re.Match[str]) -> str:
    return _encoded(found[0])


@lru_cache(maxsize=256)
def _encoded(character: str) -> str:
    return "".join([f"%{byte:02X}" for byte in character.encode()])
