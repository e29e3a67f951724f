"""An open object as fsspec's users expect it: errors are OSErrors, and it can be pickled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from score.client import errnos
from score.client.handles import Handle, Handles
from score.errors import Conflict, ScoreError
from score.protocol.parts import Span
from score.reading import RemoteFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from score.filesystem.system import ScoreFileSystem


@contextmanager
def as_os_error(path: str) -> Iterator[None]:
    """Errors of Score as FileNotFoundError, PermissionError or another OSError that names ``path``."""
    try:
        yield
    except ScoreError as error:
        raise errnos.os_error(error, path) from error


class ScoreFile(RemoteFile):
    """A read-only, seekable file. A pickled one is opened again where it is unpickled, at the same position."""

    def __init__(self, fs: ScoreFileSystem, path: str, handles: Handles, handle: Handle) -> None:
        """For :meth:`score.filesystem.ScoreFileSystem.open`. Takes over ``handle``, an opened one of ``handles``."""
        super().__init__(handle.remote)
        self.fs = fs
        self.path = path
        self._handles = handles
        self._handle = handle

    def __reduce__(self) -> Any:
        return _reopen, (self.fs, self.path, self.tell())

    @property
    def full_name(self) -> str:
        """The URL."""
        return f"score://{self.path}"

    def info(self) -> dict[str, Any]:
        """What is known of the file."""
        found: dict[str, Any] = self.fs.info(self.path)
        return found

    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer only at the end; the file's position stays. Safe for threads."""
        with self._reading():
            return super().read_at(offset, length)

    def stream(self, spans: list[Span], gap: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of ``spans``, see :meth:`score.reading.remote.RemoteObject.stream`."""
        with self._reading():
            yield from self._handle.remote.stream(spans, gap)

    def read(self, size: int | None = -1, /) -> bytes:
        """``size`` bytes from the position, fewer only at the end; all the rest for -1 or None."""
        with self._reading():
            return super().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """As :meth:`read`: every read is one call."""
        return self.read(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` from the position; gives the number of bytes, fewer only at the end."""
        with self._reading():
            return super().readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """The bytes up to the end of the line, and that; at most ``size`` where that is not negative."""
        with self._reading():
            return super().readline(size)

    def close(self) -> None:
        """End reading; may be repeated."""
        if not self.closed and (handle := getattr(self, "_handle", None)) is not None:
            self._handles.release(handle)
        super(RemoteFile, self).close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors as those of files; after an object was replaced, whoever opens it next gets the new one."""
        with as_os_error(self.path):
            try:
                yield
            except Conflict:
                self._handles.discard(self._handle)
                raise


def _reopen(fs: ScoreFileSystem, path: str, at: int) -> ScoreFile:
    file: ScoreFile = fs.open(path)
    file.seek(at)
    return file
