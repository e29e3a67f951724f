"""One transfer of an object in a folder at a time, whichever program, user or machine begins the second one.

The lock is a file beside the state of the transfer, ``.<object id>.lock``. The operating system locks it, so that it
ends with the process that holds it, however that ends; what is written in it is for people only. A small download
gathers its bytes in it, and moves it to their place: to make and remove another file would cost more than they do.
Where a file system has no such locks (Lustre without ``flock``, NFS without its lock daemon) the file
``.<object id>.owner`` is the lock by being there: its holder gives a sign of life every half minute, and one that
gives none any more is no obstacle.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from score.errors import Conflict, Refused

SIGN_OF_LIFE = 30.0
"""Seconds between two signs of life of a lock that the system does not keep."""
ABANDONED = 150.0
"""Seconds without one, by the clock of the file system, after which such a lock is nobody's."""
_TRIES = 10
_LONGEST = 1000
"""Bytes of what is written in a lock."""
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_OWN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)

SystemLock = Callable[[int], bool]
"""Locks an open file until it is closed; False where another one has it. OSError where files cannot be locked."""

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30
    """Windows locks bytes against reading too: one is taken that nobody reads."""

    def system_lock(descriptor: int) -> bool:
        """See :data:`SystemLock`."""
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def system_lock(descriptor: int) -> bool:
        """See :data:`SystemLock`."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock. ``token`` tells one holding from the next."""

    host: str = ""
    pid: int = 0
    since: str = ""
    token: str = field(default="", repr=False)

    @classmethod
    def myself(cls) -> Owner:
        """This process, now."""
        return cls(socket.gethostname(), os.getpid(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", uuid.uuid4().hex)

    @classmethod
    def read(cls, path: Path) -> Owner:
        """Who is named in a lock file; nobody where that cannot be read."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            with path.open("rb") as file:
                found = json.loads(file.read(_LONGEST))
            return cls(
                str(found.get("host", ""))[:100],
                int(found.get("pid", 0)),
                str(found.get("since", ""))[:30],
                str(found.get("token", ""))[:40],
            )
        return cls()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}" if self.pid else "another process"


class _Taken(Protocol):
    @property
    def file(self) -> Path | None: ...

    def release(self) -> None: ...


@contextmanager
def held(
    folders: Iterable[Path], object_id: str, name: str, *, lock: SystemLock = system_lock
) -> Iterator[Path | None]:
    """Hold the lock of an object, in the first of ``folders`` where files can be made; where there is none, go
    without: whoever writes there next meets the same error and tells of it. ``name`` is what messages begin with.

    Gives the file of the lock where its holder may write to it and move it away; else None. Raises Held where another
    process holds it, Refused where a link lies in its place.
    """
    taken: _Taken | None = None
    for folder in folders:
        taken = _take(folder / f".{object_id}.lock", name, lock)
        if taken is not None:
            break
    try:
        yield taken.file if taken is not None else None
    finally:
        if taken is not None:
            taken.release()


def _take(path: Path, name: str, lock: SystemLock) -> _Taken | None:
    for _ in range(_TRIES):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _OWN, 0o600)
        except OSError as error:
            _explain(path, name, error)
            return None
        try:
            if not lock(descriptor):
                raise _busy(name, Owner.read(path))
            found = os.fstat(descriptor)
        except OSError:
            _close(descriptor)
            _remove_if_empty(path)
            return _lease(path.with_suffix(".owner"), name)
        except Conflict:
            _close(descriptor)
            raise
        if found.st_nlink > 1:  # its holder was killed while he moved it: by its other name it is a finished file
            with contextlib.suppress(OSError):
                path.unlink()
        elif _is_at(descriptor, path):
            _write(descriptor, Owner.myself())
            return _Locked(descriptor, path, found.st_uid)
        _close(descriptor)  # its holder has removed it meanwhile: what was locked is nobody's any more
    raise _busy(name, Owner())


def _explain(path: Path, name: str, error: OSError) -> None:
    """Nothing, where a lock cannot be kept in this folder; raises where one is there that is not ours to open."""
    if os.path.islink(path):  # which, unlike those of Path, raises nothing where a folder may not be searched
        raise Refused(f"{path} is a link, where the lock of a transfer is kept.", hint="Remove it.") from error
    if error.errno in (errno.EACCES, errno.EPERM) and os.path.lexists(path):
        if sys.platform != "win32":
            with contextlib.suppress(OSError, KeyError):
                name = f"{name} ({path} is of user {path.owner()})"
        raise Held(
            f"{name}: another user transfers this object here, or has left a lock behind.",
            hint="Ask them to end or to finish it, or use a folder of your own.",
        ) from error


class Held(Conflict):
    """Another process transfers the object here."""


def _busy(name: str, owner: Owner, path: Path | None = None) -> Held:
    unless = f" If no such process runs any more, remove {path}." if path else ""
    return Held(
        f"{name}: this object is being transferred here already, by {owner}.",
        hint=f"Wait until that has ended, or end it; then run the same command again.{unless}",
    )


def _write(descriptor: int, owner: Owner) -> None:
    """Name the owner. A disk too full for that is no reason not to begin: the lock holds all the same."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(asdict(owner)).encode())


def _close(descriptor: int) -> None:
    """Some file systems tell only now that the owner's name could not be kept; see :func:`_write`."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _remove_if_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        if not path.lstat().st_size:
            path.unlink()


@dataclass(frozen=True)
class _Locked:
    """A lock that the system keeps."""

    descriptor: int
    path: Path
    user: int

    @property
    def file(self) -> Path | None:
        """Not on Windows, where no open file can be moved; nor one that another user made, who could read it."""
        if sys.platform != "win32" and self.user == os.geteuid():
            return self.path
        return None

    def release(self) -> None:
        if os.name == "nt":  # where no open file can be removed
            _close(self.descriptor)
        if os.name == "nt" or _is_at(self.descriptor, self.path):  # if it was moved, the lock there is another's
            with contextlib.suppress(OSError):
                self.path.unlink()
        if os.name != "nt":
            _close(self.descriptor)


class _Leased:
    """A lock that is one by being there, and its signs of life. One who gave none for too long, as a machine that
    slept, may have lost it to another one, whose it is from then on."""

    file = None

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner
        self._over = threading.Event()
        threading.Thread(target=self._live, name="lock", daemon=True).start()

    def _live(self) -> None:
        while not self._over.wait(SIGN_OF_LIFE):
            with contextlib.suppress(OSError):
                if self._is_ours():
                    os.utime(self._path)

    def _is_ours(self) -> bool:
        return Owner.read(self._path).token in ("", self._owner.token)  # a full disk names nobody

    def release(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._path.unlink()


def _lease(path: Path, name: str) -> _Taken | None:
    for _ in range(_TRIES):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OWN, 0o600)
        except FileExistsError:
            owner = Owner.read(path)
            if _lives(path, owner):
                raise _busy(name, owner, path) from None
            _bury(path, owner)
        except OSError as error:
            _explain(path, name, error)
            return None
        else:
            owner = Owner.myself()
            _write(descriptor, owner)
            _close(descriptor)
            return _Leased(path, owner)
    raise _busy(name, Owner.read(path), path)


def _lives(path: Path, owner: Owner) -> bool:
    """Whether the holder of a lock still runs: of this machine's processes the system knows."""
    if os.name == "posix" and owner.pid > 0 and owner.host == socket.gethostname():
        try:
            os.kill(owner.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            return True
        return True
    return _age(path) < ABANDONED


def _age(path: Path) -> float:
    """Seconds since a file's last sign of life, by the clock that gives the times of files in that folder."""
    now = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with now.open("xb"):
            pass
        return now.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        with contextlib.suppress(OSError):
            now.unlink()


def _bury(path: Path, owner: Owner) -> None:
    """Remove the lock of a process that is gone, unless another one has taken its place meanwhile."""
    aside = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(OSError):
        path.rename(aside)
        if Owner.read(aside) != owner:
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink()
