"""What every transfer of a client shares: connections, threads, patience, the wish to stop, the listener."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from score.errors import Expired, NotFound, Refused, Unavailable
from score.protocol.wire import Part
from score.transfer.bandwidth import Throttle
from score.transfer.budget import Budget
from score.transfer.events import Listener, Verifying, ignore
from score.transfer.http import Http, expiry
from score.transfer.outage import Outage
from score.transfer.retry import LATER, Exhausted, Patience, Stop, persist
from score.transfer.verify import Processors
from score.transfer.workers import Workers

T = TypeVar("T")

MARGIN = timedelta(seconds=60)
"""A URL with less than this left is renewed before it is used."""


@dataclass(frozen=True)
class Engine:
    """What every transfer of a client shares."""

    http: Http
    workers: Workers
    patience: Patience = field(default_factory=Patience)
    stop: Stop = field(default_factory=Stop)
    listener: Listener = ignore
    budget: Budget = field(default_factory=Budget)
    throttle: Throttle = field(default_factory=lambda: Throttle(Stop()))
    outage: Outage = field(default_factory=Outage)
    processors: Processors = field(default_factory=Processors)

    def persist(self, call: Callable[[], T], what: str) -> T:
        """Make ``call`` again while it fails in ways that may pass, and its server is not away. See
        :func:`score.transfer.retry.persist`."""

        def once() -> T:
            try:
                return call()
            except Unavailable as error:
                if self.outage.is_away(error):
                    raise Exhausted(error.message, hint=error.hint or LATER, server=error.server) from error
                raise

        return persist(once, what, self.patience, self.stop, self.listener)

    def tell_verifying(self, item: str, read: int) -> None:
        """The whole MD5 of an item is past ``read`` bytes. Raises Cancelled when the user asks to stop."""
        self.stop.check()
        self.listener(Verifying(item, read))


class Urls:
    """The pre-signed URLs of a transfer's parts, renewed for all parts at once when one has expired."""

    TRIES = 3

    def __init__(self, parts: Iterable[Part], renew: Callable[[], Iterable[Part]]) -> None:
        self._current = (0, _by_number(parts))
        self._renew = renew
        self._lock = threading.Lock()
        self._renewed = -math.inf

    def use(self, number: int, call: Callable[[str], T]) -> T:
        """``call`` with the URL of a part, and with a new one where it has expired.

        Raises Refused where new URLs do not help, and what ``call`` and asking for new URLs raise.
        """
        for left in reversed(range(self.TRIES)):
            url, generation = self._get(number)
            try:
                return call(url)
            except Expired as error:
                reason, why = error.message, error.hint
                if left:
                    self._replace(generation)
        raise Refused(
            f"{reason}; new URLs did not help.",
            hint=why or "This network may not be allowed to reach the store, or the server's own keys are refused.",
        )

    def _get(self, number: int) -> tuple[str, int]:
        generation, urls = self._current
        url = urls.get(number)
        if url is None or (_ends_soon(url) and time.monotonic() - self._renewed > MARGIN.total_seconds()):
            self._replace(generation)
            generation, urls = self._current
            url = urls.get(number)
        if url is None:
            raise NotFound(f"The server gave no URL for part {number}.", hint="Tell the operator of the server.")
        return url, generation

    def _replace(self, seen: int) -> None:
        """Ask for new URLs, unless another thread did since generation ``seen``."""
        with self._lock:
            generation, _ = self._current
            if generation == seen:
                self._current = (generation + 1, _by_number(self._renew()))
                self._renewed = time.monotonic()


class SharedUrl(Urls):
    """One URL for all parts, that of the first one."""

    def use(self, number: int, call: Callable[[str], T]) -> T:
        """``call`` with the URL, and with a new one where it has expired; ``number`` does not count."""
        return super().use(1, call)


def _ends_soon(url: str) -> bool:
    end = expiry(url)
    return end is not None and end - datetime.now(UTC) < MARGIN


def _by_number(parts: Iterable[Part]) -> dict[int, str]:
    return {part.part_number: part.url for part in parts if part.url}
