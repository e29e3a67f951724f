"""Times in cron's notation, as Spring reads it: six fields, seconds first. Pure.

``second minute hour day-of-month month day-of-week``; ``*`` or ``?`` for any, ``a-b``, ``a-b/n``, ``a/n`` (from a
on), ``*/n``, comma lists, and English names of months and days in three letters; 0 and 7 are Sunday. A day counts
when both its fields match. ``@yearly``, ``@monthly``, ``@weekly``, ``@daily`` and ``@hourly`` are abbreviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

_FIELDS = (
    ("seconds", 0, 59), ("minutes", 0, 59), ("hours", 0, 23), ("days of the month", 1, 31), ("months", 1, 12),
    ("days of the week", 0, 7),
)  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    "months": {name: number for number, name in enumerate(_MONTHS, 1)},
    "days of the week": {name: number for number, name in enumerate(_DAYS)},
}
_SHORT = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_HORIZON = 8 * 366
"""Days: 29 February may be eight years away."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Each field as its numbers in order; of ``weekdays`` 0 is Sunday."""

    seconds: Sequence[int]
    minutes: Sequence[int]
    hours: Sequence[int]
    days: Sequence[int]
    months: Sequence[int]
    weekdays: Sequence[int]

    def after(self, moment: datetime) -> datetime:
        """The first time after ``moment``, which has no zone: the time is that of the server's clock on the wall."""
        first = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = first.date()
        for offset in range(_HORIZON):
            on = day + timedelta(days=offset)
            if self._matches(on) and (at := self._time(first.time() if not offset else time())):
                return datetime.combine(on, at)
        raise ValueError("no day ever matches")

    def _matches(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _time(self, least: time) -> time | None:
        """The first time of a day that is not before ``least``."""
        for hour in self.hours:
            for minute in self.minutes if hour >= least.hour else ():
                for second in self.seconds if (hour, minute) >= (least.hour, least.minute) else ():
                    if (at := time(hour, minute, second)) >= least:
                        return at
        return None


def parse(text: str) -> Schedule:
    """The schedule that ``text`` stands for. Raises ValueError, which says what is expected."""
    fields = _SHORT.get(text.strip().lower(), text).split()
    if len(fields) != len(_FIELDS):
        raise ValueError("six fields (second minute hour day-of-month month day-of-week), such as 0 0 0 * * ?")
    numbers = [_numbers(field, *kind) for field, kind in zip(fields, _FIELDS, strict=True)]
    numbers[5] = tuple(sorted({number % 7 for number in numbers[5]}))
    schedule = Schedule(*numbers)
    schedule.after(datetime(2000, 1, 1))  # noqa: DTZ001 - raises where no day ever matches
    return schedule


def _numbers(field: str, what: str, least: int, most: int) -> tuple[int, ...]:
    """The numbers that a field allows, in order."""
    found: set[int] = set()
    for item in field.lower().split(","):
        span, slash, step = item.partition("/")
        low, dash, high = span.partition("-")
        if span in ("*", "?"):
            first, last = least, min(most, 6) if what == "days of the week" else most
        else:
            first = _number(low, what, least, most)
            last = _number(high, what, least, most) if dash else most if slash else first
            if dash and what == "days of the week" and not last:
                last = 7  # MON-SUN
        every = _number(step, what, 1, most + 1) if slash else 1
        if last < first:
            raise ValueError(f"{what} that rise, not {item[:20]!r}")
        found.update(range(first, last + 1, every))
    return tuple(sorted(found))


def _number(text: str, what: str, least: int, most: int) -> int:
    named = _NAMES.get(what, {}).get(text)
    if named is not None:
        return named
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and least <= int(text) <= most):
        raise ValueError(f"{what} from {least} to {most}, not {text[:20]!r}")
    return int(text)
