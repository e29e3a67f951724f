"""Threads for the files of a run: large ones have a lane of their own, so that small ones never wait for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from score.protocol.parts import MIB

R = TypeVar("R")

LARGE = 64 * MIB
"""Bytes above which a file is large: moving it takes longer than the calls about it."""


class Later(Exception):
    """What was begun in the lane of small files is a large one, and is to be begun again in the other lane."""


def is_large(path: Path) -> bool:
    """Whether a file is a large one; one that cannot be looked at is not: it soon fails."""
    try:
        return path.stat().st_size > LARGE
    except (OSError, ValueError):
        return False


class Lanes:
    """At most ``small`` and ``large`` files under way, each in the order in which they were submitted.

    Small files spend their time on calls, of which many may wait at once; large ones share the threads for parts, so
    that more of them than such threads would gain nothing.
    """

    def __init__(self, small: int, large: int) -> None:
        self._small = ThreadPoolExecutor(small, thread_name_prefix="file")
        self._large = ThreadPoolExecutor(large, thread_name_prefix="large-file")

    def submit(self, work: Callable[[bool], R]) -> Future[R]:
        """Do ``work`` in a lane; it is told whether that is the one of large files, and may raise :class:`Later`
        where it is not."""
        end: Future[R] = Future()

        def run(large: bool) -> None:
            try:
                end.set_result(work(large))
            except Later:
                self._large.submit(run, True)
            except BaseException as error:  # noqa: BLE001 - it is raised to whoever waits for the file
                end.set_exception(error)

        def begin() -> None:
            if end.set_running_or_notify_cancel():
                run(False)

        self._small.submit(begin)
        return end

    def close(self) -> None:
        """Begin nothing more; does not wait for what runs."""
        self._small.shutdown(wait=False, cancel_futures=True)
        self._large.shutdown(wait=False, cancel_futures=True)
