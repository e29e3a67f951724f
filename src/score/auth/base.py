"""What the broker needs of the authorization service. Protocol, section 7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a valid token. ``scopes`` are as the authorization service gave them (compared without case);
    ``subject`` and ``fingerprint`` are for messages and logs, never the token itself."""

    subject: str
    scopes: frozenset[str]
    fingerprint: str = ""


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
