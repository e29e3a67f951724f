"""Files and folders of the local store: keys as paths, durable writes, listings in the order of keys.

Everything here blocks; the store calls it in threads.
"""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from score.errors import Invalid, Misconfigured, NoSpace, NotFound, Refused, Unavailable
from score.storage.base import Prefix

LONGEST_KEY = 1024
"""Bytes of UTF-8, as in S3."""
LONGEST_NAME = 255
"""Bytes of UTF-8 between two slashes, as file systems take them."""
STALE_SCRATCH = 24 * 3600.0
"""Seconds after which a half-written small file has no writer any more."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM}
_BLOCKED = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.EXDEV}


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Failures of the operating system as errors of the tree; ``doing`` starts the message ("Writing part 3 of …").

    NoSpace, Refused (no permission, read-only, something else lies there), Unavailable (everything that may pass).
    """
    try:
        yield
    except OSError as error:
        why = f"{doing} failed: {os.strerror(error.errno) if error.errno else error}."
        if error.errno in _FULL:
            raise NoSpace(why, hint="Make room on the disk of the store, then try again.") from error
        if error.errno in _DENIED:
            raise Refused(why, hint="Check the owner and the permissions of the store's folder.") from error
        if error.errno == errno.EROFS:
            hint = "Check how the store's folder is mounted, and its disk: one that fails is made read-only."
            raise Refused(why, hint=hint) from error
        if error.errno in _BLOCKED:
            raise Refused(why, hint="Something else lies at that place in the store's folder.") from error
        raise Unavailable(why, hint="Check the disk of the store.") from error


def check_bucket(name: str) -> str:
    """``name`` as given. Raises Misconfigured where it cannot be a folder beneath the root."""
    if _BUCKET.match(name) is None:
        raise Misconfigured(
            f"{name[:60]!r} cannot be the name of a bucket on disk.",
            hint="Letters, digits, dot, dash and underscore; not starting with a dot.",
        )
    return name


def check_key(key: str) -> str:
    """``key`` as given. Raises Invalid where it is no plain relative path."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        encoded = b""
    names = encoded.split(b"/")
    if (
        not 0 < len(encoded) <= LONGEST_KEY
        or b"\0" in encoded
        or any(name in (b"", b".", b"..") or len(name) > LONGEST_NAME for name in names)
    ):
        raise Invalid(f"{key[:60]!r} is not a key of the local store.")
    return key


def sync_folder(folder: str | Path) -> None:
    """Make the names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(folder: str) -> None:
    """``folder`` and its parents, durable; nothing where they are there."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    make_folders(parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    sync_folder(parent)


def make_root(root: Path) -> None:
    """The folder of a store, which nobody else on this machine may look into; one that is there stays as it is."""
    folder = os.path.realpath(root)
    make_folders(os.path.dirname(folder))
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        sync_folder(os.path.dirname(folder))


def write_new(path: str | Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file that is not there yet; its bytes are durable when this returns, its name is not."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def secret_of(root: Path) -> bytes:
    """The key that signs URLs, made once for each root; readable by the owner only. Safe among several processes."""
    path = root / ".secret"
    if not path.exists():
        made = root / f".secret-{uuid.uuid4().hex}"
        try:
            write_new(made, os.urandom(32).hex().encode(), 0o600)
            with suppress(FileExistsError):
                os.link(made, path)
        finally:
            made.unlink(missing_ok=True)
        sync_folder(root)
    if path.stat().st_mode & 0o077:
        raise Misconfigured(
            f"{path} can be read by others on this machine, who could sign URLs with it.",
            hint=f"Remove it, and the server makes a new one at start; or, if nobody did: chmod 600 {path}",
        )
    secret = path.read_bytes().strip()
    if len(secret) < 32:
        raise Misconfigured(f"{path} holds no usable secret.", hint="Remove it: the server makes a new one at start.")
    return secret


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a listing."""

    key: str
    status: os.stat_result


class Bucket:
    """The folder of one bucket. Keys are paths beneath it; symbolic links in it are never followed."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = check_bucket(name)
        self.folder = os.path.realpath(root / name)
        self.scratch = os.path.realpath(root / ".scratch")

    def make(self) -> None:
        """Create the folders that are missing."""
        make_folders(self.folder)
        make_folders(self.scratch)

    def locate(self, key: str) -> str:
        """The path of ``key``. Raises Invalid for an impossible key, Refused where a link would lead elsewhere."""
        path = f"{self.folder}/{check_key(key)}"
        if os.path.realpath(path) != path:
            raise Refused(f"{key!r} leads through a symbolic link.", hint="The local store follows no links.")
        return path

    def check_there(self) -> None:
        """Raises NotFound where the bucket's folder is gone: it is never made again behind the operator's back."""
        if not os.path.isdir(self.folder):
            raise NotFound(f"Bucket {self.name!r} does not exist.", hint=f"Is the disk of {self.folder} mounted?")

    def place(self, source: str, key: str) -> None:
        """Move the file ``source``, whose bytes are durable, to ``key``: atomic, replacing, durable."""
        target = self.locate(key)
        folder = os.path.dirname(target)
        for _ in range(100):
            self.check_there()
            try:
                make_folders(folder)
                os.rename(source, target)
            except FileNotFoundError:
                # A deletion beside us removed the folder while it was empty.
                if os.path.exists(source):
                    continue
                raise
            with suppress(FileNotFoundError):
                sync_folder(folder)
            return
        raise Unavailable(f"The folder of {key!r} vanishes again and again.")

    def write(self, key: str, data: bytes) -> None:
        """Write a small file to ``key``: atomic, replacing, durable."""
        self.locate(key)
        self.check_there()
        made = f"{self.scratch}/{self.name}-{uuid.uuid4().hex}"
        try:
            write_new(made, data)
            self.place(made, key)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(made)

    def remove(self, key: str) -> str | None:
        """Remove ``key`` and the folders that become empty; gives the folder to sync, None where nothing was."""
        path = self.locate(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        folder = os.path.dirname(path)
        while folder != self.folder:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                break
            folder = os.path.dirname(folder)
        return folder

    def sweep_scratch(self) -> None:
        """Drop what a crash left half-written."""
        for entry in os.scandir(self.scratch):
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < time.time() - STALE_SCRATCH:
                    os.unlink(entry.path)

    def walk(self, prefix: str, delimiter: str) -> Iterator[Found | Prefix]:
        """Files whose keys start with ``prefix``, in the order of keys (of their UTF-8 bytes)."""
        self.check_there()
        base, slash, _ = prefix.rpartition("/")
        if slash:
            try:
                self.locate(base)
            except (Invalid, Refused):
                return
        last = ""
        for found in self._descend(base + slash, prefix, delimiter):
            cut = found.key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                if isinstance(found, Found):
                    yield found
            elif (common := found.key[: cut + len(delimiter)]) != last:
                last = common
                yield Prefix(common)

    def _descend(self, folder: str, prefix: str, delimiter: str) -> Iterator[Found | Prefix]:
        """Files beneath ``folder`` (a key that ends with a slash, or empty); a :class:`Prefix` stands for a folder
        with files in it whose keys all have the delimiter."""
        for name, entry in _entries(f"{self.folder}/{folder}"):
            key = folder + name
            if entry.is_dir(follow_symlinks=False):
                if not key.startswith(prefix) and not prefix.startswith(key):
                    continue
                beneath = self._descend(key, prefix, delimiter)
                if delimiter and key.find(delimiter, len(prefix)) >= 0:
                    if next(beneath, None) is not None:
                        yield Prefix(key)
                else:
                    yield from beneath
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield Found(key, entry.stat(follow_symlinks=False))


def _entries(folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """What lies in a folder, in the order of keys: a folder's name counts with its slash."""
    named = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
            with suppress(UnicodeEncodeError):
                named.append((name.encode(), name, entry))
    named.sort(key=lambda item: item[0])
    return [(name, entry) for _, name, entry in named]
