"""What an authorizer said is used again for a short time: an upload of 2,000 parts asks once, not 2,000 times."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from score.auth.base import Authorizer, Identity

_MOST = 10_000


class Remembered:
    """An :class:`score.auth.base.Authorizer` that asks another one, and remembers good answers.

    For ``seconds`` (``auth.cache.seconds``) at most, and never beyond the token's own end; so long a revocation may
    go unnoticed. By a hash of the token: the memory of this process holds no tokens for long. Refusals and failures
    are not remembered. Several calls with one token at once ask once. ``clock`` is monotonic, ``now`` gives seconds
    since 1970.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._authorizer = authorizer
        self._seconds = seconds
        self._clock = clock
        self._now = now
        self.lookups = (0, 0)
        """How often an owner was remembered, and how often not."""
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Identity]] = {}

    async def identify(self, token: str) -> Identity:
        """The owner of a token, as remembered or as told now."""
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is not None and self._clock() < known[0] and not self._has_ended(known[1]):
            self.lookups = (self.lookups[0] + 1, self.lookups[1])
            return known[1]
        self.lookups = (self.lookups[0], self.lookups[1] + 1)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, token))
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    async def probe(self) -> str:
        """What the other one says, never remembered."""
        return await self._authorizer.probe()

    async def close(self) -> None:
        """Close the other one."""
        await self._authorizer.close()

    async def _ask(self, key: bytes, token: str) -> Identity:
        asked = self._clock()
        identity = await self._authorizer.identify(token)
        lasts = self._seconds if identity.expires is None else min(self._seconds, identity.expires - self._now())
        self._known.pop(key, None)
        if asked + lasts > self._clock():
            self._known[key] = (asked + lasts, identity)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return identity

    def _has_ended(self, identity: Identity) -> bool:
        """By the time of day: a monotonic clock stands still while the machine sleeps."""
        return identity.expires is not None and identity.expires <= self._now()

    def _end(self, key: bytes, done: asyncio.Task[Identity]) -> None:
        del self._asking[key]
        if not done.cancelled() and done.exception() is not None:
            self._known.pop(key, None)  # and the exception counts as seen, also where all who asked have left
