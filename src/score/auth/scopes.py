"""What a token's scopes allow: pure policy. Protocol, section 7. Scopes are compared without case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Right:
    """One right: held with the scope ``system``, or for one study with the scope ``<prefix><study><suffix>``."""

    system: str
    prefix: str
    suffix: str

    def everywhere(self, granted: Iterable[str]) -> bool:
        """Whether the scopes give this right for every study."""
        return self.system.casefold() in {scope.casefold() for scope in granted}

    def within(self, study: str, granted: Iterable[str]) -> bool:
        """Whether the scopes give this right for a study, or for every one. No study, no right to it."""
        have = {scope.casefold() for scope in granted}
        return self.system.casefold() in have or (bool(study) and self.scope(study).casefold() in have)

    def scope(self, study: str) -> str:
        """The scope that gives this right for a study."""
        return f"{self.prefix}{study}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Scopes:
    """The rights of the settings ``auth.server.scope.*``."""

    download: Right = Right("score.READ", "PROGRAMDATA-", ".READ")
    upload: Right = Right("score.WRITE", "PROGRAMDATA-", ".WRITE")
