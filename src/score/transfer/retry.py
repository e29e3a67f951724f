"""When a failed call is made again, and after how long. The one place on the client's side that decides it."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar

from score.errors import Cancelled, Integrity, Unavailable
from score.transfer.events import Listener, Waiting

T = TypeVar("T")

LATER = "Run the same command again later: what is finished is kept. score-client check tells what is away."
CHANGED = "Something between here and the store changes bytes: try another network or proxy, and tell the operator."
LONGEST_WAIT = 60.0
"""Seconds; a server's ``Retry-After`` beyond it is cut to it, before it is spread."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on: ``attempts`` calls in all (``storage.retryNumber``), first wait in seconds
    (``storage.retryTimeout``), doubled each time up to ``longest``."""

    attempts: int = 10
    first_wait: float = 1.0
    longest: float = 30.0

    def wait(self, failures: int, dice: float, asked: float | None = None) -> float:
        """Seconds before the next call after ``failures`` failed ones.

        ``dice`` in [0, 1) spreads clients that failed together over half of the wait; ``asked`` is the server's
        ``Retry-After``, which is kept to as a minimum, and spread over a quarter more: else all the clients that were
        told the same would come back as one.
        """
        planned = min(self.first_wait * 2.0 ** min(failures - 1, 64), self.longest)
        spread = min(planned * (0.5 + dice / 2), LONGEST_WAIT)
        return max(spread, min(asked or 0.0, LONGEST_WAIT) * (1 + dice / 4))


class Damaged(Integrity):
    """Bytes were changed on their way: moving them again may help."""


class Exhausted(Unavailable):
    """Patience has ended. A call around the one that failed is not begun again: patience would be multiplied."""


class Stop:
    """The user's wish to stop, now or when a time is over, shared by all threads of a transfer. ``clock`` gives
    seconds.

    A handler of signals may ask for it, whatever it interrupts: there is no lock here that the code under it could
    hold, and a queue takes what is put into it while it is waited for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._why = ""
        self._over = ""
        self._sleepers: list[SimpleQueue[None]] = []
        self._clock = clock
        self._end = math.inf

    def set(self, why: str = "Stopped.") -> None:
        """From now on every check raises Cancelled, with the first reason that was given, and nobody sleeps."""
        self._why = self._why or why
        for sleeper in list(self._sleepers):
            sleeper.put(None)

    def end(self, why: str) -> None:
        """As :meth:`set`; and nothing more is begun."""
        self._over = self._over or why
        self.set(why)

    def admit(self) -> None:
        """Raises Cancelled where nothing more is begun."""
        if self._over:
            raise Cancelled(self._over, hint="Make another client: the same calls of that one go on from there.")

    def check(self) -> None:
        """Raises Cancelled once the user asked to stop."""
        self.admit()
        if self._why or self.is_late:
            raise Cancelled(self._why or "Stopped.")

    def after(self, seconds: float) -> None:
        """The user wishes to stop when ``seconds`` are over."""
        self._end = self._clock() + seconds

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self._end

    def sleep(self, seconds: float) -> None:
        """Wait; raises Cancelled at once when the user asks to stop."""
        called: SimpleQueue[None] = SimpleQueue()
        self._sleepers.append(called)
        try:
            self.check()  # whoever asks from here on calls
            with contextlib.suppress(Empty):
                called.get(timeout=min(seconds, max(self._end - self._clock(), 0.0)))
        finally:
            self._sleepers.remove(called)
        self.check()


def persist(call: Callable[[], T], what: str, patience: Patience, stop: Stop, listener: Listener) -> T:
    """Make ``call`` until it answers or ``patience`` ends; only Unavailable and Damaged are tried again.

    Raises the last of them (Unavailable as Exhausted), every other error at once, Cancelled when asked to stop.
    """
    failures = 0
    while True:
        stop.check()
        try:
            return call()
        except Exhausted:
            raise
        except (Unavailable, Damaged) as error:
            failures += 1
            after = error.retry_after if isinstance(error, Unavailable) else None
            if failures >= patience.attempts:
                message = error.message + (f" (gave up after {failures} tries)" if failures > 1 else " (tried once)")
                if isinstance(error, Damaged):
                    raise Damaged(message, hint=error.hint or CHANGED) from error
                hint = error.hint or LATER
                raise Exhausted(message, hint=hint, retry_after=after, server=error.server) from error
            seconds = patience.wait(failures, random.random(), after)
            listener(Waiting(what, error.message, seconds, failures, patience.attempts))
            stop.sleep(seconds)
