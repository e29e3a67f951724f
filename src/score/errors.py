"""The whole error tree of Score.

::

    ScoreError
    ├── NotFound          the object, upload, study or analysis does not exist
    ├── AlreadyExists     it exists and was not to be replaced
    ├── Unauthenticated   no valid token where one is needed
    ├── Forbidden         a valid token that lacks the scope
    ├── Invalid           the request or the input cannot be right, whoever asks
    ├── Conflict          right in itself, but not in the present state (size of the upload in progress, ...)
    ├── NotReady          the publication state of the analysis forbids it
    ├── Expired           a signed URL is past its time; a new one helps
    ├── Integrity         bytes are not what they were promised to be
    ├── Refused           the other side says no for good (a store's 403): repeating is pointless
    ├── NoSpace           the disk is too full
    ├── Unavailable       it failed in a way that may pass; carries ``retry_after`` (seconds) where known
    ├── Misconfigured     the program's own settings are wrong or incomplete
    └── Cancelled         the user asked to stop; what was finished is kept

A message says what happened, to which object or file, and what to do next. It never holds a signed URL, a
token or a key. HTTP statuses and exit codes are given to these errors at the edges only.
"""

from __future__ import annotations


class ScoreError(Exception):
    """Base of every error that Score raises on purpose.

    ``hint`` is the next step for the reader, kept apart so that a terminal can set it off.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class NotFound(ScoreError):
    """The object, upload, study or analysis does not exist."""


class AlreadyExists(ScoreError):
    """It exists and was not to be replaced."""


class Unauthenticated(ScoreError):
    """No valid token where one is needed."""


class Forbidden(ScoreError):
    """A valid token that lacks the scope."""


class Invalid(ScoreError):
    """The request or the input cannot be right, whoever asks."""


class Conflict(ScoreError):
    """Right in itself, but not in the present state."""


class NotReady(ScoreError):
    """The publication state of the analysis forbids it."""


class Expired(ScoreError):
    """A signed URL is past its time; a new one helps."""


class Integrity(ScoreError):
    """Bytes are not what they were promised to be."""


class Refused(ScoreError):
    """The other side says no for good; repeating the call is pointless."""


class NoSpace(ScoreError):
    """The disk is too full."""


class Unavailable(ScoreError):
    """It failed in a way that may pass. ``retry_after`` is in seconds, None where nothing is known; ``server`` is the
    one that failed (``https://host:port``), empty where it was none."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None, server: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.server = server


class Misconfigured(ScoreError):
    """The program's own settings are wrong or incomplete."""


class Cancelled(ScoreError):
    """The user asked to stop; what was finished is kept."""
