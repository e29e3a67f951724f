"""Lists that may have a million lines, for as long as a run lasts: some ten bytes of memory a line, not hundreds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from score.protocol.ids import check_object_id

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BLOCK = 500
"""Items that are compressed together."""
_END = "\0"
"""Between two texts: the one character that no path has."""
_ANY = "surrogatepass"
"""How texts are encoded: of whatever characters, for a path of Windows may hold half a pair of surrogates."""
_KEY = 16
"""Bytes that stand for a text: of two among a million, the odds that they are the same are 1 to 10^26."""


class Counted(Protocol[T_co]):
    """What can be counted, and gone through more than once."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[T_co]: ...


class Packed(Generic[T]):
    """Items in their order, kept as compressed text: a million lines of a manifest take some 50 MB."""

    def __init__(self, write: Callable[[T], str], read: Callable[[str], T], items: Iterable[T] = ()) -> None:
        """``write`` makes a text without NUL of an item, ``read`` the item of the text."""
        self._write = write
        self._read = read
        self._blocks: list[bytes] = []
        self._last: list[str] = []
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        self._last.append(self._write(item))
        if len(self._last) == BLOCK:
            text = _END.join(self._last)
            self._blocks.append(zlib.compress(text.encode("utf-8", _ANY), 1))
            self._last = []

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._last)

    def __iter__(self) -> Iterator[T]:
        for block in self._blocks:
            yield from map(self._read, zlib.decompress(block).decode("utf-8", _ANY).split(_END))
        yield from map(self._read, self._last)


def packed_ids(ids: Iterable[str]) -> Packed[str]:
    """Object ids, each once, in their order. Raises Invalid where one is none."""
    known = Known()
    return Packed(str, str, (one for one in ids if known.add(check_object_id(one)) is None))


class Known:
    """Texts that came before, and something of ``width`` bytes that is kept of each; a text takes 16 bytes."""

    def __init__(self, width: int = 0) -> None:
        self._buckets: dict[int, bytearray] = {}
        self._entry = _KEY + width

    def _find(self, text: str) -> tuple[bytearray, bytes, int]:
        """The bucket that a text belongs in, its key, and where it is; -1: nowhere."""
        key = blake2b(text.encode("utf-8", _ANY), digest_size=_KEY).digest()
        bucket = self._buckets.setdefault(int.from_bytes(key[:2], "big") >> 4, bytearray())
        at = bucket.find(key)
        while at > 0 and at % self._entry:  # within others
            at = bucket.find(key, at + 1)
        return bucket, key, at

    def add(self, text: str, value: bytes = b"") -> bytes | None:
        """Keep a text that is new; of one that came before, what was kept of it then, else None."""
        bucket, key, at = self._find(text)
        if at >= 0:
            return bytes(bucket[at + _KEY : at + self._entry])
        if len(value) != self._entry - _KEY:
            raise ValueError(f"{len(value)} bytes instead of {self._entry - _KEY}")
        bucket += key + value
        return None

    def discard(self, text: str) -> None:
        """Forget a text."""
        bucket, _, at = self._find(text)
        if at >= 0:
            del bucket[at : at + self._entry]

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self._find(text)[2] >= 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values())) // self._entry
