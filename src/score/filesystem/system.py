"""The file system of fsspec: studies, analyses and their files, read-only."""

from __future__ import annotations

import errno
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from score.client.layout import distinct
from score.client.records import Record
from score.client.settings import Settings
from score.errors import Misconfigured, NotFound
from score.filesystem.file import ScoreFile, as_os_error
from score.filesystem.session import Session, read_settings, session
from score.protocol.ids import is_uuid
from score.protocol.parts import Span
from score.protocol.wire import Entity
from score.reading.remote import GAP

try:
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.spec import AbstractFileSystem, make_instance
except ModuleNotFoundError:
    raise Misconfigured(
        "score:// needs fsspec, which is not installed.", hint="Install it: pip install fsspec"
    ) from None

FILES = 8
"""Files that :meth:`ScoreFileSystem.cat_ranges` reads at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to: a file, or a folder with the names of its files or of its folders."""

    entity: Entity | None = None
    files: tuple[tuple[str, Entity], ...] = ()
    folders: tuple[str, ...] = ()


class ScoreFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """``score://<object id>``, ``score://<analysis>/<name>`` or ``score://<study>/<analysis>/<name>``.

    Settings are those of score-client: files, environment, and here ``storage_url``, ``metadata_url``, ``token`` (the
    access token) and ``settings``, others by their names. A token that was given here stays out of the pickled form,
    unless ``pickle_token`` is set: another process takes its own, from its settings.

    Errors are FileNotFoundError, PermissionError, and OSError for all else. Nothing can be written.
    """

    protocol = "score"
    root_marker = ""

    def __init__(
        self,
        storage_url: str | None = None,
        metadata_url: str | None = None,
        token: str | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        pickle_token: bool = False,
        **options: Any,
    ) -> None:
        """Asks nobody. Raises Misconfigured where no server is named anywhere."""
        super().__init__(**options)
        given = {"storage.url": storage_url, "metadata.url": metadata_url, "accessToken": token}
        self._settings: Settings = read_settings(
            {**(settings or {}), **{name: value for name, value in given.items() if value}}
        )
        self._pickle_token = pickle_token
        self._process = 0

    def __reduce__(self) -> Any:
        return make_instance, (type(self), (), self._portable())

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """As JSON: without the token, unless ``pickle_token`` is set."""
        found: dict[str, Any] = super().to_dict(include_password=include_password)
        kept = self._portable()
        given = set(self.storage_options) | {"storage_url", "metadata_url"}
        return {name: value for name, value in found.items() if name not in given} | {"args": ()} | kept

    def to_json(self, *, include_password: bool = True) -> str:
        """As text: without the token, unless ``pickle_token`` is set."""
        import json

        return json.dumps(self.to_dict(include_password=include_password))

    @property
    def session(self) -> Session:
        """The client and what it knows; one for all file systems of the same settings in this process."""
        if self._process != os.getpid():
            self._session, self._process = session(self._settings), os.getpid()
        return self._session

    def invalidate_cache(self, path: str | None = None) -> None:
        """What was told of analyses is asked for anew."""
        self.session.forget()

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What is in a folder, or the one file, as fsspec describes it."""
        path = self._strip_protocol(path)
        with as_os_error(path):
            found = self._find(path)
            if found.entity is not None:
                listed = [self._describe(path, found.entity, self.session.record(found.entity))]
            else:
                before = f"{path}/" if path else ""
                listed = [self._folder(before + name) for name in found.folders]
                listed += [
                    self._describe(before + name, entity, self.session.known(entity) if detail else None)
                    for name, entity in found.files
                ]
        return listed if detail else [one["name"] for one in listed]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Size (bytes), type, object id, analysis, study and MD5 of a file, as registered."""
        path = self._strip_protocol(path)
        with as_os_error(path):
            entity = self._find(path).entity
            return self._folder(path) if entity is None else self._describe(path, entity, self.session.record(entity))

    def exists(self, path: str, **options: Any) -> bool:
        """Whether it is registered. An OSError where that cannot be known now."""
        path = self._strip_protocol(path)
        with as_os_error(path):
            try:
                self._find(path)
            except NotFound:
                return False
        return True

    def isfile(self, path: str) -> bool:
        """Whether it is a registered file."""
        return self._is(path, file=True)

    def isdir(self, path: str) -> bool:
        """Whether it is a study, an analysis, or the root."""
        return self._is(path, file=False)

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: str | Callable[[OSError], object] | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """As fsspec's, on which ``find``, ``glob``, ``du`` and recursive copies rest; but a folder that cannot be
        listed is an OSError here, unless it is gone: part of the files would pass for all of them."""
        return super().walk(path, maxdepth, topdown, on_error or _unless_gone, **options)  # type: ignore[no-any-return]

    def modified(self, path: str) -> datetime:
        """When its analysis was published or last changed. Raises NotImplementedError where that is not told."""
        found = self.info(path).get("mtime")
        if found is None:
            raise NotImplementedError(f"{path}: the metadata service tells no time.")
        return datetime.fromtimestamp(found, UTC)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """The bytes of a file from ``start`` to ``end``, which count from the end where they are negative."""
        with self._open(self._strip_protocol(path)) as file:
            span = _span(start, end, file.size)
            return file.read_at(span.offset, span.length)

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | list[int | None] | None,
        ends: int | list[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        """The bytes of ranges of files: each file is opened once, and ranges of it that lie at most ``max_gap`` bytes
        apart come by one request."""
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        begin = starts if isinstance(starts, list) else [starts] * len(paths)
        until = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(begin) == len(until):
            raise ValueError("as many starts and ends as paths")
        places: dict[str, list[int]] = defaultdict(list)
        for number, path in enumerate(paths):
            places[self._strip_protocol(path)].append(number)
        found: list[Any] = [b""] * len(paths)

        def fill(item: tuple[str, list[int]]) -> None:
            path, numbers = item
            try:
                with self._open(path) as file:
                    spans = [_span(begin[number], until[number], file.size) for number in numbers]
                    for number, data in zip(numbers, _gather(file, spans, max_gap), strict=True):
                        found[number] = data
            except Exception as error:
                if on_error != "return":
                    raise
                for number in numbers:
                    found[number] = error

        with ThreadPoolExecutor(min(FILES, len(places)) or 1) as pool:
            list(pool.map(fill, places.items()))
        return found

    def get_file(
        self, rpath: str, lpath: Any = None, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **options: Any
    ) -> None:
        """As fsspec's; but at ``lpath`` is the whole file in the end, or what was there before."""
        target = os.path.realpath(lpath) if outfile is None and isinstance(lpath, str | os.PathLike) else ""
        if not target or (os.path.exists(target) and not os.path.isfile(target)) or self.isdir(rpath):
            super().get_file(rpath, lpath, callback, outfile, **options)
            return
        folder = os.path.dirname(target)
        made = os.path.join(folder, f".{uuid.uuid4().hex}.part")
        os.makedirs(folder, exist_ok=True)
        try:
            with open(made, "xb") as file:
                super().get_file(rpath, None, callback, file, **options)
            os.replace(made, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(made)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> ScoreFile:
        """Open a file; cache and read-ahead are ours, so fsspec's options of a cache do not count."""
        if mode not in ("rb", "r"):
            self._refuse(path)
        with as_os_error(path):
            entity = self._find(path).entity
            if entity is None:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            handles = self.session.handles
            return ScoreFile(self, path, handles, handles.acquire(entity.id, entity.file_name or entity.id))

    def _refuse(self, path: Any = "", *rest: Any, **options: Any) -> NoReturn:
        """Nothing is passed over that was not done."""
        raise OSError(errno.EROFS, "Objects are read-only here; upload new ones by score-client", str(path))

    mkdir = makedirs = rmdir = rm_file = _rm = rm = cp_file = mv = put_file = pipe_file = touch = _refuse

    def _is(self, path: str, *, file: bool) -> bool:
        path = self._strip_protocol(path)
        with as_os_error(path):
            try:
                return (self._find(path).entity is not None) is file
            except NotFound:
                return False

    def _find(self, path: str) -> Found:
        """What ``path`` leads to. Raises NotFound."""
        words = [word for word in path.split("/") if word]
        found: Found | None = None
        match words:
            case []:
                found = Found(folders=tuple(self.session.studies()))
            case [one]:
                found = self._find_one(one)
            case [one, two]:
                if files := self.session.analysis(one):
                    found = _file(files, two)
                elif files := self.session.analysis(two, one):
                    found = _folder(files)
            case [study, analysis, name]:
                found = _file(self.session.analysis(analysis, study), name)
        if found is None:
            raise NotFound(f"score://{path} does not exist.", hint="score://<object id> or <analysis>/<name>")
        return found

    def _find_one(self, name: str) -> Found | None:
        """An object, an analysis or a study."""
        if is_uuid(name) and (entity := self.session.entity(name)) is not None:
            return Found(entity)
        if files := self.session.analysis(name):
            return _folder(files)
        if not is_uuid(name) and name in self.session.studies():
            return Found(folders=tuple(self.session.analyses(name)))
        return None

    def _portable(self) -> dict[str, Any]:
        """The options with which another process makes this file system; addresses as they are in force here."""
        settings, held = self._settings, dict(self.storage_options)
        held |= {"storage_url": settings.storage_url, "metadata_url": settings.metadata_url}
        if self._pickle_token:
            return held | ({"token": settings.token} if settings.token else {})
        held.pop("token", None)
        if given := held.get("settings"):
            held["settings"] = {name: value for name, value in given.items() if not _is_secret(name)}
        return held

    @staticmethod
    def _describe(path: str, entity: Entity, record: Record | None) -> dict[str, Any]:
        known = {"mtime": record.modified, "md5": record.md5} if record else {}
        return {
            "name": path,
            "size": record.size if record else None,
            "type": "file",
            "object_id": entity.id,
            "analysis": entity.gnos_id,
            "study": entity.project_code,
            **{name: value for name, value in known.items() if value},
        }

    @staticmethod
    def _folder(path: str) -> dict[str, Any]:
        return {"name": path, "size": 0, "type": "directory"}


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_secret(name: str) -> bool:
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return plain == "accesstoken" or "password" in plain


def _folder(files: Iterable[Entity]) -> Found:
    found = list(files)
    return Found(files=tuple(zip(distinct((one.id, one.file_name) for one in found), found, strict=True)))


def _file(files: Iterable[Entity], name: str) -> Found | None:
    return next((Found(entity) for shown, entity in _folder(files).files if shown == name), None)


def _span(start: int | None, end: int | None, size: int) -> Span:
    """The range of a slice of ``size`` bytes."""
    first, last, _ = slice(start, end).indices(size)
    return Span(first, max(0, last - first))


def _gather(file: ScoreFile, spans: list[Span], gap: int | None) -> list[bytes]:
    """The bytes of each span, those of spans that overlap in each of them."""
    buffers = [bytearray(span.length) for span in spans]
    order = sorted(range(len(spans)), key=lambda number: spans[number])
    first = 0
    for offset, data in file.stream(spans, GAP if gap is None else gap):
        while first < len(order) and spans[order[first]].end <= offset:
            first += 1
        for number in order[first:]:
            span = spans[number]
            if span.offset >= offset + len(data):
                break
            start, end = max(span.offset, offset), min(span.end, offset + len(data))
            if start < end:
                buffers[number][start - span.offset : end - span.offset] = data[start - offset : end - offset]
    return [bytes(buffer) for buffer in buffers]
