"""Writes ``src/score/_build.py`` when the package is built: its version, from the tags of git, and its commit.

The sources of a release have the file already, and no git to ask: there it stays as it is. In an archive that git
or a code host made, ``.git_archival.txt`` names the commit. ``SCORE_COMMIT`` names it for builds from a copy of the
tree, as in a container.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "src/score/_build.py"
TEXT = '''\
"""Written when the package was built; not tracked."""

VERSION = "{version}"
COMMIT = "{commit}"
'''


def commit_of(root: Path) -> str:
    """The commit of a tree; of a checkout with ``-dirty`` where tracked files differ from it. Empty where nobody can
    tell."""
    if not (root / ".git").exists():
        archival = root / ".git_archival.txt"
        found = re.match(r"node: ([0-9a-f]{12})", archival.read_text("utf-8")) if archival.exists() else None
        return found[1] if found else ""
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty"]
    try:
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it builds sdist, wheel or editable wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file, and have it packed though git ignores it."""
        root = Path(self.root)
        file = root / FILE
        commit = os.environ.get("SCORE_COMMIT", "") or commit_of(root)
        text = TEXT.format(version=self.metadata.version, commit=commit)
        if not file.exists() or (commit and file.read_text("utf-8") != text):
            new = file.with_suffix(".new")
            new.write_text(text, "utf-8")
            new.replace(file)  # programs that start meanwhile read the one or the other
        build_data["artifacts"].append(f"/{FILE}")
