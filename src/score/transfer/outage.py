"""Whether a server is away, so that the rest of a long run is not waited for one object after the other."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

from score.errors import Unavailable
from score.transfer.retry import Exhausted

LIMIT = 3
"""Objects in a row with which patience ended, after which a server is away. One whose own bytes or state are broken
is no sign of that, and neither are many, as long as the server answers for others in between."""


def server_of(url: str) -> str:
    """The server that a URL leads to: scheme, host and port."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""


class Outage:
    """What is known of the servers of a run. Safe to be used by threads."""

    def __init__(self) -> None:
        self._lost: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A run begins: servers that were away may be back."""
        with self._lock:
            self._lost.clear()

    def answered(self, url: str) -> None:
        """A server answered a call of ``url``, and not that it is busy or broken."""
        if self._lost:
            with self._lock:
                self._lost.pop(server_of(url), None)

    def lose(self, error: Exhausted) -> bool:
        """An object of a run ended with ``error``; gives whether the server that it is about is away now."""
        if not error.server:
            return False
        with self._lock:
            self._lost[error.server] = self._lost.get(error.server, 0) + 1
        return self.is_away(error)

    def is_away(self, error: Unavailable) -> bool:
        """Whether the server that ``error`` is about is away: then it is not worth a try more."""
        return self._lost.get(error.server, 0) >= LIMIT
