"""The calls of the file system, without FUSE: paths and numbers in, attributes, names and bytes out.

Errors of Score become OSErrors here, with a line in the log; nothing else of the file system suffers from them.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from score.client import errnos
from score.client.handles import Handle, Handles
from score.client.layout import LONGEST, distinct, fits
from score.errors import Cancelled, Conflict, Forbidden, NotFound, NotReady, ScoreError, Unauthenticated
from score.mount.index import File
from score.mount.repository import Repository

BLOCK = 512 * 1024
"""Bytes that are fetched and kept at a time: with a quarter of it a long read costs a quarter more processor time."""
PAGE = 1000
"""Names of a folder that are taken from the list at a time."""
AHEAD = 16
"""Analyses whose sizes are asked for before whoever goes through the folders comes to them."""
QUIET = 60.0
"""Seconds in which the same complaint is not made again."""
_COMPLAINTS = 1000
_VERSIONS = 10_000


class Layout(StrEnum):
    """How the files of a mount are arranged."""

    BUNDLE = "bundle"
    OBJECT_ID = "object-id"


@dataclass(slots=True)
class Tally:
    """What was done in a mount: files opened, reads and their bytes, errors that programs were given."""

    opened: int = 0
    reads: int = 0
    read: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to: a file, or a folder where that is None (with the analysis whose folder it is)."""

    file: File | None = None
    analysis: str = ""


class Tree:
    """The file system. Safe for threads. ``say`` takes lines for the log; with ``trace`` every open and close too."""

    use_ns = True

    def __init__(
        self,
        repository: Repository,
        handles: Handles,
        layout: Layout,
        say: Callable[[str], None],
        *,
        shared: bool = False,
        trace: bool = False,
    ) -> None:
        """``shared``: users other than the one who mounts may read."""
        self.tally = Tally()
        self._repository = repository
        self._handles = handles
        self._layout = layout
        self._say = say
        self._trace = trace
        self._readable = 0o444 if shared else 0o400
        self._enterable = 0o555 if shared else 0o500
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[str, Handle]] = {}
        self._versions: OrderedDict[str, str] = OrderedDict()
        self._corrected: dict[str, int] = {}
        """Objects of which the kernel may still remember another size than this one, which they have."""
        self._complaints: OrderedDict[str, float] = OrderedDict()
        self._began = time.time_ns()
        self._owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}

    def getattr(self, path: str, handle: Any = None) -> dict[str, int]:
        """Attributes of a file or folder. Where the metadata service does not tell the size of a file, and the file
        may not be read, size and permissions are 0."""
        with self._told(path):
            found = self._find(path).file
            if found is None:
                return self._attributes(stat.S_IFDIR | self._enterable, 0, self._began)
            try:
                file = self._repository.sized(found, lambda: self._following(found))
            except (Forbidden, NotReady, Unauthenticated):
                return self._attributes(stat.S_IFREG, 0, self._began)
            with self._lock:
                if self._corrected.get(file.object_id) == file.size:
                    del self._corrected[file.object_id]  # now the kernel is told
            modified = self._began if file.modified is None else int(file.modified * 1e9)
            return self._attributes(stat.S_IFREG | self._readable, file.size or 0, modified)

    def readdir_with_offset(self, path: str, offset: int, handle: Any = None) -> Iterator[tuple[str, int, int]]:
        """Names, kinds and places of what is in a folder, behind place ``offset``."""
        kind = stat.S_IFREG if self._layout is Layout.OBJECT_ID else stat.S_IFDIR
        with self._told(path):
            found = self._find(path)
            if found.file is not None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            for place, name in enumerate((".", ".."), 1):
                if offset < place:
                    yield name, stat.S_IFDIR, place
            if found.analysis:
                for place, (name, _) in enumerate(_named(self._repository.bundle(found.analysis)), 3):
                    if offset < place:
                        yield name, stat.S_IFREG, place
                return
            self._repository.wait()
            at = max(offset - 2, 0)
            while page := self._page(at):
                for at, name in page:
                    if fits(name):
                        yield name, kind, at + 2

    def open(self, path: str, info: Any) -> int:
        """Open a file; ``info`` is told its handle. Raises OSError where it may not be read."""
        if info.flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        with self._told(path):
            file = self._find(path).file
            if file is None:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            handle = self._handles.acquire(file.object_id, path.lstrip("/"))
            size = handle.remote.size
            if file.size != size:
                if file.size is not None:
                    self._say(f"{path}: {size:,} bytes, not {file.size:,} as registered.")
                self._repository.found(file, size)
            with self._lock:
                if file.size != size:
                    self._corrected[file.object_id] = size
                if file.object_id in self._corrected:
                    info.direct_io = 1  # the kernel was told another size, and would end there
                info.keep_cache = int(self._versions.get(file.object_id) == handle.remote.version)
                self._versions[file.object_id] = handle.remote.version
                self._versions.move_to_end(file.object_id)
                if len(self._versions) > _VERSIONS:
                    self._versions.popitem(last=False)
                info.fh = next(self._numbers)
                self._open[info.fh] = (path, handle)
                self.tally.opened += 1
        if self._trace:
            self._say(f"{path}: opened")
        return 0

    def read(self, number: int, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from an open file; gives the number of bytes, fewer only at its end.

        Waits while store or server are away.
        """
        name, handle = self._open[number]
        with self._told(name):
            try:
                count = handle.remote.read_into(offset, buffer)
            except Conflict:
                self._handles.discard(handle)
                raise
        with self._lock:
            self.tally.reads += 1
            self.tally.read += count
        return count

    def release(self, path: str | None, info: Any) -> int:
        """Close a file."""
        with self._lock:
            name, handle = self._open.pop(info.fh)
        self._handles.release(handle)
        if self._trace:
            self._say(f"{name}: closed")
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        """Of the file system: it has no size that anybody could tell."""
        return {
            "f_bsize": BLOCK,
            "f_frsize": 512,
            "f_namemax": LONGEST,
            "f_files": self._repository.index.count,
        }

    def close(self) -> None:
        """End all reading."""
        self._handles.close()

    def _find(self, path: str) -> Found:
        """What ``path`` leads to. Raises NotFound."""
        match path.strip("/").split("/") if path.strip("/") else []:
            case []:
                return Found()
            case [object_id] if self._layout is Layout.OBJECT_ID:
                return Found(self._repository.object(object_id))
            case [analysis] if self._may_be_there(analysis):
                self._repository.bundle(analysis)
                return Found(analysis=analysis)
            case [analysis, name] if self._layout is Layout.BUNDLE and self._may_be_there(analysis):
                files = self._repository.bundle(analysis)
                for shown, file in _named(files):
                    if shown == name:
                        return Found(file)
        raise NotFound(f"There is no {path}.")

    @staticmethod
    def _may_be_there(analysis: str) -> bool:
        """Nobody is asked for the hidden files that programs look for in every folder."""
        return fits(analysis) and not analysis.startswith(".")

    def _page(self, at: int) -> list[tuple[int, str]]:
        """What follows place ``at`` in the root."""
        index = self._repository.index
        if self._layout is Layout.BUNDLE:
            return index.bundles(at, PAGE)
        return [(file.seq, file.object_id) for file in index.after(at, PAGE)]

    def _following(self, file: File) -> list[File]:
        """Files whose sizes whoever goes through the folders in order asks for next."""
        index = self._repository.index
        if self._layout is Layout.OBJECT_ID:
            return index.after(file.seq, AHEAD)
        coming = index.bundles(index.place(file.analysis), AHEAD)
        return [files[0] for _, analysis in coming if (files := index.bundle(analysis))]

    def _attributes(self, mode: int, size: int, modified: int) -> dict[str, int]:
        return {
            "st_mode": mode,
            "st_nlink": 1,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_blksize": BLOCK,
            "st_mtime": modified,
            "st_ctime": modified,
            "st_atime": modified,
            **self._owner,
        }

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Errors of Score as OSErrors, and in the log. What is not there, or was stopped, is no error to tell of."""
        try:
            yield
        except NotFound as error:
            raise errnos.os_error(error, path) from error
        except ScoreError as error:
            with self._lock:
                self.tally.errors += 1
            if not isinstance(error, Cancelled):
                self._complain(path, error)
            raise errnos.os_error(error, path) from error

    def _complain(self, path: str, error: ScoreError) -> None:
        text = f"{path.lstrip('/')}: {error}"
        now = time.monotonic()
        with self._lock:
            if now - self._complaints.get(text, -QUIET) < QUIET:
                return
            self._complaints[text] = now
            self._complaints.move_to_end(text)
            while len(self._complaints) > _COMPLAINTS:
                self._complaints.popitem(last=False)
        self._say(text)


def _named(files: list[File]) -> list[tuple[str, File]]:
    """The files of one analysis by the names that are shown."""
    return list(zip(distinct((file.object_id, file.name) for file in files), files, strict=True))
