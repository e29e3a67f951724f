"""The one error of this package."""

from __future__ import annotations

from score.errors import Integrity


class Damaged(Integrity):
    """The bytes are not what the format demands. The message goes after the name of the file: ``it ends …``."""
