"""The signals by which users end a program."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from score.cli import exits


class Interrupts:
    """The handler of SIGINT, SIGTERM and SIGHUP. The first signal interrupts what is under way, the second one what
    is waited for because of that; who asks a third time wants nothing more of it.

    An exception may arise between any two steps of the main thread, also after it took note that an object ended and
    before it told of it. So while outcomes are told, :meth:`asking` has the first signal ask for the end instead. Nor
    may one change the exit status that was told as the last thing (:meth:`settle`).
    """

    def __init__(self) -> None:
        self._count = 0
        self._ask: Callable[[], None] | None = None
        self._settled: int | None = None

    def install(self) -> None:
        """Take the signals from now on, but those that a shell or ``nohup`` keeps from the program."""
        signal.signal(signal.SIGTERM, self)
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, self)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self)
        atexit.register(_ignore)  # Python gives up its handlers as it ends, and the next signal would be the end

    @contextmanager
    def asking(self, ask: Callable[[], None]) -> Iterator[None]:
        """Meanwhile the first signal calls ``ask``, which must take no lock, and raises nothing."""
        self._ask = ask
        try:
            yield
        finally:
            self._ask = None

    def settle(self, status: int) -> None:
        """The exit status is ``status``, whatever signal still comes."""
        self._settled = status

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            os._exit(exits.INTERRUPTED if self._settled is None else self._settled)
        if self._settled is not None:
            return
        if self._ask is None or self._count > 1:
            raise KeyboardInterrupt
        self._ask()


def _ignore() -> None:
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
