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

from score.errors import NotFound, Refused
from score.protocol.wire import Part, Specification, to_json
from score.transfer.files import translate

_ID = "uploadId"
_INTENT = "starting"


def _write(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all; readable by its owner only, for it may hold signed URLs."""
    passing = path.with_name(f"new-{path.name}")
    try:
        descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(passing, path)
    except OSError as error:
        raise translate(error, path) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink():
            raise Refused(f"{folder} is a link, where the state of a transfer is kept.", hint="Remove it.")
    except OSError as error:
        raise translate(error, folder) from error


class UploadJournal:
    """The id of an upload in progress, beside the file (or in ``client.uploadStateDir``).

    A folder that cannot be written to does not stop an upload: the state then lies in ``fallback``.
    """

    def __init__(self, folder: Path, object_id: str, fallback: Path) -> None:
        self._folders = [folder / f".{object_id}", fallback / f".{object_id}"]

    def upload_id(self) -> str | None:
        """The recorded id; None where nothing was begun from here. Nonsense where the file is damaged."""
        for folder in self._folders:
            path = folder / _ID
            try:
                text = path.read_bytes().decode("utf-8", "replace").strip()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise translate(error, path) from error
            if text:
                return text
        return None

    def intend(self) -> None:
        """Record that an upload is being started, before the server is asked: its answer may get lost."""
        self._keep(_INTENT, b"")

    def relent(self) -> None:
        """The server refused to start it."""
        self._remove(_INTENT)

    @property
    def intended(self) -> bool:
        """Whether a start was asked for from here whose answer never came."""
        return any((folder / _INTENT).is_file() for folder in self._folders)

    def record(self, upload_id: str) -> None:
        """Keep the id of the upload that was started."""
        self._keep(_ID, f"{upload_id}\n".encode())
        self._remove(_INTENT)

    def forget(self) -> None:
        """The upload is completed or cancelled."""
        self._remove(_ID, _INTENT)

    def _keep(self, name: str, data: bytes) -> None:
        beside, fallback = self._folders
        try:
            _make(beside)
            _write(beside / name, data)
        except (NotFound, Refused):
            _make(fallback)
            _write(fallback / name, data)

    def _remove(self, *names: str) -> None:
        for folder in self._folders:
            for name in names:
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()


class DownloadJournal:
    """The specification of a download and its finished parts."""

    def __init__(self, folder: Path, object_id: str) -> None:
        self._folder = folder / f".{object_id}"
        self._meta = self._folder / "meta"
        self.data = folder / object_id

    @property
    def begun(self) -> bool:
        """Whether there is state of a download, readable or not."""
        return self._folder.is_dir()

    def specification(self) -> Specification | None:
        """What was being downloaded; None where there is nothing to go on with, or it cannot be read."""
        try:
            return Specification.model_validate_json(self._meta.read_bytes())
        except (OSError, ValidationError):
            return None

    def begin(self, specification: Specification, *, keep: bool = False) -> None:
        """Start afresh: whatever was kept is dropped, with ``keep`` but for the bytes."""
        self.forget()
        if not keep:
            try:
                self.data.unlink(missing_ok=True)
            except OSError as error:
                raise translate(error, self.data) from error
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
