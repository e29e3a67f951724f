"""The file system on libfuse3, by mfusepy. The only module that needs the extra ``[mount]``."""

from __future__ import annotations

import ctypes.util
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from score.errors import Conflict, Invalid, Misconfigured, NotFound, Refused
from score.mount.tree import BLOCK, Tree

KIND = "fuse.score"
"""What the list of mounts calls ours."""
DEVICE = Path("/dev/fuse")
MOUNTS = Path("/proc/self/mountinfo")
DEVICES = Path("/sys/class/bdi")
GRACE = 5.0
"""Seconds for reads to notice that the mount ends; then it ends without them."""
REQUESTS = 64
"""Reads that the kernel may ask for beforehand."""
THREADS = 32
OURS = frozenset({"max_read", "rw", "subtype", "auto_unmount", "sync_read", "async_read", "foreground"})
"""Options of FUSE that would break the mount, or are its own."""
THEIRS = frozenset({"self", "operations", "mountpoint", "raw_fi", "encoding", "errors"})
"""What mfusepy would take for its own parameters."""
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WAKE = signal.SIGUSR1


def parse_options(given: Sequence[str]) -> dict[str, str | bool]:
    """``name`` and ``name=value``, comma separated, of ``--options``. Raises Invalid."""
    options: dict[str, str | bool] = {}
    for word in (word.strip() for text in given for word in text.split(",")):
        name, equals, value = word.partition("=")
        if not word:
            continue
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or (equals and not value):
            raise Invalid(f"--options: {word!r} is no option of a mount.", hint="Such as allow_other,uid=1000.")
        if name == "ro":  # as it is
            continue
        if name in OURS | THEIRS:
            raise Invalid(
                f"--options: {name} cannot be chosen; the mount is read-only and sets it itself.",
                hint="Leave it out.",
            )
        options[name] = value if equals else True
    return options


def load() -> Any:
    """mfusepy on libfuse3. Raises Misconfigured, saying what to install or do."""
    if sys.platform != "linux":
        raise Misconfigured(
            f"Mounting works on Linux; this is {sys.platform}.", hint="Use download, view or the SDK."
        )
    library = os.environ.get("FUSE_LIBRARY_PATH") or ctypes.util.find_library("fuse3")
    if not library:
        raise Misconfigured(
            "Mounting needs libfuse3, which is not installed.",
            hint="Install it. Debian, Ubuntu: apt-get install fuse3 libfuse3-3; Fedora: dnf install fuse3.",
        )
    before = os.environ.get("FUSE_LIBRARY_PATH")
    os.environ["FUSE_LIBRARY_PATH"] = library  # else it takes libfuse2 where that is installed
    try:
        mfusepy = import_module("mfusepy")
    except ModuleNotFoundError:
        raise Misconfigured(
            "Mounting needs mfusepy, which is not installed.", hint="Install it: pip install mfusepy"
        ) from None
    except OSError as error:
        raise Misconfigured(
            f"libfuse3 ({library}) cannot be loaded: {error}.", hint="Install it: on Debian, apt install libfuse3-3."
        ) from None
    finally:
        if before is None:
            del os.environ["FUSE_LIBRARY_PATH"]
    if mfusepy.fuse_version_major != 3:
        raise Misconfigured(f"FUSE_LIBRARY_PATH: {library} is no libfuse3.", hint="Unset it, and install libfuse3.")
    return mfusepy


def check_device(device: Path = DEVICE) -> None:
    """Raises Misconfigured where this user cannot use FUSE."""
    if not device.exists():
        raise Misconfigured(
            f"There is no {device}: this system, or this container, has no FUSE.",
            hint="Load it: modprobe fuse. In a container: docker run --device /dev/fuse --cap-add SYS_ADMIN ...",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise Misconfigured(
            f"{device} may not be used by this user.",
            hint=f"As root: chmod 666 {device}; package fuse3 does it on most systems.",
        )
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise Misconfigured(
            "Users other than root need the program fusermount3 to mount.", hint="Install package fuse3."
        )


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of the list of mounts. ``device`` is its number, as ``0:42``."""

    kind: str
    source: str
    device: str


def mounted(point: Path, mounts: str | None = None) -> Mounted | None:
    """What is mounted at ``point`` by the list of mounts; None for nothing."""
    found = None
    for line in (MOUNTS.read_text("utf-8", "surrogateescape") if mounts is None else mounts).splitlines():
        left, _, right = line.partition(" - ")
        _, _, device, _, escaped = left.split(" ")[:5]
        path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), escaped)
        if path == str(point):
            kind, source = right.split(" ")[:2]
            found = Mounted(kind, source, device)  # the last one lies on top
    return found


def check_point(point: Path, say: Callable[[str], None], *, nonempty: bool = False) -> None:
    """Whether something can be mounted at ``point``. What a killed mount of ours left there is cleared away.

    Raises NotFound, Invalid (no folder, not empty) or Conflict (mounted already).
    """
    try:
        os.statvfs(point)  # attributes of a mount that is gone may still be remembered
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise _no_folder(point, error) from None
        left = mounted(point)
        if left is None or left.kind != KIND:
            raise Conflict(
                f"{point} is the mount point of a program ({left.source if left else 'unknown'}) that has ended.",
                hint=f"Clear it: fusermount3 -u {point}",
            ) from None
        unmount(point)
        say(f"{point}: a mount that was killed is cleared away.")
    there = mounted(point)
    if there is not None and there.kind.startswith("fuse"):
        raise Conflict(
            f"{point} is mounted already ({there.kind}, {there.source}).",
            hint=f"Use it, choose another folder, or unmount it: fusermount3 -u {point}",
        )
    try:
        full = any(point.iterdir())
    except OSError as error:
        raise _no_folder(point, error) from None
    if full and not nonempty:
        raise Invalid(
            f"{point} is not empty; what is in it could not be seen while it is mounted.",
            hint="Choose an empty folder, or give --options nonempty.",
        )


def _no_folder(point: Path, error: OSError) -> NotFound | Invalid:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{point} does not exist.", hint=f"Make it: mkdir -p {point}")
    return Invalid(f"{point} cannot be mounted on: {os.strerror(error.errno or 0)}.", hint="Choose an empty folder.")


def unmount(point: Path) -> None:
    """Take the mount away at once; whoever still has files of it open is told that it is gone."""
    if shutil.which("fusermount3"):
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False, capture_output=True)
    elif os.geteuid() == 0:
        ctypes.CDLL(None).umount2(os.fsencode(point), 2)  # MNT_DETACH


def read_far_ahead(point: Path) -> None:
    """Let the kernel ask for whole blocks where a program reads on and on: by itself it asks for 128 KiB at a time.
    Only root may; for everybody else all is as it was."""
    with suppress(OSError):
        there = mounted(point)
        if there is not None:
            ahead = DEVICES / there.device / "read_ahead_kb"
            if int(ahead.read_text()) < BLOCK // 1024:
                ahead.write_text(str(BLOCK // 1024))


class Signals:
    """SIGTERM, SIGINT and SIGHUP as calls, in a thread of their own: while libfuse runs, Python's handlers do not.

    To be entered in the main thread before other threads begin, which then leave these signals alone.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._ended = threading.Event()

    def __enter__(self) -> Signals:
        signal.signal(_WAKE, lambda number, frame: None)
        self._main = threading.get_ident()
        self._stopping = {one for one in _STOPPING if signal.getsignal(one) != signal.SIG_IGN}  # as nohup leaves it
        signal.pthread_sigmask(signal.SIG_BLOCK, self._stopping)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _watch(self) -> None:
        signal.sigwait(self._stopping)
        self._act()

    def wake(self) -> None:
        """Make the call that the main thread waits in look whether it is to end."""
        signal.pthread_kill(self._main, _WAKE)


class Mount:
    """A mounted tree: :meth:`run` returns when it was unmounted, from outside or by :meth:`end`."""

    def __init__(self, tree: Tree, point: Path, options: Mapping[str, str | bool], source: str) -> None:
        """``source`` is what the list of mounts calls it. Raises Misconfigured where FUSE is not there."""
        self._fuse = load()
        self._tree = tree
        self._point = point
        self._session: int | None = None
        self._over = threading.Event()
        self._ending = False
        given: dict[str, str | bool] = {"fsname": source, "entry_timeout": "60", "attr_timeout": "60"}
        if (self._fuse.fuse_version_major, self._fuse.fuse_version_minor) >= (3, 12):
            given |= {"max_threads": str(THREADS), "max_idle_threads": str(THREADS)}
        self._options = given | {name: value for name, value in options.items() if name != "nonempty"}

    @property
    def begun(self) -> bool:
        """Whether it was mounted."""
        return self._session is not None

    def run(self, ready: Callable[[], None]) -> None:
        """Mount, call ``ready``, serve until unmounted. Raises Refused where it cannot be mounted."""

        def begun(conn: Any, config: Any) -> None:
            self._session = self._fuse._libfuse.fuse_get_context().contents.fuse
            if conn is not None:
                conn.max_background = REQUESTS
                conn.congestion_threshold = REQUESTS * 3 // 4
            if self._ending:
                self._exit()
            ready()

        self._tree.init_with_config = begun  # type: ignore[attr-defined]
        try:
            _class(self._fuse, cache(lambda: read_far_ahead(self._point)))(
                self._tree, str(self._point), raw_fi=True, foreground=True, ro=True, subtype="score", **self._options
            )
        except RuntimeError:
            if self._session is None:
                raise Refused(
                    f"{self._point} cannot be mounted; what libfuse says stands above.",
                    hint="See whether --options are right, and whether this user may mount there.",
                ) from None
        finally:
            self._over.set()

    def end(self, signals: Signals, late: Callable[[], None]) -> None:
        """Unmount, from another thread. ``late`` is called where reads keep it from ending for long."""
        self._ending = True
        self._exit()
        for _ in range(int(GRACE / 0.1)):
            signals.wake()
            if self._over.wait(0.1):
                return
        late()

    def _exit(self) -> None:
        if self._session is not None:
            self._fuse._libfuse.fuse_exit(ctypes.c_void_p(self._session))


def _class(library: Any, used: Callable[[], None]) -> Any:
    """mfusepy's class, whose reads go into the buffer that the kernel is given, without a copy between. ``used`` is
    called before a file is opened: what the kernel is told of the mount is settled by then."""

    class Fuse(library.FUSE):  # type: ignore[misc]
        def open(self, path: Any, info: Any) -> int:
            used()
            opened: int = super().open(path, info)
            return opened

        def read(self, path: Any, buffer: Any, size: int, offset: int, info: Any) -> int:
            place = (ctypes.c_char * size).from_address(ctypes.addressof(buffer.contents))
            count: int = self.operations.read(info.contents.fh, offset, memoryview(place).cast("B"))
            return count

    return Fuse
