"""Times in Spring's cron notation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as some

from score.config.cron import parse


def times(text: str, start: str, number: int = 1) -> list[str]:
    def run() -> Iterator[str]:
        schedule, at = parse(text), datetime.fromisoformat(start)
        while True:
            at = schedule.after(at)
            yield at.isoformat(" ")

    return list(islice(run(), number))


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("0 0 0 * * ?", "2024-02-28 12:00:00", ["2024-02-29 00:00:00", "2024-03-01 00:00:00"]),
        ("0 0 0 * * ?", "2024-02-28 00:00:00", ["2024-02-29 00:00:00"]),
        ("0 0 0 * * ?", "2024-02-27 23:59:59.9", ["2024-02-28 00:00:00"]),
        ("*/30 * * * * *", "2024-01-01 00:00:01", ["2024-01-01 00:00:30", "2024-01-01 00:01:00"]),
        ("0 15/20 8-9 * * *", "2024-01-01 08:50:00", [
            "2024-01-01 08:55:00", "2024-01-01 09:15:00", "2024-01-01 09:35:00", "2024-01-01 09:55:00",
            "2024-01-02 08:15:00",
        ]),
        ("0 0 12 ? * MON-FRI", "2024-06-07 12:00:00", ["2024-06-10 12:00:00"]),
        ("0 0 12 ? * SUN", "2024-06-07 12:00:00", ["2024-06-09 12:00:00"]),
        ("0 0 12 ? * 7", "2024-06-07 12:00:00", ["2024-06-09 12:00:00"]),
        ("0 0 0 1 JAN,jul ?", "2024-01-01 00:00:00", ["2024-07-01 00:00:00", "2025-01-01 00:00:00"]),
        ("0 0 0 29 2 ?", "2096-03-01 00:00:00", ["2104-02-29 00:00:00"]),
        ("0 0 0 ? * MON-SUN", "2024-06-08 12:00:00", ["2024-06-09 00:00:00", "2024-06-10 00:00:00"]),
        ("@weekly", "2024-06-07 12:00:00", ["2024-06-09 00:00:00"]),
        # Both fields of the day count, as in Spring; elsewhere either does.
        ("0 0 0 13 * FRI", "2024-01-01 00:00:00", ["2024-09-13 00:00:00", "2024-12-13 00:00:00"]),
    ],
)  # fmt: skip
def test_the_next_times(text: str, start: str, expected: list[str]) -> None:
    assert times(text, start, len(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0 0 * * *", "0 0 0 * * ? 2024", "60 0 0 * * ?", "0 0 24 * * ?", "0 0 0 0 * ?", "0 0 0 32 * ?",
     "0 0 0 * 13 ?", "0 0 0 * * 8", "0 0 0 * * FOO", "0 0 0 30 2 ?", "0 0 5-3 * * ?", "0/0 * * * * *",
     "-1 * * * * *", "1- * * * * *", ", * * * * *", "1/ * * * * *", "٣ * * * * *", "@never",
     "0 0 0 L * ?", "9" * 5000],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as|from \d+ to \d+|rise|no day"):
        parse(text)


@given(
    some.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2090-01-01")),
    some.integers(0, 59),
    some.integers(0, 23),
)
def test_it_always_moves_on_and_never_skips(moment: datetime, minute: int, hour: int) -> None:
    at = parse(f"0 {minute} {hour} * * ?").after(moment)
    assert timedelta() < at - moment <= timedelta(days=1, seconds=1)
    assert (at.second, at.minute, at.hour) == (0, minute, hour)
