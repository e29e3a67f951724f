"""The list of files of a mount, in a database: a temporary one, or one that is kept (``--cache-metadata``).

Memory is that of the database's page cache, however many files there are.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score.client.records import Record
from score.errors import Conflict
from score.protocol.wire import Entity

FORMAT = 1
"""Of a kept list; another one is made anew."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS bundle (seq INTEGER PRIMARY KEY, analysis TEXT NOT NULL UNIQUE, run INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS file (
    seq INTEGER PRIMARY KEY, object TEXT NOT NULL UNIQUE, analysis TEXT NOT NULL, name TEXT NOT NULL,
    study TEXT NOT NULL, size INTEGER, modified REAL, run INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS file_by_name ON file (analysis, name);
CREATE TABLE IF NOT EXISTS state (run INTEGER NOT NULL, complete INTEGER NOT NULL);
"""
_FILE = "seq, object, analysis, name, study, size, modified"


@dataclass(frozen=True, slots=True)
class File:
    """A registered file. ``size`` in bytes and ``modified`` in seconds since 1970 are None until they were asked for;
    ``seq`` is its place in the list."""

    seq: int
    object_id: str
    analysis: str
    name: str
    study: str
    size: int | None = None
    modified: float | None = None


class Index:
    """The files of a repository, or of a manifest. Safe for threads."""

    def __init__(self, path: Path | None = None) -> None:
        """``path`` is where the list is kept; a file that is none, or of another format, is replaced.

        Raises OSError where it cannot be written; here and later Conflict where the database fails: the disk is full,
        or the file was damaged.
        """
        self._lock = threading.RLock()
        self._path = path
        if path is None:
            self._db = _open("")
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        with self._told():
            try:
                self._db = _open(str(path))
            except sqlite3.OperationalError:
                raise  # it is in use, or the disk is full
            except sqlite3.DatabaseError:
                for leftover in path.parent.glob(f"{path.name}*"):
                    leftover.unlink(missing_ok=True)
                self._db = _open(str(path))

    def close(self) -> None:
        """Give back the database."""
        with self._lock:
            self._db.close()

    @property
    def complete(self) -> bool:
        """Whether the list was once filled to its end."""
        return bool(self._one("SELECT complete FROM state")[0])

    @property
    def count(self) -> int:
        """Number of files."""
        return int(self._one("SELECT count(*) FROM file")[0])

    def begin(self) -> int:
        """Begin to fill the list; gives the number of this run."""
        with self._writing():
            self._db.execute("UPDATE state SET run = run + 1")
        return int(self._one("SELECT run FROM state")[0])

    def add(self, entities: Iterable[Entity], run: int) -> None:
        """Add files, or see again those that are there."""
        rows = [(one.id, one.gnos_id, one.file_name, one.project_code, run) for one in entities]
        with self._writing():
            self._db.executemany(
                "INSERT INTO bundle (analysis, run) VALUES (?, ?) ON CONFLICT DO UPDATE "
                "SET run = max(run, excluded.run)",  # another process may list as well
                dict.fromkeys((row[1], run) for row in rows),
            )
            self._db.executemany(
                "INSERT INTO file (object, analysis, name, study, run) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET analysis = excluded.analysis, name = excluded.name, study = excluded.study, "
                "run = max(run, excluded.run)",
                rows,
            )

    def finish(self, run: int) -> None:
        """The list is filled: what was not seen in this run or a later one is gone."""
        with self._writing():
            self._db.execute("DELETE FROM file WHERE run < ?", (run,))
            self._db.execute("DELETE FROM bundle WHERE run < ?", (run,))
            self._db.execute("UPDATE state SET complete = 1")

    def learn(self, records: Iterable[Record]) -> None:
        """Note what is now known of objects."""
        with self._writing():
            self._db.executemany(
                "UPDATE file SET size = ?, modified = coalesce(?, modified) WHERE object = ?",
                [(one.size, one.modified, one.object_id) for one in records],
            )

    def object(self, object_id: str) -> File | None:
        """A file by its object id."""
        found = self._files("WHERE object = ?", (object_id,))
        return found[0] if found else None

    def bundle(self, analysis: str) -> list[File]:
        """The files of an analysis; none where it is unknown."""
        return self._files("WHERE analysis = ? ORDER BY seq", (analysis,))

    def named(self, analysis: str, name: str) -> list[File]:
        """The files of an analysis with that name: more than one only in odd registries."""
        return self._files("WHERE analysis = ? AND name = ?", (analysis, name))

    def after(self, seq: int, limit: int) -> list[File]:
        """At most ``limit`` files that follow ``seq`` in the list."""
        return self._files("WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))

    def bundles(self, seq: int, limit: int) -> list[tuple[int, str]]:
        """At most ``limit`` analyses that follow ``seq``: place in the list, id."""
        found: list[tuple[int, str]]
        found = self._all("SELECT seq, analysis FROM bundle WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
        return found

    def place(self, analysis: str) -> int:
        """The place of an analysis in the list; 0 where it is unknown."""
        found = self._all("SELECT seq FROM bundle WHERE analysis = ?", (analysis,))
        return int(found[0][0]) if found else 0

    def _files(self, where: str, values: Sequence[Any]) -> list[File]:
        return [File(*row) for row in self._all(f"SELECT {_FILE} FROM file {where}", values)]  # noqa: S608

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._told():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._told(), self._db:
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database as one of Score."""
        try:
            yield
        except sqlite3.Error as error:
            place = "temporary files" if self._path is None else str(self._path)
            raise Conflict(
                f"The list of files cannot be kept in {place}: {error}.",
                hint="Is the disk full? Unmount, delete a kept list, and mount again.",
            ) from None

    def _one(self, query: str) -> Any:
        return self._all(query)[0]


def _open(name: str) -> sqlite3.Connection:
    """A database with the tables of a list. Raises sqlite3.DatabaseError where the file is something else."""
    db = sqlite3.connect(name, timeout=60, check_same_thread=False)
    try:
        with db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                raise sqlite3.DatabaseError(f"format {found}")
            db.execute("PRAGMA synchronous = OFF")  # what a crash takes is asked for again
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO state SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM state)")
            db.execute(f"PRAGMA user_version = {FORMAT}")
            db.execute("SELECT count(*), max(size) FROM file").fetchone()
    except BaseException:
        db.close()
        raise
    return db
