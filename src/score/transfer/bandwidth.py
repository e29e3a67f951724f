"""How fast bytes may move: a timetable, in the way rclone writes it, and what all threads of a run share of it.

``10M`` is 10 MiB per second both ways, ``10M:1M`` up and down, ``off`` no limit; a number alone is in KiB per second.
``08:00,512k 12:00,10M:1M 23:00,off`` changes at these times of day, ``Mon-08:00,1M Fri-18:00,off`` at those of the
week.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from score.errors import Invalid
from score.protocol.parts import MIB
from score.transfer.retry import Stop

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60
_ENTRY = re.compile(r"(?:([A-Za-z]{3})[A-Za-z]*-)?(\d{1,2}):(\d{2}),(\S+)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:([bkmgt])(?:i?b)?(?:/s)?)?", re.IGNORECASE | re.ASCII)
_UNITS = {"b": 1, "k": 1024, "m": MIB, "g": 1024 * MIB, "t": 1024 * 1024 * MIB}
_HINT = 'Expected 10M, 10M:1M (up:down), off, or a timetable such as "08:00,512k 12:00,10M:1M 23:00,off".'
_LOOK = 1.0
"""Seconds after which the timetable is looked at again."""
_STEP = 0.05
"""Seconds that one piece takes, so that what is moved is spread evenly."""
_SMALLEST = 4096
"""Bytes of the smallest piece."""
_SOON = 60.0
"""Seconds in which all that is under way can be finished, unless it is one part."""
_MORE = 0.25
"""How many more parts at a time are tried where all that are under way arrived."""
_SMALL = 8.0
"""Seconds. A part that takes less is not waited for, and waits for none."""


class Rates(NamedTuple):
    """Bytes per second, infinity for no limit."""

    up: float = math.inf
    down: float = math.inf


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates by the minute of the week at which they begin, Monday 0:00 being 0; in order. Before the first of them
    the last one holds. Pure."""

    entries: tuple[tuple[int, Rates], ...] = ((0, Rates()),)

    def at(self, when: datetime) -> Rates:
        """What holds at a local time."""
        minute = when.weekday() * _DAY + when.hour * 60 + when.minute
        begun = [rates for start, rates in self.entries if start <= minute]
        return begun[-1] if begun else self.entries[-1][1]


def parse(text: str) -> Timetable:
    """A timetable as a user writes it. Raises Invalid."""
    words = text.split()
    if len(words) == 1 and "," not in words[0]:
        return Timetable(((0, _rates(words[0], text)),))
    entries: dict[int, Rates] = {}
    for word in words:
        found = _ENTRY.fullmatch(word)
        if found is None:
            raise _wrong(text, f"{word!r} is no time with a rate")
        day, hour, minute = found[1], int(found[2]), int(found[3])
        if hour > 23 or minute > 59 or (day is not None and day.lower() not in _DAYS):
            raise _wrong(text, f"{word!r} is no time of a day or week")
        days = range(7) if day is None else (_DAYS.index(day.lower()),)
        entries |= {one * _DAY + hour * 60 + minute: _rates(found[4], text) for one in days}
    if not entries:
        raise _wrong(text, "it is empty")
    return Timetable(tuple(sorted(entries.items())))


def _rates(word: str, text: str) -> Rates:
    up, colon, down = word.partition(":")
    return Rates(_rate(up, text), _rate(down if colon else up, text))


def _rate(word: str, text: str) -> float:
    if word.lower() == "off":
        return math.inf
    found = _SIZE.fullmatch(word)
    if found is None:
        raise _wrong(text, f"{word!r} is no rate")
    return float(found[1]) * _UNITS[(found[2] or "k").lower()] or math.inf


def _wrong(text: str, why: str) -> Invalid:
    return Invalid(f"--bwlimit {text[:100]!r}: {why}.", hint=_HINT)


class Bucket:
    """Tokens of which each stands for a byte; they come in at a rate that may change. Pure: the time is an argument,
    in seconds of any clock that does not go back.

    Who takes some may leave a debt, which all wait for: so a piece larger than what a second brings passes too.
    """

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seen = -math.inf

    def take(self, count: int, rate: float, now: float) -> float:
        """Take ``count`` tokens and give 0, or give the seconds after which to ask again."""
        if rate == math.inf:
            self._tokens, self._seen = 0.0, now
            return 0.0
        most = rate * _STEP  # what was not used is not saved up
        self._tokens = min(most, self._tokens + (now - self._seen) * rate) if self._seen > -math.inf else most
        self._seen = now
        if self._tokens > 0:
            self._tokens -= count
            return 0.0
        return max(-self._tokens / rate, 0.001)


def may_begin(size: int, under_way: int, rate: float) -> bool:
    """Whether a part of ``size`` bytes may begin beside others of ``under_way`` bytes in all: where the rate, in
    bytes per second, is low, few at a time, so that a run that is ended soon has finished some, and loses little."""
    return not under_way or under_way + size <= rate * _SOON


class Throttle:
    """The limits of a run, shared by all its threads. ``clock`` gives seconds, ``now`` the local time."""

    def __init__(
        self,
        stop: Stop,
        timetable: Timetable | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._stop = stop
        self._timetable = timetable
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._finished = threading.Condition(self._lock)
        self._under_way = [0, 0]
        self._sending = 0
        self._at_once = math.inf
        self._buckets = (Bucket(), Bucket())
        self._rates = Rates()
        self._looked = -math.inf

    def limit(self, timetable: Timetable | None) -> None:
        """From now on this holds; None: no limit."""
        with self._lock:
            self._timetable = timetable
            self._rates, self._looked = Rates(), -math.inf

    def up(self, count: int) -> None:
        """Wait until ``count`` bytes may be sent. Raises Cancelled at once when the user asks to stop."""
        self._wait(0, count)

    def down(self, count: int) -> None:
        """Wait until ``count`` bytes may be fetched."""
        self._wait(1, count)

    def piece(self, most: int, *, up: bool) -> int:
        """How many bytes to move at once, at most ``most``: few where the rate is low, so that no connection is
        silent for long."""
        if self._timetable is None:
            return most
        with self._lock:
            rate = self._current()[0 if up else 1]
        return most if rate == math.inf else max(min(most, int(rate * _STEP)), min(most, _SMALLEST))

    @contextmanager
    def turn(self, size: int, *, up: bool) -> Iterator[None]:
        """Within it a part of ``size`` bytes is moved; waits until it may begin, see :func:`may_begin` and
        :meth:`ease`. Raises Cancelled when the user asks to stop."""
        way = 0 if up else 1
        with self._finished:
            counted = size if size > self._current()[way] * _SMALL else 0
            while (up and self._sending + 1 > self._at_once) or (
                counted and not may_begin(size, self._under_way[way], self._current()[way])
            ):
                self._stop.check()
                self._finished.wait(_LOOK / 2)
                self._stop.check()  # the turn that came may be that of one who was stopped
            self._under_way[way] += counted
            self._sending += up
        try:
            yield
            if up:
                with self._finished:
                    self._at_once += _MORE / self._at_once
        finally:
            with self._finished:
                self._under_way[way] -= counted
                self._sending -= up
                self._finished.notify_all()

    def ease(self) -> None:
        """The same part was cut again while it was sent: half as many are sent at a time, at least one, and slowly
        more as they arrive. What is cut has to be sent from its start: where no connection lives for long, none of
        many that share a slow link would ever arrive."""
        with self._finished:
            self._at_once = max(1, min(self._at_once, self._sending // 2))

    def _wait(self, way: int, count: int) -> None:
        while self._timetable is not None:
            with self._lock:
                seconds = self._buckets[way].take(count, self._current()[way], self._clock())
            if not seconds:
                return
            self._stop.sleep(min(seconds, _LOOK))

    def _current(self) -> Rates:
        clock = self._clock()
        if self._timetable is not None and clock - self._looked >= _LOOK:
            self._rates, self._looked = self._timetable.at(self._now()), clock
        return self._rates
