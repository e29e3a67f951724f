"""What a transfer leaves on the disk, so that the same command goes on where it was interrupted.

Protocol, section 5: an upload keeps ``<dir>/.<object id>/uploadId``; a download keeps ``<out>/.<object id>/meta`` and
a file ``part-%08x`` for each finished part, beside the bytes in ``<out>/<object id>``. These places and forms
are those of the reference's client.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from score.protocol.wire import Part, Specification, to_json
from score.transfer.files import translate


def _write(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all; readable by its owner only, for it may hold signed URLs."""
    passing = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(passing, path)
    except OSError as error:
        raise translate(error, path) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise translate(error, folder) from error


class UploadJournal:
    """The id of an upload in progress, beside the file (or in ``client.uploadStateDir``).

    A folder that cannot be written to does not stop an upload: the state then lies in ``fallback``.
    """

    def __init__(self, folder: Path, object_id: str, fallback: Path) -> None:
        chosen = folder if os.access(folder, os.W_OK) else fallback
        self._folder = chosen / f".{object_id}"
        self._id = self._folder / "uploadId"
        self._intent = self._folder / "starting"

    def upload_id(self) -> str | None:
        """The recorded id; None where nothing was begun from here."""
        try:
            return self._id.read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise translate(error if isinstance(error, OSError) else OSError(str(error)), self._id) from error

    def intend(self) -> None:
        """Record that an upload is being started, before the server is asked: its answer may get lost."""
        _make(self._folder)
        _write(self._intent, b"")

    @property
    def intended(self) -> bool:
        """Whether a start was asked for from here whose answer never came."""
        return self._intent.exists()

    def record(self, upload_id: str) -> None:
        """Keep the id of the upload that was started."""
        _make(self._folder)
        _write(self._id, f"{upload_id}\n".encode())
        with contextlib.suppress(OSError):
            self._intent.unlink()

    def forget(self) -> None:
        """The upload is completed or gone."""
        for path in (self._id, self._intent):
            with contextlib.suppress(OSError):
                path.unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()


class DownloadJournal:
    """The specification of a download and its finished parts."""

    def __init__(self, folder: Path, object_id: str) -> None:
        self._folder = folder / f".{object_id}"
        self._meta = self._folder / "meta"
        self.data = folder / object_id

    def specification(self) -> Specification | None:
        """What was being downloaded; None where there is nothing to go on with, or it cannot be read."""
        try:
            return Specification.model_validate_json(self._meta.read_bytes())
        except (OSError, ValidationError):
            return None

    def begin(self, specification: Specification) -> None:
        """Start afresh: whatever was kept is dropped."""
        self.forget()
        with contextlib.suppress(FileNotFoundError):
            self.data.unlink()
        _make(self._folder)
        _write(self._meta, to_json(specification))

    def finished(self) -> dict[int, Part]:
        """The finished parts, by number; files that cannot be read count as parts that are not finished."""
        found: dict[int, Part] = {}
        for path in self._folder.glob("part-*"):
            with contextlib.suppress(OSError, ValidationError):
                part = Part.model_validate_json(path.read_bytes())
                found[part.part_number] = part
        return found

    def record(self, part: Part) -> None:
        """A part's bytes are in the file; ``part.md5`` is their checksum."""
        _write(self._folder / f"part-{part.part_number:08x}", to_json(part.model_copy(update={"url": None})))

    def drop(self, number: int) -> None:
        """A part has to be fetched again."""
        with contextlib.suppress(OSError):
            (self._folder / f"part-{number:08x}").unlink()

    def forget(self) -> None:
        """The download is finished: remove its state, not its bytes."""
        shutil.rmtree(self._folder, ignore_errors=True)
