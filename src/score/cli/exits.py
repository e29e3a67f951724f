"""The exit status of every end that a command can take. Nothing else in the client knows these numbers."""

from __future__ import annotations

from collections.abc import Iterable
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
    NO_SPACE: "the disk is too full",
    INTERRUPTED: "interrupted; the same command goes on from there",
}

_BY_ERROR: tuple[tuple[type[errors.ScoreError], int], ...] = (
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


def of_outcomes(outcomes: Iterable[Outcome]) -> int:
    """The exit status of a command whose items ended so: of one item its own, of several whether all are good.

    No valid token and no space left end the whole command, and are told as such.
    """
    all_of_them = list(outcomes)
    failures = [outcome.error for outcome in all_of_them if outcome.error is not None]
    if not failures:
        return OK
    whole = next((e for e in failures if isinstance(e, errors.Unauthenticated | errors.NoSpace)), None)
    if whole is not None:
        return of_error(whole)
    return of_error(failures[0]) if len(all_of_them) == 1 else SOME_FAILED
