"""What became of one object."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from score.errors import ScoreError


class State(StrEnum):
    """How an object ended."""

    UPLOADED = "uploaded"
    DOWNLOADED = "downloaded"
    PRESENT = "already there"
    UNVERIFIED = "downloaded, not verified"
    PLANNED = "would move"
    VERIFIED = "verified"
    REPAIRED = "repaired"
    FAILED = "failed"
    UNFINISHED = "not finished"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One object of a transfer. ``path`` is the local file, None where it was never known; ``size`` in bytes; ``md5``
    in hex, of the whole file, where it is known; ``error`` is set exactly when ``state`` is ``failed`` or
    ``not finished``; ``seconds`` is how long it took."""

    object_id: str
    state: State
    path: Path | None = None
    size: int = 0
    md5: str | None = None
    error: ScoreError | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def good(self) -> bool:
        """Whether the object is where it should be."""
        return self.state not in (State.FAILED, State.UNFINISHED)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the store: ``size`` in bytes, ``md5`` in hex of the whole object, None where nobody knows it,
    and what the metadata service says of it."""

    object_id: str
    size: int
    md5: str | None
    name: str
    analysis: str
    study: str
    access: str | None
