"""The server in a thread of its own, for tests that look behind it; end-to-end tests start the real command."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import uvicorn

from score.server.app import create_app
from score.server.build import Service
from score.server.edge import Protocol, configuration
from score.server.main import listen
from score.server.probes import Standing
from score.server.settings import Settings


class RunningServer:
    """A context manager. ``open_service`` builds the service in the event loop that serves it; ``url`` is its base.

    Of ``settings`` those about callers count. Raises whatever ``open_service`` raises.
    """

    def __init__(
        self,
        open_service: Callable[[], Awaitable[Service]],
        settings: Settings | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        protocol: type[Protocol] = Protocol,
        keep_alive: int = 75,
    ) -> None:
        self._open_service = open_service
        self._settings = settings or Settings()
        self._tls = tls
        self._protocol = protocol
        self._keep_alive = keep_alive
        self._ready: Future[uvicorn.Server] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="score-server")
        self.url = ""

    def __enter__(self) -> Self:
        self._listener = listen("127.0.0.1", 0)
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread.start()
        self._server = self._ready.result(timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=60)

    async def _serve(self) -> None:
        with self._listener:
            try:
                service = await self._open_service()
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                self._ready.set_exception(error)
                return
            app = create_app(service, self._settings, Standing())
            config = configuration(app, self._tls, protocol=self._protocol, keep_alive=self._keep_alive)
            config.timeout_graceful_shutdown = 5
            server = uvicorn.Server(config)
            self._ready.set_result(server)
            try:
                await server.serve(sockets=[self._listener])
            finally:
                await service.close()
