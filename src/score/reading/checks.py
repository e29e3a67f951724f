"""The MD5s of an object's parts, compared where the blocks of a whole part have been fetched.

A part can only be hashed in order. So each part that is read from its start is hashed as far as its blocks are there;
a part of which a block was never fetched, or left the cache before its turn, stays unproven.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence

from score.errors import Integrity
from score.protocol.digests import new_md5
from score.protocol.parts import Span
from score.protocol.wire import Part

UNDER_WAY = 32
"""Parts of one object that are hashed at a time; the longest untouched one is given up for another."""


class _Check:
    """One part on its way: the bytes before ``at`` are hashed."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.at = part.offset
        self.digest = new_md5()
        self.lock = threading.Lock()


class PartChecks:
    """The parts of one object. ``block`` gives a fetched block by its number, None where it is not there (any more).

    Safe for threads.
    """

    def __init__(self, parts: Sequence[Part], size: int, block: Callable[[int], bytes | None], length: int) -> None:
        """``length`` is that of a block, ``size`` that of the object, in bytes."""
        self._parts = sorted((part for part in parts if part.part_size > 0), key=lambda part: part.offset)
        self._offsets = [part.offset for part in self._parts]
        self._size = size
        self._block = block
        self._length = length
        self._under_way: OrderedDict[int, _Check] = OrderedDict()
        self._lock = threading.Lock()
        self._damaged: dict[int, str] = {}
        self.proven: set[int] = set()
        """Numbers of the parts that were found to be as uploaded."""

    def arrived(self, number: int) -> None:
        """A block is there: hash what can be hashed now."""
        start = number * self._length
        for part in self._touched(Span(start, min(self._length, self._size - start))):
            check = self._check(part, begin=part.offset >= start)
            if check is None or check.at // self._length != number:
                continue
            while check.lock.acquire(blocking=False):  # whoever holds it looks again before leaving
                try:
                    through = self._advance(check)
                finally:
                    check.lock.release()
                if through or self._block(check.at // self._length) is None:
                    break

    def settle(self, span: Span) -> None:
        """To be called before ``span``, whose blocks are there, is given to a reader.

        Raises Integrity where it holds the end of a part, or any byte of one, that is not as it was uploaded.
        """
        for part in self._touched(span):
            if part.offset + part.part_size <= span.end:
                check = self._check(part, begin=False)
                if check is not None:
                    with check.lock:
                        self._advance(check)
            if part.part_number in self._damaged:
                raise _damage(part, self._damaged[part.part_number])

    def in_order(self) -> InOrder:
        """The same for bytes that come in order, past the cache."""
        return InOrder(self._touched, self.proven)

    def forget(self, span: Span) -> list[Part]:
        """The damaged parts of ``span``, which are looked at anew from now on."""
        with self._lock:
            found = [part for part in self._touched(span) if self._damaged.pop(part.part_number, None)]
            for part in found:
                self._under_way.pop(part.part_number, None)
            return found

    def _touched(self, span: Span) -> list[Part]:
        """The parts with an MD5 that have bytes in ``span``."""
        first = max(0, bisect_right(self._offsets, span.offset) - 1)
        found = []
        for number in range(first, len(self._parts)):
            part = self._parts[number]
            if part.offset >= span.end:
                break
            if part.source_md5 and part.span.end > span.offset:
                found.append(part)
        return found

    def _check(self, part: Part, *, begin: bool) -> _Check | None:
        with self._lock:
            if part.part_number in self.proven or part.part_number in self._damaged:
                return None
            check = self._under_way.get(part.part_number)
            if check is None and begin:
                check = self._under_way[part.part_number] = _Check(part)
                while len(self._under_way) > UNDER_WAY:
                    self._under_way.popitem(last=False)
            elif check is not None:
                self._under_way.move_to_end(part.part_number)
            return check

    def _advance(self, check: _Check) -> bool:
        """Hash on, as far as blocks are there; compare at the end. Whether it is through. Under the check's lock."""
        part = check.part
        end = part.offset + part.part_size
        while check.at < end:
            number, skip = divmod(check.at, self._length)
            data = self._block(number)
            if data is None:
                return False
            view = memoryview(data)[skip : skip + end - check.at]
            check.digest.update(view)
            check.at += len(view)
        with self._lock:
            self._under_way.pop(part.part_number, None)
            md5 = check.digest.hexdigest()
            if md5 == part.source_md5:
                self.proven.add(part.part_number)
            elif part.part_number not in self.proven:
                self._damaged[part.part_number] = md5
        return True


class InOrder:
    """The parts of one object, of which spans come in ascending order. Not safe for threads."""

    def __init__(self, touched: Callable[[Span], list[Part]], proven: set[int]) -> None:
        self._touched = touched
        self._proven = proven
        self._check: _Check | None = None

    def take(self, offset: int, data: memoryview) -> None:
        """To be called before ``data`` is given to a reader. Raises Integrity where it holds the end of a part that
        was taken whole, and is not as it was uploaded."""
        for part in self._touched(Span(offset, len(data))):
            if part.offset >= offset:
                self._check = _Check(part)
            check = self._check
            if check is None or check.part is not part or check.at < offset:
                continue  # a piece of it did not come
            piece = data[check.at - offset : part.span.end - offset]
            check.digest.update(piece)
            check.at += len(piece)
            if check.at == part.span.end:
                md5 = check.digest.hexdigest()
                if md5 != part.source_md5:
                    raise _damage(part, md5)
                self._proven.add(part.part_number)


def _damage(part: Part, md5: str) -> Integrity:
    return Integrity(
        f"Part {part.part_number} (bytes {part.offset:,} to {part.span.end:,}) has MD5 {md5}, but was uploaded with "
        f"{part.source_md5}.",
        hint="What was read of it is wrong. Read it again; if it stays so, tell the operator.",
    )
