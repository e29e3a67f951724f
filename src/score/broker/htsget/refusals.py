"""Why there is no ticket, by the names of the specification. What these do not cover is told by other errors."""

from __future__ import annotations

from score.errors import Invalid


class InvalidInput(Invalid):
    """The parameters are not as the specification says."""


class InvalidRange(Invalid):
    """The range cannot be had: it ends before it begins, or there is no index that leads to it."""


class BadIndex(InvalidRange):
    """The index of the file is broken, too large, or of another file."""


class UnsupportedFormat(Invalid):
    """The file is in another format than the one asked for, or in one that is not known here, or broken."""


class PayloadTooLarge(Invalid):
    """The body of the request is larger than any list of regions should be."""
