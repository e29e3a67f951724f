"""What load balancers and clusters ask: does the process answer, and is it to get requests?"""

from __future__ import annotations

import time
from collections.abc import Callable

from score.broker.health import Health
from score.broker.together import Together

KEPT = 2.0
"""Seconds for which a look counts."""


class Standing:
    """Whether this server takes part in the service; one for each application.

    ``leaving`` is set once, when the server is told to end: from then on it is not ready, and every answer closes its
    connection, so that the next request goes to another server.
    """

    def __init__(self) -> None:
        self.leaving = False


class Readiness:
    """Whether requests can be served: the buckets can be used, and the server is not leaving.

    A look at the buckets counts for :data:`KEPT` seconds and for all who ask meanwhile, so that many probes cost the
    store little. ``clock`` is monotonic.
    """

    def __init__(self, health: Health, standing: Standing, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._standing = standing
        self._clock = clock
        self._asking: Together[None, bool] = Together()
        self._known: tuple[float, bool] | None = None

    async def status(self) -> str:
        """``UP``, ``DOWN`` while the buckets cannot be used, ``OUT_OF_SERVICE`` while the server is leaving."""
        up = not self._standing.leaving and await self._asking.ask(None, self._look)
        if self._standing.leaving:  # maybe since then
            return "OUT_OF_SERVICE"
        return "UP" if up else "DOWN"

    async def _look(self) -> bool:
        if self._known is None or self._clock() >= self._known[0]:
            up = await self._health.is_up()
            self._known = (self._clock() + KEPT, up)
        return self._known[1]
