"""A program whose clock is set while it runs, as an operator or a time service does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from score.errors import Misconfigured
from score.testing.components import find


class Clock:
    """The time of day of a program that is started with ``prefix``: the real one, until :meth:`put` moves it.

    The clock that counts durations goes on, as it does where a machine's time is set. Misconfigured where
    libfaketime is not installed.
    """

    def __init__(self, file: Path) -> None:
        library = find("faketime")
        if library is None:
            raise Misconfigured("libfaketime is not installed.", hint="Run: make components")
        self._file = file
        self.put(timedelta())
        self.prefix = (
            "env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={file}", "FAKETIME_NO_CACHE=1",
            "DONT_FAKE_MONOTONIC=1",
        )  # fmt: skip

    def put(self, offset: timedelta) -> None:
        """Set the clock to so much after the real time, or before it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset.total_seconds():+.0f}\n")
        new.replace(self._file)
