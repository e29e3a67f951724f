"""Errors as the operating system names them, for whoever reads objects as files. Nothing else knows these numbers."""

from __future__ import annotations

import errno

from score import errors

_BY_ERROR: tuple[tuple[type[errors.ScoreError], int], ...] = (
    (errors.NotFound, errno.ENOENT),
    (errors.Forbidden, errno.EACCES),
    (errors.NotReady, errno.EACCES),
    (errors.Unauthenticated, errno.EACCES),
    (errors.Invalid, errno.EINVAL),
    (errors.ScoreError, errno.EIO),
)


def number(error: errors.ScoreError) -> int:
    """The error number, of module ``errno``."""
    return next(found for kind, found in _BY_ERROR if isinstance(error, kind))


def os_error(error: errors.ScoreError, path: str) -> OSError:
    """The error as programs expect it of files: FileNotFoundError, PermissionError, or another OSError."""
    return OSError(number(error), str(error), path)
