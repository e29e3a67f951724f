"""What the answers of stores that speak HTTP have in common: objects, clocks, and when a call is made again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import TypeVar

from score.errors import Integrity, Unavailable
from score.storage.base import NOTHING, ObjectStat
from score.storage.http import Answer

T = TypeVar("T")

PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
"""Seconds."""
_NOTABLE_SKEW = 300.0


class Retries:
    """Calls that failed in a way that may pass are made again, up to ``limit`` times, and none after ``patience``
    seconds."""

    def __init__(self, limit: int, patience: float) -> None:
        self._limit = limit
        self._patience = patience
        self._random = Random()
        self.repeated = 0
        """How often calls were repeated."""

    async def persist(self, call: Callable[[], Awaitable[T]], attempts: int | None = None) -> T:
        """What ``call`` gives, made ``attempts`` times at most. Raises what the last attempt failed with."""
        limit = self._limit if attempts is None else attempts - 1
        give_up = time.monotonic() + self._patience
        failures = 0
        while True:
            try:
                return await call()
            except Unavailable as error:
                # Doubled each time, of random length.
                wait = min(_FIRST_DELAY * 2**failures, _LONGEST_DELAY) * self._random.uniform(0.5, 1.0)
                failures += 1
                if failures > limit or time.monotonic() + wait > give_up:
                    raise
                self.repeated += 1
                await asyncio.sleep(max(wait, min(error.retry_after or 0.0, give_up - time.monotonic())))


def condition(over: str | None) -> dict[str, str]:
    """The headers with which an object replaces only what ``over`` says, as :meth:`.ObjectStore.put` has it."""
    if over is None:
        return {}
    return {"if-none-match": "*"} if over == NOTHING else {"if-match": f'"{over}"'}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a store asks to wait, None where it does not say."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def clock_skew(headers: Mapping[str, str], now: datetime) -> float | None:
    """The store's clock minus ours, in seconds, None where the answer has no date."""
    try:
        told = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() - now.timestamp()


def clock_hint(headers: Mapping[str, str], now: datetime) -> str:
    """That the clocks may be the reason of a refusal, empty where they are about the same."""
    skew = clock_skew(headers, now) or 0.0
    if abs(skew) <= _NOTABLE_SKEW:
        return ""
    return f"The store's clock differs from this machine's by {skew:.0f} s, which may be the reason."


def object_stat(key: str, answer: Answer, meta: str, *, opaque: bool = False) -> ObjectStat:
    """The object that an answer to HEAD describes; ``meta`` is what names of user metadata begin with. Raises
    Integrity where size or time is missing."""
    headers = answer.headers
    try:
        size, modified = int(headers["content-length"]), parsedate_to_datetime(headers["last-modified"])
    except (KeyError, ValueError) as error:
        raise Integrity(f"The store's answer to HEAD of {key} lacks size or time.") from error
    return ObjectStat(
        key=key,
        size=size,
        last_modified=modified,
        etag=headers.get("etag", "").strip('"'),
        content_md5=headers.get("content-md5"),
        metadata={name.removeprefix(meta): value for name, value in headers.items() if name.startswith(meta)},
        opaque=opaque,
    )
