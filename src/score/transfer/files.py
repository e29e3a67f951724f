"""Local files at both ends of a transfer. Plain ``open``, ``seek``, ``readinto``: nothing that only POSIX has."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from score.errors import Conflict, Integrity, Invalid, NoSpace, NotFound, Refused, ScoreError
from score.protocol.digests import new_md5
from score.protocol.parts import Span
from score.transfer.budget import LARGEST_CHUNK as CHUNK

CHECK = "Check the path."
"""What to do, where nothing better is known."""
OTHER_FOLDER = "Name another --output-dir."
TEMPORARY = "The folder of temporary files, TMPDIR"
"""How messages call it."""
_UMASK = os.umask(0o077)  # it can only be read by setting it, which is safest before there are threads
os.umask(_UMASK)
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
"""How a file is opened that nobody else had a part in: a link that somebody put in its place leads nowhere."""


def translate(error: OSError, path: Path | str) -> ScoreError:
    """The error that a user reads for a failed call on a local file."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return NoSpace(
                f"{path}: {reason}.",
                hint="Free some space, or inodes (df -i), then run the same command again: what is done is kept.",
            )
        case errno.ENOENT | errno.ENOTDIR:
            return NotFound(f"{path}: {reason}.", hint=CHECK)
        case errno.EIO | errno.ESTALE | errno.ENOTCONN | errno.ETIMEDOUT:
            return Refused(
                f"{path}: {reason}.",
                hint="The disk fails, or the way to it. Once that is mended, run the same command again.",
            )
        case errno.EROFS:
            return Refused(
                f"{path}: {reason}.",
                hint="Use another folder. If this one could be written to before, look after its disk.",
            )
        case errno.EFBIG:
            return Refused(
                f"{path}: {reason}.",
                hint="The file system takes no file of that size, or ulimit -f forbids it. Use another folder.",
            )
        case errno.ENAMETOOLONG:
            return Refused(
                f"{path}: {reason}.", hint="Use a shorter path. Downloads have short names with --output-layout id."
            )
        case errno.ELOOP:
            return Refused(f"{path}: {reason}.", hint="Remove the link that lies there.")
        case errno.EMFILE | errno.ENFILE:
            return Refused(
                f"{path}: {reason}.",
                hint="Allow more open files (ulimit -n), or give a smaller --transport.parallel.",
            )
        case _:
            return Refused(f"{path}: {reason}.", hint="Check the path, and who may read and write there.")


@contextmanager
def translated(path: Path | str) -> Iterator[None]:
    """Whatever fails within, on the local file ``path``, as :func:`translate` has it. Also around what closes the
    file: file systems of a network tell only then of a disk that is full or broken."""
    try:
        yield
    except OSError as error:
        raise translate(error, path) from error


def read_span(file: FileIO, span: Span, size: int = CHUNK) -> Iterator[memoryview]:
    """The bytes of a span of an open file, in chunks of one buffer of ``size`` bytes: each is gone when the next is
    asked for.

    Raises Integrity where the file ends before the span does.
    """
    buffer = memoryview(bytearray(min(size, span.length)))
    at = span.offset
    file.seek(at)
    while at < span.end:
        count = file.readinto(buffer[: min(size, span.end - at)])
        if not count:
            raise Integrity(
                f"{file.name} ends at byte {at}, but it was longer when the transfer began.",
                hint="Leave the file alone while it is moved, then run the same command again.",
            )
        yield buffer[:count]
        at += count


def md5_of_span(file: FileIO, span: Span, check: Callable[[], None] = lambda: None) -> str:
    """MD5 in hex of a span of an open file. ``check`` is called between chunks and may raise."""
    digest = new_md5()
    for chunk in read_span(file, span):
        check()
        digest.update(chunk)
    return digest.hexdigest()


def require_regular(path: Path) -> None:
    """Raises where ``path`` is no file that can be read twice: NotFound, Invalid (a folder, a pipe) or Refused."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise translate(error, path) from error
    except ValueError as error:
        raise Invalid(f"{str(path)!r} cannot be the name of a file.", hint=CHECK) from error
    if stat.S_ISDIR(mode):
        raise Invalid(f"{path} is a folder.", hint="Name the file, or a manifest of the files in the folder.")
    if not stat.S_ISREG(mode):
        raise Invalid(f"{path} is no regular file.", hint="Pipes and devices cannot be sent again after a failure.")


def is_there(path: Path) -> bool:
    """Whether anything is at ``path``, a link that leads nowhere too. Raises Refused where it cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise translate(error, path) from error
    return True


class Source:
    """A local file to be sent or compared. Raises NotFound, Invalid (no regular file) or Refused when it is made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        require_regular(path)
        with translated(path), FileIO(path) as file:
            self._identity = self._identify(file)
        self.size = self._identity[2]

    @staticmethod
    def _identify(file: FileIO) -> tuple[int, ...]:
        found = os.fstat(file.fileno())
        # The change time too, where there is one: it tells of a change whose modification time was set back.
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def open(self) -> FileIO:
        """The file, open for reading. Raises Integrity where it is not the file it was at the start."""
        try:
            with ExitStack() as otherwise:
                file = otherwise.enter_context(FileIO(self.path))
                if self._identify(file) == self._identity:
                    otherwise.pop_all()
                    return file
        except FileNotFoundError as error:
            raise self._changed() from error
        except OSError as error:
            raise translate(error, self.path) from error
        raise self._changed()

    def _changed(self) -> Integrity:
        return Integrity(
            f"{self.path} was changed, replaced or removed while it was being read; nothing was completed.",
            hint="Leave the file alone meanwhile, and run the same command again.",
        )

    def check(self) -> None:
        """Raises Integrity where the file is not what it was at the start."""
        with translated(self.path):
            self.open().close()

    @property
    def unchanged(self) -> bool:
        """Whether the file is what it was at the start, as far as it can be read."""
        try:
            self.check()
        except ScoreError:
            return False
        return True


class Target:
    """A local file of ``size`` bytes, put together from parts in any order by several threads.

    ``start`` is the byte of the object with which the file begins.
    """

    def __init__(self, path: Path, size: int, start: int = 0) -> None:
        self.path = path
        self.size = size
        self.start = start
        self._prepared: os.stat_result

    def prepare(self) -> None:
        """Make the file, or make it as long as it has to be; what is in it stays. No other one is settled."""
        with translated(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o666)
            try:
                self._prepared = os.fstat(descriptor)
                if self._prepared.st_size != self.size:
                    os.ftruncate(descriptor, self.size)
            finally:
                os.close(descriptor)

    def open(self) -> FileIO:
        """The file, open for reading and writing; every thread has its own."""
        with translated(self.path):
            return FileIO(self.path, "r+", opener=lambda path, flags: os.open(path, flags | _PLAIN))

    @contextmanager
    def opened(self) -> Iterator[FileIO]:
        """:meth:`open` until the end of the block. What fails on the file within it, and when it is closed, is raised
        as an error of Score."""
        with translated(self.path), self.open() as file:
            yield file

    def settle(self, place: Path, *, replace: bool, kept: bool = True) -> None:
        """Move the finished file to its place. Conflict where something is there and ``replace`` is false, Integrity
        or Refused where it is not the file any more that was prepared. ``kept``: whether it stays where it is if it
        cannot be moved. One that does not is nobody else's until then, and becomes as readable as any new file."""
        with self.opened() as file:
            if not os.path.samestat(os.fstat(file.fileno()), self._prepared):
                raise self._replaced(self.path)
            if not kept:
                os.chmod(file.fileno() if os.chmod in os.supports_fd else self.path, 0o666 & ~_UMASK)
        if place == self.path:
            return
        where = f"The download is at {self.path}. " if kept else ""
        try:
            if not place.parent.is_dir():
                if is_there(place.parent):
                    raise Conflict(
                        f"{place}: {place.parent} is no folder.",
                        hint=f"{where}Remove what is there, or name another --output-dir.",
                    )
                place.parent.mkdir(parents=True, exist_ok=True)
            if place.parent != self.path.parent and place.parent.is_symlink():
                raise Refused(
                    f"{place.parent} is a link; the file would lie somewhere else than in {self.path.parent}.",
                    hint=f"{where}Remove the link, or name another --output-dir.",
                )
            if replace:
                os.replace(self.path, place)
            else:
                _move_to_free(self.path, place)
            # What came between is looked for too. Not by its number: some file systems give each name its own.
            moved = place.lstat()
            if not stat.S_ISREG(moved.st_mode) or moved.st_size != self.size:
                raise self._replaced(place)
        except FileExistsError as error:
            raise Conflict(
                f"{place} appeared while the object was being downloaded; it was not replaced.",
                hint=f"{where}Remove what is there, or add --force.",
            ) from error
        except OSError as error:
            raise translate(error, place) from error

    def _replaced(self, path: Path) -> Integrity:
        return Integrity(
            f"{path} is not the file that was downloaded: it was replaced meanwhile.",
            hint="Remove it, then run the same command again, and leave its files alone meanwhile.",
        )


def _move_to_free(path: Path, place: Path) -> None:
    """Move a file to a place where nothing is. Raises FileExistsError where something is, from whatever moment on.

    A file gets a second name and loses its first: that, unlike a move, replaces nothing. A crash between the two
    leaves both (:func:`finish_move`). Where a file system has no second names, as FAT, or refuses them, what is there
    is looked for just before the move.
    """
    try:
        os.link(path, place)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        if is_there(place):
            raise FileExistsError(place) from None
        os.rename(path, place)  # which on Windows replaces nothing, and says itself what is wrong
    else:
        os.unlink(path)


def finish_move(path: Path, place: Path) -> None:
    """Take away the first name of a file that a crash left with both: what is written there would be written to the
    file in its place."""
    try:
        if os.path.samestat(path.lstat(), place.lstat()):
            path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise translate(error, path) from error


def write_all(file: FileIO, data: memoryview | bytes) -> None:
    """Write all of ``data`` at the present place; a plain write may be cut short when a disk fills up."""
    rest = memoryview(data)
    while rest:
        written = file.write(rest)
        rest = rest[written or 0 :]


def check_space(folder: Path, needed: int) -> None:
    """NoSpace where the disk of ``folder`` has less than ``needed`` bytes free."""
    with translated(folder):
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpace(
            f"{folder}: {needed:,} bytes are needed and {free:,} are free.",
            hint="Free some space or name another --output-dir, then run the same command again.",
        )


def nearest_folder(folder: Path) -> Path:
    """``folder``, or the first above it that is there, in which it would be made. Raises Invalid where that is a
    file, Refused where nothing can be made in it."""
    place = folder
    while place != place.parent and not is_there(place):
        place = place.parent
    if not os.path.isdir(place):
        raise Invalid(f"{folder} cannot be the output folder: {place} is no folder.", hint=OTHER_FOLDER)
    if not os.access(place, os.W_OK | os.X_OK):
        raise Refused(f"{folder}: nothing can be written in {place}.", hint=OTHER_FOLDER)
    return place


def make_folder(folder: Path) -> None:
    """Make an output folder, and those above it, where they are not there. Raises Invalid where a file is in the way,
    NoSpace, Refused."""
    with translated(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            nearest_folder(folder)
            raise


def allocated(path: Path) -> int:
    """Bytes of the disk that a file takes now; 0 where there is none. Its length where the system does not tell."""
    try:
        found = path.stat()
    except OSError:
        return 0
    blocks = getattr(found, "st_blocks", None)
    return found.st_size if blocks is None else min(blocks * 512, found.st_size)
