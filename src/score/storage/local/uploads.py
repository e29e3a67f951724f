"""Uploads in progress, outside the key space: ``<root>/.uploads/<bucket>/<upload id>/``.

- ``upload.json``      the key and the time of the start
- ``data``             one sparse file, every part at its offset; completion renames it, so no byte is copied, and the
                       upload is over with that
- ``part-00001.json``  the record of a finished part, written after its bytes are durable

``<root>/.uploads/.completing-<bucket>`` has a byte for every key: who makes an object locks it, in whatever process.

A part is written by one connection at a time: its span of ``data`` is locked (between processes too), and a later
writer of this process puts an earlier one out, which then never writes again. The spans of an upload's parts must not
overlap; whoever signs the URLs sees to it.

Everything here blocks; the store calls it in threads.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from score.errors import Conflict, Integrity, NotFound, Unavailable
from score.protocol.digests import new_md5
from score.protocol.parts import Span
from score.storage.base import OpenUpload, StoredPart, UploadId
from score.storage.local.files import disk_errors, make_folders, sync_folder, write_new

_ID = re.compile(r"[0-9a-f]{32}\Z")
_PART = re.compile(r"part-(\d{5})\.json\Z")
_GONE = ".gone-"
_TAKEN = (errno.EAGAIN, errno.EACCES)
"""What locking bytes fails with that another one has locked."""
_MOST_PIECES = 512
"""Buffers for one ``pwritev``, below every system's limit."""


@dataclass(frozen=True, slots=True)
class Record:
    """A finished part on disk; ``md5`` in hex."""

    number: int
    offset: int
    size: int
    md5: str

    @property
    def part(self) -> StoredPart:
        """As the store's interface gives it."""
        return StoredPart(self.number, self.size, self.md5)


class Upload:
    """The folder of one upload that exists."""

    def __init__(self, folder: str, upload_id: UploadId, key: str, started: datetime) -> None:
        self.folder = folder
        self.id = upload_id
        self.key = key
        self.started = started

    @property
    def data(self) -> str:
        """Path of the sparse file."""
        return f"{self.folder}/data"

    def record(self, number: int) -> Record | None:
        """The record of a finished part, None where it is not finished (or its record is torn by a crash)."""
        try:
            with open(self._record_path(number), "rb") as file:
                return Record(**json.load(file))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def records(self, after: int = 0) -> Iterator[Record]:
        """The records of the finished parts with numbers above ``after``, in order."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            raise _no_upload(self.id) from None
        for number in sorted(int(match[1]) for name in names if (match := _PART.match(name))):
            if number > after and (record := self.record(number)):
                yield record

    def write_record(self, record: Record) -> None:
        """Record a finished part, durably."""
        write_new(self._record_path(record.number), json.dumps(asdict(record)).encode())
        sync_folder(self.folder)

    def drop_record(self, number: int) -> None:
        """Forget a finished part, durably: its bytes may be overwritten when this returns."""
        with suppress(FileNotFoundError):
            os.unlink(self._record_path(number))
            sync_folder(self.folder)

    def drop_records(self, kept: set[int]) -> None:
        """Forget the finished parts that are not ``kept``."""
        for record in self.records():
            if record.number not in kept:
                self.drop_record(record.number)

    def open_locked(self, span: Span | None) -> int:
        """A descriptor of ``data`` with ``span`` (None: all of it) locked until it is closed.

        Unavailable where somebody else writes there now, NotFound where the upload ended meanwhile: the file may be
        a finished object then.
        """
        try:
            fd = os.open(self.data, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _no_upload(self.id) from None
        try:
            _lock(fd, *((span.offset, max(1, span.length)) if span else (0, 0)))
            if not os.path.samestat(os.fstat(fd), os.stat(self.data)):
                raise _no_upload(self.id)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, FileNotFoundError):
                raise _no_upload(self.id) from None
            if isinstance(error, OSError) and error.errno in _TAKEN:
                raise Unavailable(
                    f"Bytes of {self.key!r} are being written by another connection.",
                    hint="Try again.",
                    retry_after=1,
                ) from None
            raise
        return fd

    def check_parts(self, parts: Sequence[StoredPart]) -> int:
        """The size of the object that ``parts`` make. Conflict where one is not here as told, or they leave a gap."""
        at = 0
        for part in parts:
            record = self.record(part.number)
            if record is None:
                raise Conflict(f"Part {part.number} of {self.key!r} is not stored.", hint="Upload that part again.")
            if record.part != part:
                raise Conflict(
                    f"Part {part.number} of {self.key!r} is stored with other bytes.", hint="Upload that part again."
                )
            if record.offset != at:
                raise Conflict(
                    f"The parts of {self.key!r} do not join at part {part.number}: bytes from {at} on lack."
                )
            at += record.size
        if not parts:
            raise Conflict(f"{self.key!r} cannot be completed without parts.")
        return at

    def _record_path(self, number: int) -> str:
        return f"{self.folder}/part-{number:05d}.json"


class PartWriter:
    """Writes the bytes of one part, in order, at its place. Threads may take turns; ``close`` it in any case.

    A part counts as stored when ``finish`` returns, and never before.
    """

    def __init__(self, upload: Upload, number: int, span: Span) -> None:
        self._upload = upload
        self._number = number
        self._span = span
        self._written = 0
        self._md5 = new_md5()
        self._turn = threading.Lock()
        self._fd = upload.open_locked(span)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append ``pieces``. Integrity where they go beyond the part, NoSpace on a full disk."""
        with self._turn, self._errors():
            size = sum(map(len, pieces))
            if self._written + size > self._span.length:
                raise Integrity(f"{self._what} got more than its {self._span.length} bytes.")
            if not self._written:
                self._upload.drop_record(self._number)
            for piece in pieces:
                self._md5.update(piece)
            _write_all(self._fd, pieces, self._span.offset + self._written)
            self._written += size

    def finish(self, expected_md5: str | None = None) -> StoredPart:
        """Make the part durable and record it. Integrity where bytes lack or the MD5 (hex) is not as expected."""
        with self._turn, self._errors():
            if self._written != self._span.length:
                raise Integrity(f"{self._what} ended after {self._written} of {self._span.length} bytes.")
            md5 = self._md5.hexdigest()
            if expected_md5 not in (None, md5):
                raise Integrity(f"{self._what} arrived with another MD5 than the sender's.")
            if not self._written:
                self._upload.drop_record(self._number)
            os.fdatasync(self._fd)
            record = Record(self._number, self._span.offset, self._span.length, md5)
            self._upload.write_record(record)
            return record.part

    def close(self) -> None:
        """Let go of the part, waiting for a write that runs. Idempotent."""
        with self._turn:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    @property
    def place(self) -> tuple[UploadId, int]:
        """Which part of which upload this writes."""
        return self._upload.id, self._number

    @property
    def _what(self) -> str:
        return f"Part {self._number} of {self._upload.key!r}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._fd < 0:
            raise Unavailable(f"{self._what} is now sent by another connection.", hint="Try again.", retry_after=1)
        with disk_errors(f"Writing part {self._number} of {self._upload.key!r}"):
            try:
                yield
            except FileNotFoundError:
                raise _no_upload(self._upload.id) from None


class Uploads:
    """The uploads in progress of one bucket."""

    def __init__(self, root: Path, bucket: str) -> None:
        self.folder = os.path.realpath(root / ".uploads" / bucket)
        self._completing = f"{os.path.dirname(self.folder)}/.completing-{bucket}"
        self._writers: dict[tuple[UploadId, int], PartWriter] = {}
        self._changing = threading.Lock()

    def make(self) -> None:
        """Create the folder where it is missing."""
        make_folders(self.folder)

    def begin(self, key: str, now: datetime) -> UploadId:
        """Start an upload. It outlives a crash of the machine from its first finished part on, at the latest."""
        upload = UploadId(uuid.uuid4().hex)
        folder = f"{self.folder}/{upload}"
        os.mkdir(folder)
        try:
            os.close(os.open(f"{folder}/data", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            write_new(f"{folder}/upload.json", json.dumps({"key": key, "started": now.isoformat()}).encode())
            sync_folder(self.folder)
        except OSError:
            self.drop(upload)  # no upload, and nobody would look for its folder
            raise
        return upload

    def find(self, key: str, upload_id: UploadId) -> Upload:
        """The upload ``upload_id`` of ``key``. NotFound where there is no such one."""
        upload = self._load(upload_id)
        if upload is None or upload.key != key:
            raise _no_upload(upload_id)
        return upload

    def open_part(self, key: str, upload_id: UploadId, number: int, span: Span) -> PartWriter:
        """Start to write a part, putting out a writer of this process that is at it.

        The part as it was is forgotten with the first byte.
        """
        upload = self.find(key, upload_id)
        with self._changing:
            earlier = self._writers.pop((upload_id, number), None)
        if earlier is not None:
            earlier.close()
        writer = PartWriter(upload, number, span)
        with self._changing:
            self._writers[writer.place] = writer
        return writer

    def close_part(self, writer: PartWriter) -> None:
        """Let go of a part, finished or not."""
        writer.close()
        with self._changing:
            if self._writers.get(writer.place) is writer:
                del self._writers[writer.place]

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Within it nobody else makes an object of ``key`` on a condition; waits for who does."""
        fd = os.open(self._completing, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(fd, int.from_bytes(hashlib.sha256(key.encode()).digest()[:7]), 1, wait=True)
            yield
        finally:
            os.close(fd)

    def drop(self, upload_id: UploadId) -> None:
        """Remove an upload: at once for everybody, then its bytes. Nothing where there is none.

        Not durable by itself: after a crash of the machine the upload may be back, to be dropped again.
        """
        if _ID.match(upload_id) is None:
            return
        gone = f"{self.folder}/{_GONE}{upload_id}"
        with suppress(FileNotFoundError):
            os.rename(f"{self.folder}/{upload_id}", gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self) -> None:
        """Free what a crash left of uploads that were completed or dropped."""
        for name in os.listdir(self.folder):
            folder = f"{self.folder}/{name}"
            if name.startswith(_GONE):
                shutil.rmtree(folder, ignore_errors=True)
            elif os.path.exists(f"{folder}/upload.json") and not os.path.exists(f"{folder}/data"):
                self.drop(UploadId(name))

    def all_open(self) -> list[OpenUpload]:
        """Every upload in progress, the oldest first."""
        uploads = [upload for name in os.listdir(self.folder) if (upload := self._load(UploadId(name)))]
        uploads.sort(key=lambda upload: (upload.started, upload.id))
        return [OpenUpload(upload.key, upload.id, upload.started) for upload in uploads]

    def _load(self, upload_id: UploadId) -> Upload | None:
        if _ID.match(upload_id) is None:
            return None
        folder = f"{self.folder}/{upload_id}"
        try:
            with open(f"{folder}/upload.json", "rb") as file:
                document = json.load(file)
            started = datetime.fromisoformat(document["started"]).astimezone(UTC)
            upload = Upload(folder, upload_id, str(document["key"]), started)
            os.stat(upload.data)  # gone since the moment of the completion, whatever a crash left of the rest
            return upload
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def _no_upload(upload_id: str) -> NotFound:
    return NotFound(f"There is no upload {upload_id[:64]!r} in progress.", hint="Start the upload again.")


def _lock(fd: int, start: int, length: int, *, wait: bool = False) -> None:
    """Lock bytes of an open file (0: to infinity), or raise OSError at once where another has them, unless it is to
    ``wait``."""
    if hasattr(fcntl, "F_OFD_SETLK"):
        # Linux: the lock belongs to the open file, so it also holds between threads of one process.
        lock = struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, lock)
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), length, start)


def _write_all(fd: int, pieces: Sequence[bytes], offset: int) -> None:
    """All of ``pieces`` at ``offset``; the system may take less than it is given, as on a disk that fills up."""
    left = [memoryview(piece) for piece in pieces if piece]
    while left:
        taken = os.pwritev(fd, left[:_MOST_PIECES], offset)
        offset += taken
        while left and taken >= len(left[0]):
            taken -= len(left.pop(0))
        if taken:
            left[0] = left[0][taken:]
