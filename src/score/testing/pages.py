"""Pages of documentation as tests follow them: their blocks of code, and what they say that a command prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language, its text, and the heading of the second level that it stands below."""

    kind: str
    text: str
    section: str


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page, in their order."""
    found = []
    for part in re.split(r"^(?=## )", page.read_text("utf-8"), flags=re.MULTILINE):
        title = part.partition("\n")[0].removeprefix("## ") if part.startswith("## ") else ""
        found += [Block(kind, text, title) for kind, text in _BLOCK.findall(part)]
    return found


def unsaid(shown: str, said: str) -> list[str]:
    """The lines that a page shows and that nobody said; ``...`` stands for anything within a line."""
    lines = [line.strip() for line in said.splitlines()]
    wanted = [line for line in shown.splitlines() if line.strip()]
    return [line for line in wanted if not any(_pattern(line).fullmatch(one) for one in lines)]


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, line.strip().split("..."))))
