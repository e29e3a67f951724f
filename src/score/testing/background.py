"""An event loop in a thread of its own, for the services that a test starts beside itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def settle() -> None:
    """Let the loop deliver what has arrived: connections that were accepted become known to their server."""
    for _ in range(10):
        await asyncio.sleep(0)


class Background:
    """Runs coroutines for callers that have no event loop. ``close`` cancels what still runs."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 30) -> T:
        """The result of ``work``, waited for by the calling thread for at most ``timeout`` seconds."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def close(self) -> None:
        """Cancel what runs, end the thread, free the loop."""
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=30)
        self._loop.close()

    async def _cancel_all(self) -> None:
        await settle()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await settle()  # what the ends of these began, or a connection that came meanwhile
        # A connection that came in the last moment belongs to nobody; the loop alone knows of it.
        for transport in list(getattr(self._loop, "_transports", {}).values()):
            if transport.get_protocol() is not None:  # else it is gone, and waits to be collected
                transport.abort()
        await settle()
        await self._loop.shutdown_asyncgens()
