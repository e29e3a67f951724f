"""Pages of documentation as tests follow them: their blocks of code, and what they say that a command prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from score.testing.components import cache

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


def with_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the programs that pages call are found: ours, then the installed components."""
    folders = [str(Path(sys.executable).parent), str(cache() / "bin"), environment["PATH"]]
    return {**environment, "PATH": os.pathsep.join(folders)}


def follow(script: str, folder: Path, environment: Mapping[str, str], *, shell: str = "sh") -> str:
    """What a page's commands print, run in ``folder``. AssertionError, with all that they said, where one fails."""
    done = subprocess.run(
        [shell, "-euc", script],
        cwd=folder,
        env=with_programs(environment),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unsaid(shown: str, said: str) -> list[str]:
    """The lines that a page shows and that nobody said; ``...`` stands for anything within a line."""
    lines = [line.strip() for line in said.splitlines()]
    wanted = [line for line in shown.splitlines() if line.strip()]
    return [line for line in wanted if not any(_pattern(line).fullmatch(one) for one in lines)]


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, line.strip().split("..."))))
