"""How far to read ahead: nothing for random access, more and more for a reader that goes on where it stopped. Pure.

An object may have several readers at once (threads, or the regions of one program), so several places where a reader
stopped are remembered. Sequential reading doubles its window each time half of it is used up.
"""

from __future__ import annotations

from dataclasses import dataclass

from score.protocol.parts import MIB, Span

FIRST = 256 * 1024
"""Bytes read ahead when a reader is first seen to go on."""
MOST = 32 * MIB
"""Bytes read ahead at most: 250 MB/s need 5 MB under way behind 20 ms, and some to spare for waits."""
SLACK = 128 * 1024
"""Bytes that a reader may skip, or go back, and still count as going on."""
READERS = 16
"""Readers of one object that are told apart."""


@dataclass(slots=True)
class _Reader:
    """``at``: where it stopped; ``window``: bytes to be ahead of it, 0 for random access; ``asked``: end of what was
    asked for ahead of it."""

    at: int
    window: int = 0
    asked: int = 0


class ReadAhead:
    """The readers of one object. Not safe for threads."""

    def __init__(self) -> None:
        self._readers: list[_Reader] = []

    @property
    def sequential(self) -> int:
        """How many readers go on where they stopped."""
        return sum(1 for reader in self._readers if reader.window)

    def note(self, span: Span, limit: int = MOST) -> Span:
        """Note a read of ``span``; gives what to fetch beyond it, an empty span for nothing.

        ``limit`` bounds the window, in bytes.
        """
        reader = self._find(span)
        if reader is None:
            self._readers.insert(0, _Reader(span.end))
            del self._readers[READERS:]
            return Span(span.end, 0)
        self._readers.remove(reader)
        self._readers.insert(0, reader)
        if span.end <= reader.at:
            return Span(span.end, 0)  # the same bytes again
        reader.at = span.end
        ahead = max(reader.asked, reader.at)
        if reader.window and ahead - reader.at > reader.window // 2:
            return Span(ahead, 0)
        reader.window = min(max(FIRST, reader.window * 2), limit)
        reader.asked = max(ahead, reader.at + reader.window)
        return Span(ahead, reader.asked - ahead)

    def _find(self, span: Span) -> _Reader | None:
        """The reader that goes on with ``span``."""
        return next((reader for reader in self._readers if self._goes_on(reader, span.offset)), None)

    @staticmethod
    def _goes_on(reader: _Reader, offset: int) -> bool:
        """Where something is read ahead, reads may come in any order within it: a kernel asks for several at once."""
        slack = max(SLACK, reader.window // 4)
        return reader.at - slack <= offset <= max(reader.at + slack, reader.asked if reader.window else 0)
