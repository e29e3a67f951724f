"""Keys of our own, for a site that has neither Ego nor Keycloak: one SQLite file, with a hash of each key.

A key is shown once, when it is made. It is a random UUID (122 bits), so that every client takes it for an API key,
and so that a plain SHA-256 of it cannot be turned back. It is looked up by that hash: the time this takes tells
nothing of keys.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from score.auth.base import Identity, fingerprint
from score.errors import Invalid, Misconfigured, NotFound, Unauthenticated, Unavailable
from score.protocol.ids import is_uuid

log = logging.getLogger(__name__)

R = TypeVar("R")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS key (
    hash BLOB PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, scopes TEXT NOT NULL,
    created REAL NOT NULL, expires REAL, revoked REAL
) STRICT
"""
_COLUMNS = "fingerprint, subject, scopes, created, expires, revoked"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key: all but the key. Times in seconds since 1970; ``expires`` None: never, ``revoked``
    None: not."""

    fingerprint: str
    subject: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    revoked: float | None

    def state(self, now: float) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class KeyFile:
    """The file of keys, made where missing, readable by its owner alone. Several processes may use it at once.

    Raises Misconfigured where it cannot be opened or is none, Unavailable where it is locked for long.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            mode = os.fstat(descriptor).st_mode
            os.close(descriptor)
            self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(f"The file of keys {path} cannot be opened: {error}.") from error
        if mode & 0o077:
            log.warning(
                "Others may use the file of keys %s, and who writes to it makes keys. Run: chmod 600 %s", path, path
            )
        try:
            with self._guarded():
                self._connection.execute(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def create(self, subject: str, scopes: Sequence[str], expires: float | None = None) -> str:
        """A new key, which is nowhere to be had again. Invalid for words that are no scopes, or no subject."""
        if not subject.strip() or not subject.isprintable() or len(subject) > 200:
            raise Invalid("A key needs a subject: the name of who will use it, on one line.")
        if wrong := [scope for scope in scopes if not scope or not scope.isprintable() or " " in scope]:
            raise Invalid(f"{wrong[0][:60]!r} is no scope.", hint="A scope is one word, such as score.READ.")
        key = str(uuid.uuid4())
        row = (_hash(key), fingerprint(key), subject, json.dumps(list(scopes)), self._now(), expires)
        with self._guarded():
            self._connection.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return key

    def records(self) -> list[KeyRecord]:
        """Every key, the oldest first."""
        with self._guarded():
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM key ORDER BY created").fetchall()  # noqa: S608
        return [_record(row) for row in rows]

    def revoke(self, which: str) -> KeyRecord:
        """Make a key useless for good; ``which`` is it or its fingerprint. NotFound where there is none."""
        name = fingerprint(which) if is_uuid(which) else which
        with self._guarded():
            self._connection.execute(
                "UPDATE key SET revoked = coalesce(revoked, ?) WHERE fingerprint = ?", (self._now(), name)
            )
            row = self._connection.execute(
                f"SELECT {_COLUMNS} FROM key WHERE fingerprint = ?", (name,)  # noqa: S608
            ).fetchone()  # fmt: skip
        if row is None:
            raise NotFound("There is no such key.", hint="score-server key list shows the fingerprints of all.")
        return _record(row)

    def owner(self, key: str) -> KeyRecord | None:
        """What is known of a key that is valid now, None for all others."""
        wanted = _hash(key)
        with self._guarded():
            row = self._connection.execute(f"SELECT hash, {_COLUMNS} FROM key WHERE hash = ?", (wanted,)).fetchone()  # noqa: S608
        if row is None or not hmac.compare_digest(row[0], wanted):
            return None
        record = _record(row[1:])
        return record if record.state(self._now()) == "valid" else None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise Unavailable(f"The file of keys {self.path} cannot be used now: {error}.", retry_after=5) from error
        except sqlite3.Error as error:
            raise Misconfigured(
                f"{self.path} is no file of keys: {error}.", hint="Check auth.embedded.file."
            ) from error


class EmbeddedKeys:
    """An :class:`score.auth.base.Authorizer` on a file of keys."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._file = KeyFile(path, now)
        # SQLite blocks while another process writes: not the loop that serves.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")

    async def identify(self, token: str) -> Identity:
        """The owner of a key. Unauthenticated where it is unknown, revoked or expired."""
        found = await self._do(lambda: self._file.owner(token))
        if found is None:
            raise Unauthenticated(
                "The API key is not valid.", hint="It may be revoked or expired: ask for a new one."
            )
        return Identity(found.subject, frozenset(found.scopes), found.fingerprint, found.expires)

    async def probe(self) -> str:
        """Empty when there are keys, else what to do."""
        try:
            records = await self._do(self._file.records)
        except (Unavailable, Misconfigured) as error:
            return str(error)
        return "" if records else "There are no keys yet. Make one: score-server key create NAME --scope SCOPE"

    async def close(self) -> None:
        """Close the file."""
        await self._do(self._file.close)
        self._thread.shutdown()

    async def _do(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _hash(key: str) -> bytes:
    return sha256(key.encode()).digest()


def _record(row: tuple[str, str, str, float, float | None, float | None]) -> KeyRecord:
    name, subject, scopes, created, expires, revoked = row
    return KeyRecord(name, subject, tuple(json.loads(scopes)), created, expires, revoked)
