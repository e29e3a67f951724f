"""What programs are told: records of JSON on standard output, and a table of all objects in a file.

Records are documents of one line. Each has ``v``, the version of their form: within a version, fields are added but
never change their meaning.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TextIO

from score.cli import exits
from score.client.outcome import Outcome
from score.errors import Invalid, NoSpace, Refused, ScoreError
from score.transfer.files import translate

VERSION = 1
COLUMNS = ("object_id", "path", "state", "bytes", "seconds", "md5", "error")

_KINDS = ("score.errors", exits.__name__)
"""Where the kinds of errors are named that programs know."""


def described(error: ScoreError | None) -> dict[str, object] | None:
    """An error as a part of a record."""
    if error is None:
        return None
    return {
        "kind": next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ in _KINDS),
        "message": error.message,
        "hint": error.hint,
        "exit": exits.of_error(error),
    }


class Records:
    """Writes records. Where nobody reads them any longer, or there is no room, the work goes on, and :meth:`close`
    raises Refused or NoSpace."""

    def __init__(self, out: TextIO | None, command: str) -> None:
        """``out`` None: nothing is written."""
        self._out = out
        self._command = command
        self._failure: OSError | None = None
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._objects = 0
        self._failed = 0
        self._ended = False

    def write(self, record: str, **fields: object) -> None:
        """One record."""
        if self._out is None or self._failure is not None:
            return
        line = json.dumps({"v": VERSION, "record": record, "command": self._command, **fields})
        try:
            with self._lock:
                self._out.write(line + "\n")
                self._out.flush()
        except OSError as error:
            self._failure = error

    def outcome(self, outcome: Outcome) -> None:
        """An object that ended."""
        self._objects += 1
        self._failed += not outcome.good
        self.write(
            "object",
            object_id=outcome.object_id,
            path=str(outcome.path) if outcome.path else None,
            state=outcome.state.value,
            bytes=outcome.size,
            seconds=round(outcome.seconds, 3),
            md5=outcome.md5,
            error=described(outcome.error),
        )

    def end(self, status: int, error: ScoreError | None = None) -> None:
        """The last record, written once: the exit status, and the error that ended the command where one did."""
        if self._ended:
            return
        self._ended = True
        seconds = round(time.monotonic() - self._start, 3)
        objects, failed = self._objects, self._failed
        self.write("end", exit=status, objects=objects, failed=failed, seconds=seconds, error=described(error))

    def close(self) -> None:
        """Raises Refused where records were lost, NoSpace where there was no room for them."""
        if self._failure is None:
            return
        strerror = self._failure.strerror
        if isinstance(translate(self._failure, ""), NoSpace):
            raise NoSpace(
                f"Standard output: {strerror}; records of this run were lost.",
                hint="Free some space, then run the same command again: what is done is kept.",
            )
        raise Refused(
            f"Standard output: {strerror}; records of this run were lost.",
            hint="Have its reader read to the end, or use --report FILE.",
        )


class Report:
    """A table of the objects of a run, tab separated, UTF-8, with a header: a line as each ends, in the file at once.

    Tabs, line ends and backslashes in names and messages are written as ``\\t``, ``\\n``, ``\\r`` and ``\\\\``.
    """

    def __init__(self, path: Path) -> None:
        """Raises Invalid where the file is something else, which is not overwritten; NotFound, Refused."""
        header = "\t".join(COLUMNS) + "\n"
        self.path = path
        try:
            if path.is_file() and path.stat().st_size:
                with path.open("rb") as file:
                    if file.read(len(header)) != header.encode():
                        raise Invalid(f"--report: {path} is there already, and is no report.", hint="Name another.")
            self._file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n")
            self._file.write(header)
            self._file.flush()
        except OSError as error:
            raise translate(error, path) from error
        self._lock = threading.Lock()
        self._failure: OSError | None = None

    def outcome(self, outcome: Outcome) -> None:
        """An object that ended. A disk that fills up ends no transfer; :meth:`close` tells of it."""
        cells = (
            outcome.object_id,
            str(outcome.path or ""),
            outcome.state.value,
            str(outcome.size),
            f"{outcome.seconds:.3f}",
            outcome.md5 or "",
            str(outcome.error or ""),
        )
        try:
            with self._lock:
                self._file.write("\t".join(map(_cell, cells)) + "\n")
                self._file.flush()
        except OSError as error:
            self._failure = error

    def close(self) -> None:
        """Raises Refused or NoSpace where lines were lost."""
        try:
            self._file.close()
        except OSError as error:
            self._failure = error
        if self._failure is not None:
            raise translate(self._failure, self.path) from self._failure


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
