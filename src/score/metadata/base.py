"""What the broker needs of the metadata service. Protocol, section 6.

Raises errors of :mod:`score.errors` only: NotFound (the object or analysis is not registered), Unavailable (Song
answers 5xx or garbage, or is away).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from score.protocol.wire import Entity


class AnalysisState(StrEnum):
    """Publication state of an analysis."""

    PUBLISHED = "PUBLISHED"
    UNPUBLISHED = "UNPUBLISHED"
    SUPPRESSED = "SUPPRESSED"


@dataclass(frozen=True, slots=True)
class Analysis:
    """An analysis in a list: how many files it has, what kind it is (empty where unknown), and when it last changed,
    as the registry writes that."""

    id: str
    state: AnalysisState
    files: int
    kind: str = ""
    updated: str = ""


@dataclass(frozen=True, slots=True)
class RegisteredFile:
    """A file of an analysis: its size in bytes, and its MD5 as it was submitted."""

    object_id: str
    name: str
    size: int
    md5: str
    access: str


class Registry(Protocol):
    """Who knows which objects are registered, to which analysis and study, and in which state."""

    async def entity(self, object_id: str) -> Entity:
        """The registered file of an object. NotFound where there is none."""
        ...

    async def bundle(self, analysis: str) -> list[Entity]:
        """The registered files of an analysis; none where nobody knows it."""
        ...

    async def analysis_state(self, study: str, analysis: str) -> AnalysisState:
        """The publication state of an analysis, never cached. NotFound where the study has no such analysis."""
        ...

    async def studies(self) -> list[str]:
        """The ids of all studies."""
        ...

    async def list_analyses(
        self, study: str, states: Sequence[AnalysisState], *, offset: int, limit: int
    ) -> tuple[list[Analysis], int]:
        """Some of a study's analyses in one of ``states``, and how many there are in all. NotFound: no such study."""
        ...

    async def list_files(self, study: str, analysis: str) -> list[RegisteredFile]:
        """The files of an analysis, as they were submitted. NotFound where the study has no such analysis."""
        ...

    async def probe(self) -> str:
        """Empty when the service answers, else one sentence on what is wrong. Never raises."""
        ...

    async def close(self) -> None:
        """Give back connections and handles."""
        ...
