"""A remote object as a file of Python: read-only, seekable."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from score.reading.remote import RemoteObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LINE = 8192
"""Bytes looked at at a time for the end of a line."""


class RemoteFile(io.RawIOBase):
    """A file over a remote object, which it closes with itself.

    ``read`` gives all that was asked for, fewer bytes only at the end. The position is one for all threads that share
    the file; :meth:`read_at` has none. Errors are those of :class:`score.reading.remote.RemoteObject`.
    """

    mode = "rb"

    def __init__(self, remote: RemoteObject) -> None:
        """Asks the server for the object, so that what stands in the way of reading it is known at once."""
        self._remote = remote
        self._at = 0
        remote.open()

    def __repr__(self) -> str:
        return f"<RemoteFile {self.name}, {self.size:,} bytes{', closed' if self.closed else ''}>"

    @property
    def name(self) -> str:
        """The name of the file, as registered; its object id where that is not known."""
        return self._remote.name

    @property
    def object_id(self) -> str:
        """The object's id."""
        return self._remote.object_id

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self._remote.size

    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer only at the end; the file's position stays. Safe for threads."""
        self._check()
        return self._remote.read_at(offset, length)

    def read(self, size: int | None = -1, /) -> bytes:
        """``size`` bytes from the position, fewer only at the end; all the rest for -1 or None."""
        self._check()
        if size is None or size < 0:
            size = max(0, self.size - self._at)
        data = self._remote.read_at(self._at, size)
        self._at += len(data)
        return data

    def readall(self) -> bytes:
        """All the rest."""
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` from the position; gives the number of bytes, fewer only at the end."""
        self._check()
        with memoryview(buffer) as view, view.cast("B") as flat:
            count = self._remote.read_into(self._at, flat)
        self._at += count
        return count

    def readline(self, size: int | None = -1, /) -> bytes:
        """The bytes up to the end of the line, and that; at most ``size`` where that is not negative."""
        self._check()
        limit = self.size if size is None or size < 0 else size
        found: list[bytes] = []
        count = 0
        while count < limit:
            data = self._remote.read_at(self._at, min(LINE, limit - count))
            end = data.find(b"\n") + 1
            piece = data[:end] if end else data
            found.append(piece)
            self._at += len(piece)
            count += len(piece)
            if end or not data:
                break
        return b"".join(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to ``offset`` bytes from the start, the position or the end; gives the new position.

        Raises ValueError for a place before the start. A place beyond the end is allowed, as in every file.
        """
        self._check()
        match whence:
            case os.SEEK_SET:
                at = offset
            case os.SEEK_CUR:
                at = self._at + offset
            case os.SEEK_END:
                at = self.size + offset
            case _:
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if at < 0:
            raise ValueError(f"negative seek position {at}")
        self._at = at
        return at

    def tell(self) -> int:
        """The position, in bytes from the start."""
        self._check()
        return self._at

    def readable(self) -> bool:
        """True."""
        self._check()
        return True

    def seekable(self) -> bool:
        """True."""
        self._check()
        return True

    def close(self) -> None:
        """End reading; may be repeated."""
        if not self.closed:
            self._remote.close()
        super().close()

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
