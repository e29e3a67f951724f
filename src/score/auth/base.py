"""What the broker needs of the authorization service. Protocol, section 7.

A site's own authorizer is a class with the three methods of :class:`Authorizer`; ``docs/authorization.md`` says how
the server finds it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a valid token. ``scopes`` are as the authorization service gave them (compared without case);
    ``subject`` and ``fingerprint`` are for messages and logs, never the token itself. ``expires`` is when the token
    ends, in seconds since 1970, None where nobody said: the answer is not used beyond that."""

    subject: str
    scopes: frozenset[str]
    fingerprint: str = ""
    expires: float | None = None


class Authorizer(Protocol):
    """Turns a bearer token into an identity."""

    async def identify(self, token: str) -> Identity:
        """The owner of ``token``. Unauthenticated where it is not valid; Unavailable where nobody can tell now."""
        ...

    async def probe(self) -> str:
        """Empty when the service answers, else one sentence on what is wrong. Never raises."""
        ...

    async def close(self) -> None:
        """Give back connections and handles."""
        ...


def fingerprint(token: str) -> str:
    """What a token is called in logs: the beginning of its SHA-256, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]
