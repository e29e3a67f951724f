"""Bytes for htslib, in order, through a pipe: it opens a file descriptor and knows of nothing behind it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO

from score.protocol.parts import MIB

_SET_PIPE_SIZE = 1031
"""``F_SETPIPE_SZ`` of Linux; other systems keep the size that their pipes have."""


def piped(file: BinaryIO) -> Feed:
    """A file of Python, from where it stands to its end, for a program that opens file descriptors only."""
    return Feed(iter(lambda: file.read(MIB), b""))


class Feed:
    """Writes pieces into a pipe, from a thread of its own; ``fd`` is the end to read from. A context manager.

    Leaving it raises what making the pieces raised, in the place of whatever the reader made of the early end.
    ``pysam`` takes it for a file, which it reads once, in order.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.fd, self._to = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._to, _SET_PIPE_SIZE, MIB)
        self._pieces = pieces
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="feed", daemon=True)
        self._thread.start()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._thread.join()
        if self._error is not None and not isinstance(error, KeyboardInterrupt):
            raise self._error from None

    def fileno(self) -> int:
        """``fd``, as of a file."""
        return self.fd

    def close(self) -> None:
        """Close our copy of the end to read from."""
        if not self._closed:
            self._closed = True
            os.close(self.fd)

    def _write(self) -> None:
        try:
            for piece in self._pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._to, view) :]
        except BrokenPipeError:
            pass  # the reader has what it wanted
        except BaseException as error:  # noqa: BLE001 - raised where the feed is left
            self._error = error
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
            os.close(self._to)
