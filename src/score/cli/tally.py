"""How far a run is: what is counted, and how it is put into lines of a given width. Pure: times are arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

from score.client.outcome import State
from score.transfer.events import ENDLESS, Checked, Ended, Event, Moved, PartDone, Planned, Verifying, Waiting

WINDOW = 20.0
"""Seconds over which the present rate is taken."""
SLOW = 1.0
"""Seconds without a sign of life after which it is said what the run waits for."""
UNMOVED = (State.PRESENT, State.PLANNED)
"""How objects end that did not have to move; whoever knows their size tells of it by :meth:`Tally.skip`."""
_UNITS = ("B", "KiB", "MiB", "GiB")


def size(count: float) -> str:
    """A number of bytes for people: ``1.5 GiB``."""
    for unit in _UNITS:
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"


def duration(seconds: float) -> str:
    """A time for people: ``2:05:09``, ``5:09``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cells(text: str) -> int:
    """How many places of a terminal a text takes."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, width: int) -> str:
    """``text`` in at most ``width`` places; what does not fit is cut out of its middle."""
    if cells(text) <= width:
        return text
    if width <= 1:
        return "…"[: max(width, 0)]
    tail, room = "", (width - 1) // 2
    for character in reversed(text):
        if cells(character + tail) > room:
            break
        tail = character + tail
    head, room = "", width - 1 - cells(tail)
    for character in text:
        if cells(head + character) > room:
            break
        head += character
    return f"{head}…{tail}"


def wait_text(wait: Waiting, seconds: float) -> str:
    """Why a call waits: ``retry 3/10 in 8 s: GET http://store/x: the store answered 503``."""
    return _wait_texts(wait, seconds)[0]


def _wait_texts(wait: Waiting, seconds: float) -> Sequence[str]:
    """Why a call waits, in ever fewer words: first without the address, then without the number of tries."""
    said = f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    why = wait.why.rstrip(".")
    short = why.rpartition(": ")[2]
    limit = "" if wait.attempts >= ENDLESS else f"/{wait.attempts - 1}"
    count = f"retry {wait.attempt}{limit} in {said}"
    return f"{count}: {why}", f"{count}: {short}", f"{said}: {short.removeprefix('the store answered ')}"


@dataclass(slots=True)
class Item:
    """One file under way."""

    size: int
    parts: int
    done: int
    done_parts: int
    checking: bool = False
    verified: int | None = None


class Tally:
    """What a run has done. ``files`` and ``size`` (bytes) are those of the whole run, None where not known."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.files: int | None = None
        self.size: int | None = None
        self.items: dict[str, Item] = {}
        self.ended = 0
        self.moved = 0
        self._settled = 0
        self._worked = 0
        self._samples: deque[tuple[float, int]] = deque([(start, 0)])
        self._waits: dict[str, tuple[float, Waiting]] = {}

    def take(self, event: Event, now: float) -> None:
        """Count an event."""
        match event:
            case Planned(item, total, parts, done, done_parts):
                self.items[item] = Item(total, parts, done, done_parts)
            case Moved(item, count) | Checked(item, count):
                self.moved += count if isinstance(event, Moved) else 0
                self._worked += count
                self._sample(now)
                if item in self.items:
                    self.items[item].done += count
                    self.items[item].checking = isinstance(event, Checked)
            case PartDone(item, _) if item in self.items:
                self.items[item].done_parts += 1
            case Verifying(item, read) if item in self.items:
                self.items[item].verified = read
            case Waiting(what):
                self._waits[what] = (now + event.seconds, event)
            case Ended(item, state):
                self.ended += 1
                known = self.items.pop(item, None)
                self._settled += known.size if known and state not in UNMOVED else 0
            case _:
                pass

    def skip(self, count: int) -> None:
        """An object of ``count`` bytes ended in a state of :data:`UNMOVED`."""
        self._settled += count

    def _sample(self, now: float) -> None:
        if now - self._samples[-1][0] >= 0.5:
            self._samples.append((now, self._worked))
        while len(self._samples) > 2 and now - self._samples[1][0] > WINDOW:
            self._samples.popleft()

    def rate(self, now: float) -> float:
        """Bytes a second, of late."""
        then, worked = self._samples[0]
        return max(self._worked - worked, 0) / max(now - then, 0.1)

    @property
    def done(self) -> int:
        """Bytes of the run that are where they should be, or need not be."""
        return self._settled + sum(min(item.done, item.size) for item in self.items.values())

    @property
    def total(self) -> int | None:
        """Bytes of the whole run, None where they are not known yet."""
        if self.size is not None:
            return self.size
        if self.files is not None and self.ended + len(self.items) >= self.files:
            return self._settled + sum(item.size for item in self.items.values())
        return None

    def left(self, now: float) -> float | None:
        """Seconds until the end, None where nobody knows."""
        total, rate = self.total, self.rate(now)
        return max(total - self.done, 0) / rate if total is not None and rate > 0 else None

    def waits(self, now: float) -> list[tuple[float, Waiting]]:
        """The calls that wait, with the seconds that they still do, the longest first."""
        self._waits = {what: wait for what, wait in self._waits.items() if wait[0] > now}
        return sorted(((until - now, wait) for until, wait in self._waits.values()), key=lambda one: -one[0])

    def summary(self, now: float) -> str:
        """The run in one line."""
        return self._summaries(now)[0]

    def _summaries(self, now: float) -> Sequence[str]:
        """The run in one line, in ever fewer words."""
        total, rate, left = self.total, self.rate(now), self.left(now)
        count = f"{self.ended}" + (f"/{self.files}" if self.files is not None else "")
        files = f"{count} file{'' if (self.files or self.ended) == 1 else 's'}"
        moved = f"{size(self.done)} of {size(total)}" if total is not None else size(self.done)
        if self.items and all(item.checking or item.verified is not None for item in self.items.values()):
            moved = f"checking {moved}"
        percent = f"{100 * self.done // total}%" if total else ""
        end = duration(left) if left is not None else ""
        speed = f"{size(rate)}/s"
        pieces = (
            (files, moved, speed, end and f"{end} left"),
            (files, percent or moved, speed, end),
            (count, percent or moved, end or speed),
            (percent or moved, end),
            (percent or count,),
        )
        return [", ".join(filter(None, words)) for words in pieces]

    def lines(self, width: int, height: int, now: float) -> list[str]:
        """The run for a terminal of that many columns and rows: files under way, why it waits, and the whole."""
        shown: list[str] = []
        waits = self.waits(now)
        if waits:
            seconds, wait = waits[0]
            others = f" (and {len(waits) - 1} more)" if len(waits) > 1 else ""
            shown.append(_first_fitting([text + others for text in _wait_texts(wait, seconds)], width))
        begun = self.items or self.ended or self.files
        if begun:
            shown.append(_first_fitting(self._summaries(now), width))
        elif not waits and now - self.start > SLOW:
            shown.append(_cut("waiting for an answer", width))
        room = max(height - 1 - len(shown), 0)
        items = list(self.items.items())
        hidden = len(items) - room
        if hidden > 0:
            items = items[: max(room - 1, 0)]
            shown.insert(0, _cut(f"… and {hidden + 1 if room else hidden} more files", width))
        return [self._row(name, item, width) for name, item in items] + shown[-max(height - 1, 1) :]

    def _row(self, name: str, item: Item, width: int) -> str:
        done = item.done if item.verified is None else item.verified
        percent = 100 * min(done, item.size) // item.size if item.size else 100
        short = f"{percent:3d}%"
        if width < 50:
            ends = [short]
        else:
            state = f"{item.done_parts}/{item.parts} parts"
            if item.verified is not None or item.checking:
                state = "checking" if item.verified is None else "checking MD5"
            bar = ("█" * (percent // 10)).ljust(10, "·")
            ends = [bar, short, f"{size(item.size):>9}", f"{state:>12}"] if width >= 70 else [short, f"{state:>12}"]
        end = " ".join(ends)
        room = max(width - cells(end) - 1, 0)
        title = fit(name.rsplit("/", 1)[-1] if cells(name) > room else name, room)
        return f"{title}{' ' * (room - cells(title))} {end}"[:width] if room else _cut(end, width)


def _first_fitting(texts: Sequence[str], width: int) -> str:
    """The first of some texts that fits, else the beginning of the last one."""
    return next((text for text in texts if cells(text) <= width), _cut(texts[-1], width))


def _cut(text: str, width: int) -> str:
    """The beginning of a text, with a mark where it goes on."""
    if cells(text) <= width:
        return text
    kept = ""
    for character in text:
        if cells(kept + character) > width - 1:
            break
        kept += character
    return kept + "…"
