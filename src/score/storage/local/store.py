"""A bucket on a local disk. Protocol, section 4: keys lie as paths, as in S3, so that a site moves to S3 by one copy.

Operator notes
- ``<root>/<bucket>/<key>`` are the objects, nothing else. Files put there by hand are served.
- ``<root>/.uploads``, ``.etags`` and ``.scratch`` belong to the store and must be on the same file system.
- ``<root>/.secret`` signs the URLs: who removes it makes every URL given out invalid, no more.
- Finished bytes are synced before they are answered. Several processes may share a root.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import ParamSpec, TypeVar

from score.errors import AlreadyExists, Integrity, Invalid, NotFound, Refused, ScoreError
from score.protocol.digests import combined_etag, is_md5
from score.protocol.parts import Span
from score.storage.base import (
    NOTHING,
    OVERWRITE,
    Limits,
    ObjectStat,
    OpenUpload,
    PlannedPart,
    Prefix,
    Probe,
    StoredPart,
    UploadId,
)
from score.storage.local.files import (
    Bucket,
    disk_errors,
    make_folders,
    make_root,
    secret_of,
    sync_folder,
    write_new,
)
from score.storage.local.uploads import PartWriter, Uploads
from score.storage.local.urls import Grant, Signer

P = ParamSpec("P")
R = TypeVar("R")

_BATCH = 1000
"""Entries of a listing for one visit of a thread."""
_THREADS = 32


class OpenObject:
    """An object open for reading; what it reads stays one version, whatever happens to the key. Threads may take
    turns; ``close`` it in any case."""

    def __init__(self, fd: int, stat: ObjectStat) -> None:
        self.stat = stat
        self._fd = fd
        self._turn = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``. Integrity where the file became shorter."""
        with self._turn, disk_errors(f"Reading {self.stat.key!r}"):
            data = os.pread(self._fd, length, offset) if self._fd >= 0 else b""
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), offset + len(data)) if self._fd >= 0 else b""
                if not more:
                    raise Integrity(f"{self.stat.key!r} ends before its {self.stat.size} bytes.")
                data += more
            return data

    def close(self) -> None:
        """Give back the descriptor, waiting for a read that runs. Idempotent."""
        with self._turn:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


class LocalStore:
    """One bucket of a local disk: :class:`score.storage.base.ObjectStore`, and what its data plane needs.

    ``root`` and the bucket's folder are created where missing, at construction only. ``base`` gives the server's own
    address for the URLs, without ``/store``; ``clock`` gives seconds since 1970. Beside the errors of the interface:
    NoSpace, when the disk is full; nothing is lost then.
    """

    limits = Limits()

    def __init__(
        self, root: Path, bucket: str, *, base: Callable[[], str], clock: Callable[[], float] = time.time
    ) -> None:
        self._bucket = Bucket(root, bucket)
        self._uploads = Uploads(root, self._bucket.name)
        self._etags = os.path.realpath(root / ".etags" / self._bucket.name)
        self._base = base
        self._clock = clock
        with disk_errors(f"Opening the store in {root}"):
            make_root(root)
            self._bucket.make()
            self._uploads.make()
            make_folders(self._etags)
            self._signer = Signer(secret_of(root), self._bucket.name)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"store-{self._bucket.name}")

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    async def stat(self, key: str) -> ObjectStat | None:
        """The object under ``key``, None where there is none."""
        return await self.in_thread(self._stat, key)

    async def get(self, key: str) -> bytes:
        """All bytes of a small object."""
        return await self.in_thread(self._read, key, None)

    async def put(self, key: str, data: bytes, over: str | None = None) -> None:
        """Write a small object, durably."""

        def write() -> None:
            with disk_errors(f"Writing {key!r}"):
                if over is None:
                    self._bucket.write(key, data)
                    return
                with self._uploads.alone(key):
                    there = self._stat(key)
                    if (there.etag if there else NOTHING) != over:
                        raise AlreadyExists(f"There is another object {key!r}.", hint=OVERWRITE)
                    self._bucket.write(key, data)

        await self.in_thread(write)

    async def delete(self, *keys: str) -> None:
        """Delete objects, durably."""

        def delete() -> None:
            with disk_errors("Deleting objects"):
                folders = {self._bucket.remove(key) for key in keys}
                for key in keys:
                    with suppress(FileNotFoundError):
                        os.unlink(self._etag_path(key))
                for folder in folders - {None}:
                    with suppress(FileNotFoundError):
                        sync_folder(str(folder))

        await self.in_thread(delete)

    async def clear(self, folder: str) -> bool:
        return False

    async def read(self, key: str, span: Span) -> bytes:
        """A small piece of payload."""
        return await self.in_thread(self._read, key, span)

    async def probe(self) -> Probe:
        """Whether the folders are there, on one file system, and take a file."""

        def probe() -> Probe:
            try:
                with disk_errors(f"Writing to {self._bucket.folder}"):
                    self._bucket.check_there()
                    if len({os.stat(folder).st_dev for folder in (self._bucket.folder, self._uploads.folder)}) > 1:
                        raise Refused(
                            f"{self._bucket.folder} is on another file system than {self._uploads.folder}.",
                            hint="Put the root of the local store and all its folders on one.",
                        )
                    path = f"{self._bucket.scratch}/probe-{os.urandom(8).hex()}"
                    write_new(path, b"probe")
                    os.unlink(path)
            except ScoreError as error:
                return Probe(ok=False, problem=str(error))
            return Probe(ok=True, clock_skew=0.0)

        return await self.in_thread(probe)

    async def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        """Every object whose key starts with ``prefix``, in the order of their keys."""
        found = self._bucket.walk(prefix, delimiter)

        def some() -> list[ObjectStat | Prefix]:
            with disk_errors(f"Listing bucket {self.name!r}"):
                return [
                    entry if isinstance(entry, Prefix) else self._describe(entry.key, entry.status)
                    for entry in islice(found, _BATCH)
                ]

        while batch := await self.in_thread(some):
            for entry in batch:
                yield entry

    def sign_gets(self, key: str, spans: Sequence[Span | None], ttl: timedelta) -> list[str]:
        """URLs to GET ``key``, one for each span."""
        return self._signer.sign_gets(self._base(), key, spans, self._expiry(ttl))

    def sign_parts(self, key: str, upload: UploadId, parts: Sequence[PlannedPart], ttl: timedelta) -> list[str]:
        """URLs to PUT parts; the spans of one upload's parts must not overlap."""
        return self._signer.sign_parts(self._base(), key, upload, parts, self._expiry(ttl))

    async def begin(self, key: str) -> UploadId:
        """Start an upload of ``key``."""

        def begin() -> UploadId:
            with disk_errors(f"Starting the upload of {key!r}"):
                self._bucket.locate(key)
                self._bucket.check_there()
                return self._uploads.begin(key, datetime.fromtimestamp(self._clock(), UTC))

        return await self.in_thread(begin)

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        """Those parts of an upload with these ``numbers`` that the store holds."""

        def find() -> dict[int, StoredPart]:
            with disk_errors(f"Reading the upload of {key!r}"):
                records = self._uploads.find(key, upload)
                return {number: record.part for number in numbers if (record := records.record(number))}

        return await self.in_thread(find)

    async def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        """All parts of an upload with numbers above ``after``, in order."""

        def find() -> list[StoredPart]:
            with disk_errors(f"Reading the upload of {key!r}"):
                return [record.part for record in self._uploads.find(key, upload).records(after)]

        for part in await self.in_thread(find):
            yield part

    async def etags_are_md5(self, key: str) -> bool:
        """They are."""
        return True

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replace: bool = True
    ) -> ObjectStat:
        """Make the object of exactly these parts: a rename, whatever its size."""
        ordered = sorted(parts, key=lambda part: part.number)
        return await self.in_thread(self._complete, key, upload, ordered, replace)

    async def abort(self, key: str, upload: UploadId) -> None:
        """Drop an upload and its parts."""

        def abort() -> None:
            with disk_errors(f"Dropping the upload of {key!r}"), suppress(NotFound):
                self._uploads.find(key, upload)
                self._uploads.drop(upload)

        await self.in_thread(abort)

    async def open_uploads(self) -> AsyncIterator[OpenUpload]:
        """Every upload of the bucket in progress; frees what crashes left behind on the way."""

        def find() -> list[OpenUpload]:
            with disk_errors(f"Listing the uploads of bucket {self.name!r}"):
                self._uploads.sweep()
                self._bucket.sweep_scratch()
                return self._uploads.all_open()

        for upload in await self.in_thread(find):
            yield upload

    async def close(self) -> None:
        """Wait for what runs, and give back the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    # What the data plane needs.

    def in_thread(self, do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        """The result of ``do``, which may block, run in a thread of the store."""
        return asyncio.get_running_loop().run_in_executor(self._pool, lambda: do(*args, **kwargs))

    def check_url(self, method: str, key: str, query: str) -> Grant:
        """What a signed URL allows; ``method`` is GET or PUT. Forbidden, or Expired."""
        return self._signer.check(method, key, query, self._clock())

    def open_object(self, key: str) -> OpenObject:
        """Open an object for reading. NotFound where there is none. Blocks."""
        with disk_errors(f"Opening {key!r}"):
            path = self._bucket.locate(key)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                raise _no_object(key) from None
            try:
                status = os.fstat(fd)
                if not _is_object(status):
                    raise _no_object(key)
                return OpenObject(fd, self._describe(key, status))
            except BaseException:
                os.close(fd)
                raise

    def open_part(self, grant: Grant) -> PartWriter:
        """Start to write the part that ``grant`` allows. NotFound where the upload is gone. Blocks."""
        if grant.span is None or grant.upload is None:
            raise Invalid("This URL is not one to send a part to.")
        with disk_errors(f"Opening the upload of {grant.key!r}"):
            return self._uploads.open_part(grant.key, grant.upload, grant.number, grant.span)

    def close_part(self, writer: PartWriter) -> None:
        """Let go of a part, finished or not. Blocks while it is written."""
        self._uploads.close_part(writer)

    # In threads from here on.

    def _complete(self, key: str, upload_id: UploadId, parts: list[StoredPart], replace: bool) -> ObjectStat:
        with disk_errors(f"Completing {key!r}"):
            try:
                upload = self._uploads.find(key, upload_id)
                fd = upload.open_locked(None)
            except NotFound:
                finished = self._finished(key, parts)
                if finished is None:
                    raise
                self._uploads.drop(upload_id)
                return finished
            try:
                size = upload.check_parts(parts)
                upload.drop_records({part.number for part in parts})
                if os.fstat(fd).st_size > size:
                    os.ftruncate(fd, size)
                status = os.fstat(fd)
                if status.st_size != size:
                    raise Integrity(f"The parts of {key!r} hold {status.st_size} bytes instead of {size}.")
                os.fsync(fd)
                with self._uploads.alone(key):
                    there = None if replace else self._stat(key)
                    if there is not None and self._finished(key, parts) is None:
                        raise AlreadyExists(f"There is an object {key!r}.", hint=OVERWRITE)
                    self._write_etag(key, status, combined_etag([part.etag for part in parts]))
                    self._bucket.place(upload.data, key)
                self._uploads.drop(upload_id)
                return self._describe(key, status)
            finally:
                os.close(fd)

    def _finished(self, key: str, parts: list[StoredPart]) -> ObjectStat | None:
        """The object that an earlier completion made of these parts."""
        stat = self._stat(key)
        made_of_them = (
            stat is not None
            and all(is_md5(part.etag) for part in parts)
            and stat.size == sum(part.size for part in parts)
            and stat.etag == combined_etag([part.etag for part in parts])
        )
        return stat if made_of_them else None

    def _stat(self, key: str) -> ObjectStat | None:
        with disk_errors(f"Looking at {key!r}"):
            self._bucket.check_there()
            try:
                status = os.lstat(self._bucket.locate(key))
            except (FileNotFoundError, NotADirectoryError):
                return None
            return self._describe(key, status) if _is_object(status) else None

    def _read(self, key: str, span: Span | None) -> bytes:
        self._bucket.check_there()
        file = self.open_object(key)
        try:
            size = file.stat.size
            offset, length = span or (0, size)
            if offset < 0 or length < 0 or offset + length > size:
                raise Invalid(f"{length} bytes from {offset} are not all within {key!r}, which has {size}.")
            return file.read(offset, length)
        finally:
            file.close()

    def _describe(self, key: str, status: os.stat_result) -> ObjectStat:
        etag = self._read_etag(key, status) or f"{status.st_size:x}-{status.st_mtime_ns:x}"
        modified = datetime.fromtimestamp(status.st_mtime_ns // 1_000_000_000, UTC)
        return ObjectStat(key, status.st_size, modified, etag)

    def _etag_path(self, key: str) -> str:
        return f"{self._etags}/{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _read_etag(self, key: str, status: os.stat_result) -> str | None:
        """The ETag recorded for a file; None where the file is not the one that was recorded."""
        try:
            with open(self._etag_path(key), "rb") as file:
                record = json.load(file)
            same = (record["size"], record["mtimeNs"]) == (status.st_size, status.st_mtime_ns)
            return str(record["etag"]) if same else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _write_etag(self, key: str, status: os.stat_result, etag: str) -> None:
        """Record the ETag of the file that is about to become ``key``.

        Its name becomes durable with the object's on file systems with one journal. On others a crash of the machine
        may lose it, and the object then has an ETag as if put there by hand.
        """
        made = f"{self._bucket.scratch}/{self.name}-{os.urandom(16).hex()}"
        record = {"key": key, "size": status.st_size, "mtimeNs": status.st_mtime_ns, "etag": etag}
        write_new(made, json.dumps(record).encode())
        os.rename(made, self._etag_path(key))

    def _expiry(self, ttl: timedelta) -> int:
        return int(self._clock() + min(ttl, self.limits.longest_url_life).total_seconds())


def _is_object(status: os.stat_result) -> bool:
    return S_ISREG(status.st_mode)


def _no_object(key: str) -> NotFound:
    return NotFound(f"There is no object {key!r}.", hint="Check the object id, and whether it was uploaded.")
