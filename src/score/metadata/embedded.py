"""The embedded registry: what a site without Song needs of Song, in one SQLite file. Protocol, section 6.

Durable when a call returns; several processes may share the file. Where it differs from Song, on purpose:

- A file whose MD5 is registered already is taken (Song: 409 unless ``allowDuplicates=true``): equal files are
  ordinary, empty ones above all, and each is an object of its own.
- No schemas of analysis types: a payload is checked for what Score needs, the rest is kept as it is.
- A suppressed analysis stays suppressed (Song lets it be published again, though not unpublished): it was withdrawn.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from score.errors import (
    AlreadyExists,
    Conflict,
    Misconfigured,
    NoSpace,
    NotFound,
    Refused,
    ScoreError,
    Unavailable,
)
from score.metadata.base import Analysis, AnalysisState, RegisteredFile
from score.metadata.payload import (
    Document,
    analysis_document,
    check_payload,
    check_study_id,
    file_documents,
    free_keys,
)
from score.protocol.wire import Entity

R = TypeVar("R")

_VERSION = 1
_SCHEMA = """
CREATE TABLE study (id TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;
CREATE TABLE analysis (
    id TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES study, state TEXT NOT NULL,
    created TEXT NOT NULL, updated TEXT NOT NULL, kept TEXT NOT NULL
) STRICT;
CREATE INDEX analysis_by_study ON analysis (study, state);
CREATE TABLE file (
    object TEXT PRIMARY KEY, analysis TEXT NOT NULL REFERENCES analysis, study TEXT NOT NULL,
    name TEXT NOT NULL, access TEXT NOT NULL, position INTEGER NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE INDEX file_by_analysis ON file (analysis, position);
CREATE INDEX file_by_study ON file (study);
CREATE INDEX file_by_name ON file (name);
CREATE TABLE change (
    number INTEGER PRIMARY KEY, analysis TEXT NOT NULL REFERENCES analysis,
    was TEXT NOT NULL, became TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE INDEX change_by_analysis ON change (analysis, number);
"""
_ENTITIES = "SELECT object, analysis, name, study, access FROM file"
COLUMNS = {"id": "object", "gnosId": "analysis", "fileName": "name", "projectCode": "study", "access": "access"}
"""The fields of an entity, and where they lie."""


class UnknownStudy(NotFound):
    """There is no such study."""


class UnknownAnalysis(NotFound):
    """There is no such analysis."""


class UnknownFile(NotFound):
    """There is no such file."""


class OtherStudy(NotFound):
    """It is there, but belongs to another study."""


class Suppressed(Conflict):
    """The analysis was withdrawn, and stays so."""


class EmbeddedRegistry:
    """:class:`score.metadata.base.Registry` and the rest of Song's API that Score's users need.

    The file is ``registry.sqlite3`` in ``folder``, made where missing. ``now`` gives the time, with time zone. Beside
    the errors of the interface: Invalid, Conflict, AlreadyExists, Refused, and NoSpace.
    """

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = folder / "registry.sqlite3"
        self._now = now
        # SQLite serves one writer at a time anyway, and a read costs microseconds: one thread, one connection.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._connection: sqlite3.Connection | None = None

    # What the broker needs.

    async def entity(self, object_id: str) -> Entity:
        """The registered file of an object."""

        def find(db: sqlite3.Connection) -> Entity:
            row = db.execute(f"{_ENTITIES} WHERE object = ?", (object_id,)).fetchone()
            if row is None:
                raise UnknownFile(f"Object {object_id} is not registered.", hint="Check the object id.")
            return _entity(row)

        return await self._read(find)

    async def bundle(self, analysis: str) -> list[Entity]:
        """The registered files of an analysis, in the order in which they were submitted."""
        query = f"{_ENTITIES} WHERE analysis = ? ORDER BY position"
        return await self._read(lambda db: [_entity(row) for row in db.execute(query, (analysis,))])

    async def analysis_state(self, study: str, analysis: str) -> AnalysisState:
        """The publication state of an analysis."""
        return AnalysisState(await self._read(lambda db: _find_analysis(db, study, analysis)["state"]))

    async def list_analyses(
        self, study: str, states: Sequence[AnalysisState], *, offset: int, limit: int
    ) -> tuple[list[Analysis], int]:
        """Some of a study's analyses in one of ``states``, the latest first, and how many there are in all."""
        which = f"FROM analysis WHERE study = ? AND state IN ({', '.join('?' * len(states))})"

        def find(db: sqlite3.Connection) -> tuple[list[Analysis], int]:
            _find_study(db, study)
            (total,) = db.execute(f"SELECT count(*) {which}", (study, *states)).fetchone()
            files = "(SELECT count(*) FROM file WHERE analysis = analysis.id)"
            columns = f"id, state, updated, {files} AS files, json_extract(kept, '$.analysisType.name') AS kind"
            rows = db.execute(
                f"SELECT {columns} {which} ORDER BY created DESC, id LIMIT ? OFFSET ?",
                (study, *states, limit, offset),
            )
            found = [
                Analysis(row["id"], AnalysisState(row["state"]), row["files"], str(row["kind"] or ""), row["updated"])
                for row in rows
            ]
            return found, total

        return await self._read(find)

    async def list_files(self, study: str, analysis: str) -> list[RegisteredFile]:
        """The files of an analysis, in the order in which they were submitted."""
        return [
            RegisteredFile(
                file["objectId"], file["fileName"], file["fileSize"], file["fileMd5sum"], file["fileAccess"]
            )
            for file in await self.files(study, analysis)
        ]

    async def probe(self) -> str:
        """Empty when the file can be read, else one sentence on what is wrong."""
        try:
            await self._read(lambda db: db.execute("SELECT count(*) FROM study").fetchone())
        except ScoreError as error:
            return str(error)
        return ""

    async def close(self) -> None:
        """Wait for what runs, and close the file."""

        def close() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown()

    # Studies

    async def create_study(self, study: str, document: Mapping[str, object]) -> None:
        """Create a study; ``document`` is kept. Invalid for an impossible id, AlreadyExists for one that is there."""
        check_study_id(study)

        def create(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM study WHERE id = ?", (study,)).fetchone():
                raise AlreadyExists(f"The studyId {study!r} already exists.")
            db.execute("INSERT INTO study VALUES (?, ?)", (study, json.dumps({**document, "studyId": study})))

        await self._write(create)

    async def studies(self) -> list[str]:
        """The ids of all studies, in order."""
        return await self._read(lambda db: [row[0] for row in db.execute("SELECT id FROM study ORDER BY id")])

    async def study(self, study: str) -> Document:
        """What was given when the study was created."""
        return await self._read(lambda db: _find_study(db, study))

    # Analyses

    async def submit(self, study: str, payload: object) -> str:
        """Register an analysis with its files, unpublished; gives its id. Invalid, or Conflict, for a bad payload."""

        def insert(db: sqlite3.Connection) -> str:
            _find_study(db, study)
            checked = check_payload(study, payload)
            analysis = str(uuid.uuid4())
            at = self._stamp()
            db.execute(
                "INSERT INTO analysis VALUES (?, ?, ?, ?, ?, ?)",
                (analysis, study, AnalysisState.UNPUBLISHED, at, at, json.dumps(free_keys(checked))),
            )
            db.executemany(
                "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (file["objectId"], analysis, study, file["fileName"], file["fileAccess"], at, json.dumps(file))
                    for at, file in enumerate(file_documents(study, analysis, checked))
                ],
            )
            return analysis

        return await self._write(insert)

    async def analysis(self, study: str, analysis: str) -> Document:
        """An analysis as Song gives it."""
        return await self._read(lambda db: _describe(db, _find_analysis(db, study, analysis)))

    async def analyses(self, study: str, states: Sequence[AnalysisState]) -> list[Document]:
        """The analyses of a study in one of ``states``, the oldest first."""

        def find(db: sqlite3.Connection) -> list[Document]:
            _find_study(db, study)
            marks = ", ".join("?" * len(states))
            rows = db.execute(
                f"SELECT * FROM analysis WHERE study = ? AND state IN ({marks}) ORDER BY created, id",  # noqa: S608
                (study, *states),
            ).fetchall()
            return [_describe(db, row) for row in rows]

        return await self._read(find)

    async def files(self, study: str, analysis: str) -> list[Document]:
        """The files of an analysis, in the order in which they were submitted."""

        def find(db: sqlite3.Connection) -> list[Document]:
            _find_analysis(db, study, analysis)
            return _files(db, analysis)

        return await self._read(find)

    async def file(self, study: str, object_id: str) -> Document:
        """One file of a study."""

        def find(db: sqlite3.Connection) -> Document:
            row = db.execute("SELECT study, document FROM file WHERE object = ?", (object_id,)).fetchone()
            if row is None or row["study"] != study:
                _find_study(db, study)
            if row is None:
                raise UnknownFile(f"The File with objectId {object_id!r} does not exist.")
            if row["study"] != study:
                raise OtherStudy(f"The objectId {object_id!r} is not related to the studyId {study!r}.")
            return _load(row["document"])

        return await self._read(find)

    async def check_not_suppressed(self, study: str, analysis: str) -> None:
        """Raises Suppressed where an analysis cannot change its state any more."""
        await self._read(lambda db: _check_not_suppressed(_find_analysis(db, study, analysis)))

    async def change_state(self, study: str, analysis: str, state: AnalysisState) -> None:
        """Publish, unpublish or suppress, and note it in the history, as Song does also where nothing changes.

        Raises Suppressed where it was suppressed and is to become anything else. Whoever publishes has checked the
        objects.
        """

        def change(db: sqlite3.Connection) -> None:
            row = _find_analysis(db, study, analysis)
            if state is not AnalysisState.SUPPRESSED:
                _check_not_suppressed(row)
            at = self._stamp()
            db.execute("UPDATE analysis SET state = ?, updated = ? WHERE id = ?", (state, at, analysis))
            db.execute(
                "INSERT INTO change (analysis, was, became, at) VALUES (?, ?, ?, ?)",
                (analysis, row["state"], state, at),
            )

        await self._write(change)

    async def entities(self, wanted: Mapping[str, str], *, offset: int, limit: int) -> tuple[list[Document], int]:
        """Some of the entities that have all the fields ``wanted`` (of :data:`COLUMNS`), ordered by id, and how many
        there are in all."""
        where = " AND ".join(f"{COLUMNS[field]} = ?" for field in wanted) or "1"
        select = ", ".join(f"{column} AS {field}" for field, column in COLUMNS.items())

        def find(db: sqlite3.Connection) -> tuple[list[Document], int]:
            values = tuple(wanted.values())
            (total,) = db.execute(f"SELECT count(*) FROM file WHERE {where}", values).fetchone()  # noqa: S608
            rows = db.execute(
                f"SELECT {select} FROM file WHERE {where} ORDER BY object LIMIT ? OFFSET ?",  # noqa: S608
                (*values, limit, offset),
            )
            return [dict(row) for row in rows], total

        return await self._read(find)

    # In the thread

    async def _read(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """The result of ``work``, which sees one state of the file."""
        return await self._transact("BEGIN", work)

    async def _write(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """The result of ``work``, which changes the file: all of it is done, durably, or nothing."""
        return await self._transact("BEGIN IMMEDIATE", work)

    async def _transact(self, begin: str, work: Callable[[sqlite3.Connection], R]) -> R:

        def run() -> R:
            with _database_errors(self._path):
                if self._connection is None:
                    self._connection = _open(self._path)
                db = self._connection
                db.execute(begin)
                try:
                    result = work(db)
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
                return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _stamp(self) -> str:
        """The time as Song writes it: UTC, microseconds, without zone."""
        return self._now().astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def _open(path: Path) -> sqlite3.Connection:
    """Open the file, made where missing. Misconfigured where a newer version of this program made it."""
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            raise Misconfigured(
                f"The registry {path} has schema version {version}, and this program knows {_VERSION}.",
                hint="Start the version of Score that made it, or a newer one.",
            )
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        why = f"The registry {path} failed: {error}."
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace(why, hint="Make room on its disk, then try again.") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOTADB):
            raise Refused(why, hint="Check the file, its folder and their permissions.") from error
        hint = "Check its disk: it may be full." if code == sqlite3.SQLITE_IOERR else "Try again."
        raise Unavailable(why, hint=hint) from error


def _entity(row: sqlite3.Row) -> Entity:
    return Entity(id=row[0], gnos_id=row[1], file_name=row[2], project_code=row[3], access=row[4])


def _find_study(db: sqlite3.Connection, study: str) -> Document:
    row = db.execute("SELECT document FROM study WHERE id = ?", (study,)).fetchone()
    if row is None:
        raise UnknownStudy(f"The studyId {study!r} does not exist.")
    return _load(row[0])


def _find_analysis(db: sqlite3.Connection, study: str, analysis: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM analysis WHERE id = ?", (analysis,)).fetchone()
    if row is None or row["study"] != study:
        _find_study(db, study)
    if row is None:
        raise UnknownAnalysis(f"The analysisId {analysis!r} was not found.")
    if row["study"] != study:
        raise OtherStudy(f"The analysisId {analysis!r} is not related to the studyId {study!r}.")
    return row


def _check_not_suppressed(row: sqlite3.Row) -> None:
    if row["state"] == AnalysisState.SUPPRESSED:
        raise Suppressed(
            f"The analysisId {row['id']!r} was suppressed, and stays so.", hint="Submit its files as a new analysis."
        )


def _files(db: sqlite3.Connection, analysis: str) -> list[Document]:
    rows = db.execute("SELECT document FROM file WHERE analysis = ? ORDER BY position", (analysis,))
    return [_load(row[0]) for row in rows]


def _describe(db: sqlite3.Connection, row: sqlite3.Row) -> Document:
    history = db.execute(
        "SELECT was AS initialState, became AS updatedState, at AS updatedAt FROM change"
        " WHERE analysis = ? ORDER BY number",
        (row["id"],),
    )
    own = {
        "analysisId": row["id"],
        "studyId": row["study"],
        "analysisState": row["state"],
        "createdAt": row["created"],
        "updatedAt": row["updated"],
    }
    return analysis_document(own, _load(row["kept"]), _files(db, row["id"]), [dict(change) for change in history])


def _load(text: str) -> Document:
    document: Document = json.loads(text)
    return document
