"""What a person, or a log, sees of a transfer: bytes, rate, time left, files, waits. All of it on standard error."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from score.cli.tally import UNMOVED, Tally, duration, size, wait_text
from score.client.outcome import Outcome, State
from score.client.settings import Display
from score.transfer.events import Event, Note, Planned, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

EVERY = 10.0
"""Seconds between two plain lines about the whole; after some minutes they come less often."""
_RARELY = 60.0


class Screen:
    """Plain lines: a file when it ends, the whole now and then, waits. Safe to be called from threads."""

    def __init__(self, out: TextIO, *, progress: bool = True, silent: bool = False, every: float = EVERY) -> None:
        self._out = out
        self._progress = progress and not silent
        self._silent = silent
        self._every = every
        self._lock = threading.Lock()  # of what is counted; never held while a line is written
        self._writing = threading.Lock()
        self._finished = threading.Event()
        self._ticker: threading.Thread | None = None
        self._last_wait = float("-inf")
        self._counts: dict[State, int] = {}
        self._failed: list[Outcome] = []
        self._alike: Counter[int] = Counter()  # how many files an error stands for: one may end all the rest
        self.tally = Tally(time.monotonic())

    def __enter__(self) -> Screen:
        if self._progress:
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        if self._ticker is not None:
            self._ticker.join()

    def expect(self, files: int | None, bytes_in_all: int | None = None) -> None:
        """What the whole run is, as far as it is known."""
        with self._lock:
            self.tally.files, self.tally.size = files, bytes_in_all

    def line(self, text: str) -> None:
        """A line, unless the user wants silence."""
        if not self._silent:
            self._print(text)

    def step(self, text: str) -> None:
        """A line about the progress, unless the user does not want to know."""
        if self._progress:
            self.line(text)

    def _print(self, text: str) -> None:
        """A line, whatever the user wants. A terminal that went away ends no transfer; exit statuses still tell."""
        with self._writing, contextlib.suppress(OSError, ValueError):
            print(text, file=self._out, flush=True)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        now = time.monotonic()
        with self._lock:
            self.tally.take(event, now)
        match event:
            case Planned(item, _, parts, done, done_parts) if done_parts:
                self.step(f"{item}: going on, {done_parts} of {parts} parts ({size(done)}) are finished")
            case Waiting():
                self._tell_wait(event, now)
            case Note(item, text):
                self.line(f"{item}: {text}")
            case _:
                pass

    def _tell_wait(self, wait: Waiting, now: float) -> None:
        """One wait a second in full; how many there are stands in the line about the whole."""
        with self._lock:
            if now - self._last_wait < 1.0:
                return
            self._last_wait = now
        self.step(f"{wait.what}: {wait_text(wait, wait.seconds)}")

    def ended(self, outcome: Outcome) -> None:
        """An object ended."""
        name, error, first = str(outcome.path or outcome.object_id), outcome.error, False
        with self._lock:
            self._counts[outcome.state] = self._counts.get(outcome.state, 0) + 1
            if error is not None:
                self._alike[id(error)] += 1
                if first := self._alike[id(error)] == 1:
                    self._failed.append(outcome)
            elif outcome.state in UNMOVED:
                self.tally.skip(outcome.size)
        if error is None:
            self.step(f"{name}: {outcome.state}, {size(outcome.size)}")
        elif first and outcome.state is State.FAILED:
            self.step(f"Failed: {error.message}" if name in error.message else f"{name}: failed: {error.message}")

    def _tick(self) -> None:
        while not self._finished.wait(self._pause()):
            now = time.monotonic()
            with self._lock:
                waits = self.tally.waits(now)
                waiting = f"; {len(waits)} waiting: {wait_text(waits[0][1], waits[0][0])}" if waits else ""
                text = f"{self.tally.summary(now)}{waiting}"
            self.step(text)

    def _pause(self) -> float:
        elapsed = time.monotonic() - self.tally.start
        return min(max(self._every, elapsed / 12), max(_RARELY, self._every))

    def conclude(self, extra: str = "") -> None:
        """Name what failed, and sum up. Failures are shown even to those who want silence."""
        for outcome in self._failed:
            assert outcome.error is not None
            name = str(outcome.path or outcome.object_id)
            message = outcome.error.message
            alike = self._alike[id(outcome.error)]
            if name in message:
                self._print(f"Error: {message}")
                if alike > 1:
                    self._print(f"  It stands for {alike - 1:,} more files.")
            else:
                self._print(f"Error: {name if alike == 1 else f'{alike:,} files'}: {message}")
            if outcome.error.hint:
                self._print(f"  {outcome.error.hint}")
        seconds = time.monotonic() - self.tally.start
        count = sum(self._counts.values())
        words = ", ".join(f"{self._counts[state]} {state}" for state in State if state in self._counts)
        moved = self.tally.moved
        rate = f" ({size(moved)} moved in {duration(seconds)}, {size(moved / max(seconds, 1e-9))}/s)" if moved else ""
        text = f"{count} file{'s' if count != 1 else ''}: {words or 'nothing to do'}{rate}{extra}."
        if self._failed:
            self._print(text)
        else:
            self.line(text)


class Live(Screen):
    """A moving display for a terminal: a row for each file under way, why it waits, and one for all."""

    def __init__(self, out: TextIO, *, force: bool = False) -> None:
        super().__init__(out)
        from rich.console import Console
        from rich.live import Live as Display

        self._console = Console(file=out, force_terminal=True if force else None, highlight=False)
        self._live = Display(
            get_renderable=self._render,
            console=self._console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()

    def _render(self) -> RenderableType:
        from rich.text import Text

        width, height = self._console.size
        with self._lock:
            lines = self.tally.lines(width - 1, height, time.monotonic())
        return Text("\n".join(lines), no_wrap=True, overflow="crop", end="")

    def _tell_wait(self, wait: Waiting, now: float) -> None:
        pass  # it stands in the display while it lasts

    def _print(self, text: str) -> None:
        """A line above the display."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def conclude(self, extra: str = "") -> None:
        """Sum up below where the display was."""
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()
        super().conclude(extra)


def make(display: Display, out: TextIO, *, live: bool = True) -> Screen:
    """The screen that fits the settings and the terminal; without ``live`` one of plain lines."""
    if display.silent or display.quiet:
        return Screen(out, progress=False, silent=display.silent)
    if live and (display.ansi or (display.ansi is None and out.isatty())):
        return Live(out, force=bool(display.ansi))
    return Screen(out)


def total(sizes: Iterable[int | None]) -> int | None:
    """The sum, None where one of them is not known."""
    known = 0
    for one in sizes:
        if one is None:
            return None
        known += one
    return known
