"""The running server: uvicorn, told to leave in two steps, and not to die of a terminal that goes away."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn

from score.server.probes import Standing

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds for which connections without a request stay open when nobody listens any more. Proxies keep connections,
and may be sending the next request on one in the moment in which it is closed; a POST they do not send again."""

_HANDSHAKES = 0.1
"""Seconds in which connections that have begun to be made are finished."""
_SO_ATTACH_FILTER = 26
_NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A filter of packets (socket(7), bpf): load the flags of TCP, and drop what has SYN."""


class Server(uvicorn.Server):
    """Serves until SIGINT or SIGTERM, then goes on for ``delay`` seconds, finishes what has begun, and ends.

    In the delay it is not ready (``standing``) and answers all the same: load balancers need time to notice. Then it
    listens no more, and goes on answering those who are connected, one request each, for :data:`GRACE` seconds at
    most. Another signal ends the delay, and the next one that. ``ready`` is called once it answers.
    """

    def __init__(
        self, config: uvicorn.Config, standing: Standing, delay: float = 0.0, ready: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._standing = standing
        self._delay = delay
        self._ready = ready
        self._until = 0.0
        self._hurried = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets=sockets)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)
        if not self.should_exit:
            gc.freeze()  # all that is there by now stays
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end."""
        if self._standing.leaving or not self._delay:
            self._standing.leaving = True
            self._hurried = self.should_exit
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, let connections end by their next answer, close those that are idle, and finish."""
        why = ", ".join(signal.Signals(one).name for one in self._captured_signals)
        state = self.server_state
        log.info(
            "%s: stopping; open connections: %d, calls under way: %d", why, len(state.connections), len(state.tasks)
        )
        for listener in sockets or []:
            deaf(listener)
        await asyncio.sleep(_HANDSHAKES)
        late = self._stop_listening(sockets or [])
        until = time.monotonic() + GRACE
        while (  # noqa: ASYNC110 - uvicorn tells nobody when a connection has ended
            (self.server_state.connections or not late.done()) and time.monotonic() < until and not self._hurried
        ):
            await asyncio.sleep(0.02)
        late.cancel()
        await super().shutdown(sockets)
        log.info("Stopped.")

    def _stop_listening(self, sockets: Sequence[socket.socket]) -> asyncio.Future[Any]:
        """Those who connected before, and whom nobody has accepted, would be reset: they are served too."""
        waiting: list[socket.socket] = []
        for listener in sockets:
            listener.setblocking(False)
            with suppress(OSError):  # nobody waits any more
                while True:
                    waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        loop = asyncio.get_running_loop()
        served = (loop.connect_accepted_socket(self._protocol, one, ssl=self.config.ssl) for one in waiting)
        return asyncio.gather(*served, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        made = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]


def allow_connections() -> None:
    """Let the process have as many open files as the system lets it: each connection is one, and the usual 1,024 are
    soon used by clients."""
    with suppress(ImportError, OSError, ValueError):  # Windows; a system that lies about its limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def deaf(listener: socket.socket) -> None:
    """Let no new connection begin, on Linux; those that have begun are finished.

    A connection that is made between the last ``accept`` and the end of listening would be reset. Whoever tries
    meanwhile tries again after a second, as for any packet that was lost, and is refused then, which proxies take as
    a reason to ask the next server.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
    with suppress(OSError):  # forbidden in some containers: then the moment between the two stays
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
        )


def hung_up() -> None:
    """SIGHUP: of a terminal that closes, or of somebody who wants settings to be read again."""
    log.warning(
        "SIGHUP: nothing is read again. Settings and files count as they were at the start; restart the server to"
        " change them."
    )
