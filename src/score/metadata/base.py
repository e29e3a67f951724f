"""What the broker needs of the metadata service. Protocol, section 6.

Raises errors of :mod:`score.errors` only: NotFound (the object or analysis is not registered), Unavailable (Song
answers 5xx or garbage, or is away).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from score.protocol.wire import Entity


class AnalysisState(StrEnum):
    """Publication state of an analysis."""

    PUBLISHED = "PUBLISHED"
    UNPUBLISHED = "UNPUBLISHED"
    SUPPRESSED = "SUPPRESSED"


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

    async def probe(self) -> str:
        """Empty when the service answers, else one sentence on what is wrong. Never raises."""
        ...

    async def close(self) -> None:
        """Give back connections and handles."""
        ...
