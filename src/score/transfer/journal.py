"""What a transfer leaves on the disk, so that the same command goes on where it was interrupted.

Protocol, section 5: an upload keeps ``<dir>/.<object id>/uploadId``; a download keeps ``<out>/.<object id>/meta`` and
a file ``part-%08x`` for each finished part, beside the bytes in ``<out>/<object id>``. These places and forms
are those of the reference's client. A file ``about`` beside them, which that client does not look at, says which
version of this form it is, and of which object. State that cannot be used is told of, and then counts as none.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_state_path

from score._version import __version__
from score.errors import NoSpace, NotFound, Refused, ScoreError
from score.protocol.digests import is_md5
from score.protocol.wire import Part, Specification, from_json, to_json
from score.transfer.files import finish_move, is_there, translate, translated

VERSION = 1
"""Of the form of what is kept. State without a mark is the reference's, or an older version's, and of this form."""
_ABOUT = "about"
_ID = "uploadId"
_INTENT = "starting"
_ETAG = "etag"
_LONGEST_ETAG = 256

Say = Callable[[str], None]
"""Takes a line about state that cannot be used."""


def silence(text: str) -> None:
    """For whoever does not want to know."""


def elsewhere(beside: Path) -> Path:
    """Where the state of an upload is kept that cannot be kept ``beside`` the file: in the user's state folder. Users
    whose home the system does not know, as in some containers, have none."""
    try:
        return user_state_path("score") / "uploads"
    except RuntimeError:
        return beside


def places(path: Path, chosen: Path | None) -> list[Path]:
    """Where the state of an upload of ``path`` may be kept, the best first; ``chosen`` is the user's own choice.

    Folders that are ours are made, so that two runs that begin at once find the same ones.
    """
    first = chosen or path.parent
    folders = [first, elsewhere(first)]
    if chosen or not os.access(path.parent, os.W_OK):
        for folder in folders if chosen else folders[1:]:
            with contextlib.suppress(ScoreError):  # whoever has to write there tells of it
                _make(folder)
    return folders


def _write(path: Path, data: bytes, *, lasting: bool = False) -> None:
    """Write a small file whole or not at all; readable by its owner only, for it may hold signed URLs. It is always a
    new one, so that nobody else has it open. ``lasting``: soon whole after a power cut too, for that without which a
    transfer would start over. Nobody waits for that: a busy disk may take long."""
    passing = path.with_name(f"new-{path.name}")
    try:
        passing.unlink(missing_ok=True)
        descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(passing, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            passing.unlink()
        raise _unwritable(error, path) from error
    if lasting and os.name == "posix":  # elsewhere a file that is open cannot be removed
        with contextlib.suppress(RuntimeError):  # the system gives no thread
            threading.Thread(target=_sync, args=[path], name="state", daemon=True).start()


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(error: OSError, path: Path) -> ScoreError:
    """The error for state that cannot be kept: without it nothing could be gone on with."""
    known = translate(error, path)
    if isinstance(error, PermissionError):
        hint = "The state of the transfer is kept there. Use a folder that is yours, or have this one made writable."
        return Refused(known.message, hint=hint)
    return known


def _make(folder: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            try:
                folder.mkdir(mode=0o700)
            except FileNotFoundError:
                for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
                    missing.mkdir(mode=0o700, exist_ok=True)
            return
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if folder.is_symlink():
            raise Refused(f"{folder} is a link, where the state of a transfer is kept.", hint="Remove it.")
    except OSError as error:
        raise _unwritable(error, folder) from error


def _is_folder(path: Path) -> bool:
    """Whether a folder of state is there; one in a folder that may not be searched, as the home of another user, is
    none of ours."""
    return os.path.isdir(path)


def _mark(folder: Path, object_id: str, md5: str = "") -> None:
    """Say what the state in ``folder`` is: its form, the oldest form whose readers understand it, the object, and the
    MD5 that it has to have, in hex, where that is known."""
    about = {"version": VERSION, "readable": VERSION, "object": object_id, "by": f"score-client {__version__}"}
    if md5:
        about["md5"] = md5
    _write(folder / _ABOUT, json.dumps(about).encode())


def _is_ours(folder: Path, object_id: str, say: Say) -> bool:
    """Whether this version can use the state in ``folder``, and it is of that object. Tells why not."""
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        least, version, found = int(about["readable"]), about.get("version"), str(about["object"])
    except OSError:
        return True  # the reference's, or an older version's
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        say(f"{folder / _ABOUT} is damaged; what lies beside it is looked at all the same")
        return True
    if least > VERSION:
        say(f"{folder} is state of a newer version of Score (form {version}), which this one cannot read")
        return False
    if found.lower() != object_id.lower():
        say(f"{folder} is state of another object, {found[:60]}; it is not used")
        return False
    return True


class UploadJournal:
    """The id of an upload in progress, beside the file (or in ``client.uploadStateDir``).

    A folder that cannot be written to, or is full, does not stop an upload: the state then lies in ``fallback``. Of
    an upload of one part it is enough to know that it was begun from here.
    """

    def __init__(self, folder: Path, object_id: str, fallback: Path, say: Say = silence) -> None:
        self._object_id = object_id
        self._folders = [folder / f".{object_id}", fallback / f".{object_id}"]
        self._say = say

    def upload_id(self) -> str | None:
        """The recorded id; None where nothing was begun from here. Nonsense where the file is damaged."""
        for folder in filter(_is_folder, self._folders):
            path = folder / _ID
            try:
                text = path.read_bytes().decode("utf-8", "replace").strip()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise translate(error, path) from error
            if text and _is_ours(folder, self._object_id, self._say):
                return text
        return None

    @property
    def begun(self) -> bool:
        """Whether there is state of an upload, readable or not."""
        return any(map(_is_folder, self._folders))

    def intend(self, md5: str = "") -> None:
        """Record that an upload is being started, before the server is asked: its answer may get lost. ``md5`` is the
        one that the server is told, in hex."""
        self._keep(_INTENT, md5.encode())

    def relent(self) -> None:
        """The server refused to start it."""
        self._remove(_INTENT, _ABOUT)

    @property
    def intended(self) -> bool:
        """Whether a start was asked for from here whose answer never came."""
        return any(os.path.isfile(folder / _INTENT) for folder in self._folders)

    def md5(self) -> str:
        """The MD5 that the file had to have when its upload was begun, in hex; empty where nobody knows."""
        for folder in self._folders:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                if is_md5(found := str(json.loads((folder / _ABOUT).read_bytes())["md5"])):
                    return found
            with contextlib.suppress(OSError, ValueError):
                if is_md5(found := (folder / _INTENT).read_text("ascii")):
                    return found
        return ""

    def record(self, upload_id: str, md5: str = "") -> None:
        """Keep the id of the upload that was started, and the MD5 that its file has to have."""
        self._keep(_ID, f"{upload_id}\n".encode(), md5)
        self._remove(_INTENT)

    def forget(self) -> None:
        """The upload is completed or cancelled."""
        self._remove(_ID, _INTENT, _ABOUT)

    def _keep(self, name: str, data: bytes, md5: str = "") -> None:
        beside, fallback = self._folders
        try:
            self._keep_in(beside, name, data, md5)
        except (NotFound, Refused, NoSpace):
            try:
                self._keep_in(fallback, name, data, md5)
            except ScoreError as error:
                error.hint = "The state of the upload is kept there; name another folder for it: --state-dir."
                raise

    def _keep_in(self, folder: Path, name: str, data: bytes, md5: str) -> None:
        _make(folder)
        if name == _ID:
            _mark(folder, self._object_id, md5)
        _write(folder / name, data, lasting=name == _ID)

    def _remove(self, *names: str) -> None:
        for folder in self._folders:
            if not _is_folder(folder):
                continue
            for name in names:
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()


class DownloadJournal:
    """The specification of a download, its finished parts, and the ETag of the object that they are of.

    Of an object of one part there is nothing to go on with. Files that are made and removed again are most of what a
    small download costs, so its bytes are gathered in the one that is its lock (:meth:`keep_nothing`).
    """

    def __init__(self, folder: Path, object_id: str, say: Say = silence) -> None:
        self._object_id = object_id
        self._say = say
        self._folder = folder / f".{object_id}"
        self._gone = folder / f".{object_id}.done"
        self._meta = self._folder / "meta"
        self._keeps_parts = True
        self.data = folder / object_id

    @property
    def begun(self) -> bool:
        """Whether there is state of a download, readable or not. That of an upload, which lies in the same folder, is
        none."""
        return _is_folder(self._folder) and (not self._is_shared or self._meta.exists())

    @property
    def _is_shared(self) -> bool:
        """Whether an upload that was begun from here has its state in the same folder."""
        return any((self._folder / name).exists() for name in (_ID, _INTENT))

    def specification(self) -> Specification | None:
        """What was being downloaded; None where there is nothing to go on with, or it cannot be used."""
        if not self.begun or not _is_ours(self._folder, self._object_id, self._say):
            return None
        try:
            found = from_json(Specification, self._meta.read_bytes())
        except FileNotFoundError:
            if any(self._folder.iterdir()):
                self._say(f"{self._meta} is missing; the download is begun anew")
            return None
        except (OSError, ValueError):
            self._say(f"{self._meta} is damaged or cannot be read; the download is begun anew")
            return None
        if found.object_id.lower() != self._object_id.lower():
            self._say(f"{self._meta} is of another object, {found.object_id[:60]}; the download is begun anew")
            return None
        return found

    def begin(self, specification: Specification, *, keep: bool = False) -> None:
        """Start afresh: whatever was kept is dropped, with ``keep`` but for the bytes."""
        if not keep:  # before the state: bytes without state are anybody's, and in the way
            with translated(self.data):
                self.data.unlink(missing_ok=True)
        self.forget()
        _make(self._folder)
        self._keeps_parts = len(specification.parts) > 1
        if self._keeps_parts:
            if not self._is_shared:
                _mark(self._folder, self._object_id)
            _write(self._meta, to_json(specification), lasting=True)

    def keep_nothing(self, file: Path | None) -> None:
        """Gather the bytes of an object of one part in ``file``; for None, beside the folder that there would be."""
        self._keeps_parts = False
        self.data = file or self._alone

    @property
    def _alone(self) -> Path:
        return self._folder.with_name(f"{self._folder.name}.part")

    def finish_move(self, target: Path, file: Path | None) -> None:
        """Go on where a crash came into the move of the bytes to ``target``, which then have both names. ``file`` is
        that of :meth:`keep_nothing`."""
        if self.begun and self.data != target:  # else what is at ``data`` is somebody else's
            finish_move(self.data, target)
        if file is None:
            finish_move(self._alone, target)

    def finished(self) -> dict[int, Part]:
        """The finished parts, by number; files that cannot be read count as parts that are not finished."""
        found: dict[int, Part] = {}
        damaged = 0
        for path in self._folder.glob("part-*"):
            try:
                part = from_json(Part, path.read_bytes())
                found[part.part_number] = part
            except (OSError, ValueError):
                damaged += 1
        if damaged:
            what = "a record of a finished part is" if damaged == 1 else f"{damaged} records of finished parts are"
            self._say(f"{what} damaged; what they stand for is fetched again")
        return found

    def record(self, part: Part) -> None:
        """A part's bytes are in the file; ``part.md5`` is their checksum."""
        if self._keeps_parts:
            _write(self._folder / f"part-{part.part_number:08x}", to_json(part.changed(url=None)))

    def keep_etag(self, etag: str) -> None:
        """Keep the ETag, as the store gave it, of the object that the parts are of."""
        if self._keeps_parts:
            _write(self._folder / _ETAG, etag.encode("utf-8", "replace"))

    def etag(self) -> str:
        """The ETag of the object that the finished parts are of; empty where it is not known."""
        if not self._keeps_parts:
            return ""
        try:
            text = (self._folder / _ETAG).read_bytes()[:_LONGEST_ETAG].decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return text if text.isprintable() else ""

    def drop(self, number: int) -> None:
        """A part has to be fetched again."""
        with contextlib.suppress(OSError):
            (self._folder / f"part-{number:08x}").unlink()

    def forget_at(self, target: Path) -> None:
        """The object is at ``target``: remove what a run that was killed as it ended may have left."""
        if target == self.data or not is_there(self.data):
            self.forget()

    def forget(self) -> None:
        """The download is finished: remove its state, not its bytes. It is gone at one blow: where only some of it
        was, finished bytes would be taken for unfinished ones."""
        _remove(self._gone)
        if not self._folder.is_dir() or self._folder.is_symlink():
            return
        if self._is_shared:
            for path in (self._meta, self._folder / _ETAG, *self._folder.glob("part-*")):
                with contextlib.suppress(OSError):
                    path.unlink()
            return
        with contextlib.suppress(OSError):
            if os.access(self._folder, os.W_OK):  # else it is somebody else's, and to stay where it is
                self._folder.rename(self._gone)
        _remove(self._gone)
        _remove(self._folder)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()  # of an object of one part nothing is in it
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
