"""Settings in force, each with where it came from, as both programs show them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

VERSION = 1
"""Of the document of :meth:`Shown.document`: within a version, fields are added but never change their meaning."""
MASK = "******"


@dataclass(frozen=True, slots=True)
class Row:
    """A setting: its value as it is written, of a secret only :data:`MASK`, and where it came from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Shown:
    """All settings of a program; ``missing`` says why they do not suffice, empty where they do."""

    profiles: Sequence[str]
    rows: Sequence[Row]
    warnings: Sequence[str] = ()
    missing: str = ""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"profiles: {', '.join(self.profiles)}"
        width = max((len(row.name) + len(row.value) for row in self.rows if len(row.value) < 60), default=0) + 1
        for row in self.rows:
            yield f"{f'{row.name}={row.value}':{width}}  # {row.origin}"
        for warning in self.warnings:
            yield f"warning: {warning}"
        if self.missing:
            yield f"missing: {self.missing}"

    def document(self) -> str:
        """For programs: a document of JSON."""
        listed = [{"name": row.name, "value": row.value, "from": row.origin} for row in self.rows]
        document = {
            "v": VERSION,
            "profiles": list(self.profiles),
            "settings": listed,
            "warnings": list(self.warnings),
            "missing": self.missing,
        }
        return json.dumps(document, indent=2)
