"""An object of a server as something to be read at any place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from score.client.calls import Score
from score.protocol.wire import Part, Specification


@dataclass(frozen=True)
class ObjectSource:
    """Implements :class:`score.reading.shared.Source`. One URL serves all reads of an object: those of its parts are
    bound to the parts' ranges."""

    score: Score
    object_id: str

    def specify(self) -> Specification:
        """Size, MD5s and parts of the object."""
        return self.score.download(self.object_id, urls=False)

    def locate(self) -> Sequence[Part]:
        """One part with the URL."""
        return self.score.download(self.object_id, external=True).parts
