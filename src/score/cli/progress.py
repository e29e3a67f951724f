"""What a person, or a log, sees of a transfer: bytes, rate, time left, parts, files. All of it on standard error."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from score.client.outcome import Outcome, State
from score.client.settings import Display
from score.transfer.events import Ended, Event, Moved, Note, PartDone, Planned, Verifying, Waiting

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 10.0
"""Seconds between two plain lines about the whole."""


def size(count: float) -> str:
    """A number of bytes for people: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"


def duration(seconds: float) -> str:
    """A time for people: ``2:05:09``, ``5:09``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class Item:
    """One file under way."""

    size: int
    parts: int
    done: int
    done_parts: int


class Screen:
    """Plain lines: a file when it ends, the whole now and then, and every wait. Safe to be called from threads."""

    def __init__(self, out: TextIO, *, progress: bool = True, silent: bool = False) -> None:
        self._out = out
        self._progress = progress and not silent
        self._silent = silent
        self._lock = threading.RLock()
        self._items: dict[str, Item] = {}
        self._moved = 0
        self._ended = 0
        self._start = time.monotonic()
        self._last = self._start
        self.total: int | None = None
        """Number of files of this run, where it is known."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def line(self, text: str) -> None:
        """A line, unless the user wants silence."""
        if not self._silent:
            self._print(text)

    def _print(self, text: str) -> None:
        """A line, whatever the user wants. A terminal that went away ends no transfer; exit statuses still tell."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            print(text, file=self._out, flush=True)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            match event:
                case Planned(item, total, parts, done, done_parts):
                    self._items[item] = Item(total, parts, done, done_parts)
                    if done_parts:
                        self.line(f"{item}: going on, {done_parts} of {parts} parts ({size(done)}) are finished")
                case Moved(item, count):
                    self._moved += count
                    if item in self._items:
                        self._items[item].done += count
                case PartDone(item, _):
                    if item in self._items:
                        self._items[item].done_parts += 1
                case Waiting(what, why, seconds, attempt, attempts):
                    self.line(
                        f"{what}: {why.rstrip('.')}; trying again in {seconds:.1f} s ({attempt} of {attempts - 1})"
                    )
                case Note(item, text):
                    self.line(f"{item}: {text}")
                case Ended(item, state, _):
                    self._ended += 1
                    known = self._items.pop(item, None)
                    if state != State.FAILED:
                        self.line(f"{item}: {state}" + (f", {size(known.size)}" if known else ""))
                case Verifying():
                    pass
            self._show(event)

    def _show(self, event: Event) -> None:
        now = time.monotonic()
        if self._progress and now - self._last >= EVERY:
            self._last = now
            self.line(self._summary(now))

    def _summary(self, now: float) -> str:
        rate = self._moved / max(now - self._start, 1e-9)
        left = sum(max(item.size - item.done, 0) for item in self._items.values())
        parts = (
            f"{sum(i.done_parts for i in self._items.values())}/{sum(i.parts for i in self._items.values())} parts"
        )
        files = f"{self._ended}" + (f"/{self.total}" if self.total is not None else "") + " files done"
        eta = f", {duration(left / rate)} left for these" if rate > 0 and left else ""
        return f"{size(self._moved)} moved, {size(rate)}/s, {parts} of {len(self._items)} under way, {files}{eta}"

    def conclude(self, outcomes: Sequence[Outcome]) -> None:
        """Name what failed, and sum up. Failures are shown even to those who want silence."""
        failed = [outcome for outcome in outcomes if not outcome.good]
        for outcome in failed:
            assert outcome.error is not None
            name = str(outcome.path or outcome.object_id)
            message = outcome.error.message
            shown = message if name in message else f"{name}: {message}"
            self._print(f"Error: {shown}")
            if outcome.error.hint:
                self._print(f"  {outcome.error.hint}")
        seconds = time.monotonic() - self._start
        counts = {state: sum(outcome.state is state for outcome in outcomes) for state in State}
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        moved = self._moved
        rate = f" ({size(moved)} moved in {duration(seconds)}, {size(moved / max(seconds, 1e-9))}/s)" if moved else ""
        text = f"{len(outcomes)} file{'s' if len(outcomes) != 1 else ''}: {words}{rate}."
        if failed:
            self._print(text)
        else:
            self.line(text)


class Live(Screen):
    """A moving display for a terminal: a bar for each file under way and one for all."""

    def __init__(self, out: TextIO, *, force: bool = False) -> None:
        super().__init__(out)
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.table import Column

        self._bars: Progress = Progress(
            # On a narrow terminal names are cut first, then the bar; figures stay whole.
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=12),
            DownloadColumn(binary_units=True, table_column=Column(no_wrap=True, min_width=15)),
            TransferSpeedColumn(table_column=Column(no_wrap=True, min_width=10)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("{task.fields[parts]}", markup=False, table_column=Column(no_wrap=True, min_width=11)),
            console=Console(file=out, force_terminal=True if force else None, highlight=False),
            transient=True,
            refresh_per_second=5,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def line(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self, event: Event) -> None:
        match event:
            case Planned(item, total, parts, done, done_parts):
                name = item.rsplit("/", 1)[-1]
                self._tasks[item] = self._bars.add_task(
                    name if len(name) < 40 else name[:18] + "…" + name[-20:],
                    total=total,
                    completed=done,
                    parts=f"{done_parts}/{parts} parts",
                )
            case Moved(item, count) if item in self._tasks:
                self._bars.advance(self._tasks[item], count)
            case PartDone(item, _) if item in self._tasks:
                known = self._items[item]
                self._bars.update(self._tasks[item], parts=f"{known.done_parts}/{known.parts} parts")
            case Verifying(item) if item in self._tasks:
                self._bars.update(self._tasks[item], parts="checking MD5")
            case Ended(item, _, _) if item in self._tasks:
                self._bars.remove_task(self._tasks.pop(item))
            case _:
                pass

    def conclude(self, outcomes: Sequence[Outcome]) -> None:
        """Sum up below where the bars were."""
        self._bars.stop()
        super().conclude(outcomes)


def make(display: Display, out: TextIO) -> Screen:
    """The screen that fits the settings and the terminal."""
    if display.silent or display.quiet:
        return Screen(out, progress=False, silent=display.silent)
    if display.ansi or (display.ansi is None and out.isatty()):
        return Live(out, force=bool(display.ansi))
    return Screen(out)
