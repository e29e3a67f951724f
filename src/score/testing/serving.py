"""An ASGI application under uvicorn, as it runs in production, in a thread of the test."""

from __future__ import annotations

import logging
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp


class Serving:
    """Serves ``app`` on a free loopback port; a context manager. ``url`` is known from the start."""

    def __init__(self, app: ASGIApp | None = None) -> None:
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start; ``app`` must be set by now."""
        assert self.app is not None
        config = uvicorn.Config(
            self.app, loop="uvloop", http="httptools", ws="none", lifespan="off", access_log=False, log_config=None
        )
        # Without handlers it is silent, but pytest lends its own to every logger that a test may want to read.
        logging.getLogger("uvicorn.access").disabled = True
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="uvicorn")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=30)
        self._socket.close()
        assert not self._thread.is_alive()
