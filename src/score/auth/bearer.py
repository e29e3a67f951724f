"""Bearer tokens of either kind: what parses as a UUID is an API key, anything else a JWT. Protocol, section 7."""

from __future__ import annotations

from score.auth.base import Authorizer, Identity
from score.errors import Unauthenticated
from score.protocol.ids import is_uuid


class Bearer:
    """An :class:`score.auth.base.Authorizer` that hands each token to the one for its kind."""

    def __init__(self, keys: Authorizer | None, jwts: Authorizer | None) -> None:
        self._keys = keys
        self._jwts = jwts

    async def identify(self, token: str) -> Identity:
        """The owner of a token."""
        if is_uuid(token):
            if self._keys is None:
                raise Unauthenticated("This server takes no API keys.", hint="Use a JWT, or set auth.server.url.")
            return await self._keys.identify(token)
        if self._jwts is None:
            raise Unauthenticated("The token is no API key, and this server takes no others.")
        return await self._jwts.identify(token)

    async def probe(self) -> str:
        """What is wrong with either."""
        problems = [await one.probe() for one in (self._keys, self._jwts) if one is not None]
        return " ".join(problem for problem in problems if problem)

    async def close(self) -> None:
        """Close both."""
        for one in (self._keys, self._jwts):
            if one is not None:
                await one.close()
