"""The exit status of every end that a command can take. Nothing else in the client knows these numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from score import errors

if TYPE_CHECKING:
    from score.client.outcome import Outcome

OK = 0
INTERNAL = 1
USAGE = 2
SOME_FAILED = 3
NOT_FOUND = 4
TEMPORARY = 5
UNAUTHENTICATED = 6
FORBIDDEN = 7
INTEGRITY = 8
NOTHING_TO_DO = 9
NO_SPACE = 10
INTERRUPTED = 130

MEANINGS = {
    OK: "everything asked for was done and verified",
    INTERNAL: "a defect of this program",
    USAGE: "wrong options, settings or input",
    SOME_FAILED: "some items failed, or one was refused; each is named",
    NOT_FOUND: "the object, analysis or file does not exist",
    TEMPORARY: "the server or the store is away; the same command later may succeed",
    UNAUTHENTICATED: "no valid access token",
    FORBIDDEN: "the access token lacks the scope",
    INTEGRITY: "bytes are not what they were promised to be",
    NOTHING_TO_DO: "there was nothing to do; only with --error-on-no-transfer",
    NO_SPACE: "the disk is too full",
    INTERRUPTED: "interrupted; the same command goes on from there",
}


class Defect(errors.ScoreError):
    """Something that cannot happen did."""


_BY_ERROR: tuple[tuple[type[errors.ScoreError], int], ...] = (
    (Defect, INTERNAL),
    (errors.NotFound, NOT_FOUND),
    (errors.Unavailable, TEMPORARY),
    (errors.Expired, TEMPORARY),
    (errors.Unauthenticated, UNAUTHENTICATED),
    (errors.Forbidden, FORBIDDEN),
    (errors.Integrity, INTEGRITY),
    (errors.NoSpace, NO_SPACE),
    (errors.Cancelled, INTERRUPTED),
    (errors.Misconfigured, USAGE),
    (errors.Invalid, USAGE),
    (errors.ScoreError, SOME_FAILED),
)


def of_error(error: errors.ScoreError) -> int:
    """The exit status of an error that ended a command."""
    return next(status for kind, status in _BY_ERROR if isinstance(error, kind))


@dataclass
class Statuses:
    """The exit status of a command, from how its items end, one after the other: of one item its own, of several
    whether all are good, or may be so when the same command is run again.

    No valid token and no space left end the whole command, and are told as such.
    """

    count: int = 0
    failed: int = 0
    _passing: int = 0
    _first: int = OK
    _whole: int = OK

    def add(self, outcome: Outcome) -> None:
        """An item ended."""
        self.count += 1
        if outcome.error is None:
            return
        self.failed += 1
        status = of_error(outcome.error)
        self._passing += status == TEMPORARY
        self._first = self._first or status
        if isinstance(outcome.error, errors.Unauthenticated | errors.NoSpace):
            self._whole = self._whole or status

    @property
    def status(self) -> int:
        """Of the items so far."""
        if not self.failed:
            return OK
        if self._whole or self.count == 1:
            return self._whole or self._first
        return TEMPORARY if self._passing == self.failed else SOME_FAILED
