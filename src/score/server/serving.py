"""The running server: uvicorn, told to leave in two steps, and not to die of a terminal that goes away."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from score.server.probes import Standing

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serves until SIGINT or SIGTERM, then goes on for ``delay`` seconds, finishes what has begun, and ends.

    In the delay it is not ready (``standing``) and answers all the same: load balancers need time to notice. A second
    signal ends the delay. ``started`` is called once it answers.
    """

    def __init__(
        self, config: uvicorn.Config, standing: Standing, delay: float = 0.0, ready: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._standing = standing
        self._delay = delay
        self._ready = ready
        self._until = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets=sockets)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)
        if not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end."""
        if self._standing.leaving or not self._delay:
            self._standing.leaving = True
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._until = time.monotonic() + self._delay
        self._standing.leaving = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end now."""
        if self._until and time.monotonic() >= self._until:
            self.should_exit = True
        return await super().on_tick(counter)


def hung_up() -> None:
    """SIGHUP: of a terminal that closes, or of somebody who wants settings to be read again."""
    log.warning(
        "SIGHUP: nothing is read again. Settings and files count as they were at the start; restart the server to"
        " change them."
    )
