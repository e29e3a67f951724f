"""What a token's scopes allow: pure policy. Protocol, section 7. Scopes are compared whole, and without case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Right:
    """One right: held with the scope ``system``, or for one study with the scope ``<prefix><study><suffix>``."""

    system: str
    prefix: str
    suffix: str

    def everywhere(self, granted: Iterable[str]) -> bool:
        """Whether the scopes give this right for every study."""
        return fold(self.system) in _folded(frozenset(granted))

    def within(self, study: str, granted: Iterable[str]) -> bool:
        """Whether the scopes give this right for a study, or for every one. No study, no right to it."""
        have = _folded(frozenset(granted))
        return fold(self.system) in have or (bool(study) and fold(self.scope(study)) in have)

    def scope(self, study: str) -> str:
        """The scope that gives this right for a study."""
        return f"{self.prefix}{study}{self.suffix}"

    def study_of(self, scope: str) -> str:
        """The study for which a scope gives this right; empty where it is of no study."""
        name, prefix, suffix = fold(scope), fold(self.prefix), fold(self.suffix)
        fits = name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix) + len(suffix)
        return scope[len(prefix) : len(name) - len(suffix)] if fits else ""

    def knows(self, scope: str) -> bool:
        """Whether a scope gives this right, for a study or for every one."""
        return self.everywhere([scope]) or bool(self.study_of(scope))


@dataclass(frozen=True, slots=True)
class Scopes:
    """The rights of the settings ``auth.server.scope.*``."""

    download: Right = Right("score.READ", "PROGRAMDATA-", ".READ")
    upload: Right = Right("score.WRITE", "PROGRAMDATA-", ".WRITE")


def fold(scope: str) -> str:
    """A scope without case. A letter never becomes two, nor one of another alphabet: the Kelvin sign is no ``k``."""
    if scope.isascii():
        return scope.lower()
    return "".join(low if len(low := one.lower()) == 1 and low.isascii() == one.isascii() else one for one in scope)


@lru_cache(maxsize=1024)
def _folded(granted: frozenset[str]) -> frozenset[str]:
    return frozenset(map(fold, granted))
