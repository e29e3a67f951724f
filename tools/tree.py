"""Keeps the tree true: what no linter looks at. Prints what is wrong; exit status 1 where anything is.

- no tracked file is above 1 MB or binary
- no tracked file names a path of somebody's machine or the host of a package registry
- relative links in Markdown resolve, with their anchors
- every module of the package has a docstring, and at most 450 lines
- the changelog mentions the present version
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 1_000_000
LONGEST = 450
OURS = re.compile(r"(?<![\w.:/])/(?:root|work|Users|home/(?!score\b)\w+)/\w")
REGISTRY = re.compile(
    r"\b(?:(?:test\.)?pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|golang\.org/dl|proxy\.golang\.org|crates\.io"
    r"|repo1?\.maven\.(?:apache\.)?org|(?:deb|security)\.debian\.org|archive\.ubuntu\.com)\b"
)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def tracked() -> list[Path]:
    """Files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in sorted(set(names)) if name and (path := ROOT / name).is_file()]


def check_content(path: Path, data: bytes) -> Iterator[str]:
    """What no file of the tree may be or hold."""
    if len(data) > LARGEST:
        yield f"{len(data):,} bytes; at most {LARGEST:,} are tracked"
    if b"\0" in data:
        yield "binary files are not tracked; make them when they are needed"
        return
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        for pattern, what in ((OURS, "a path of one machine"), (REGISTRY, "the host of a package registry")):
            if found := pattern.search(line):
                yield f"line {number}: {what}: {found[0]}"


def anchors(text: str) -> set[str]:
    """The anchors that headings get: lower case, punctuation dropped, spaces as hyphens."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text))
    return set(plain)


def check_links(path: Path, text: str) -> Iterator[str]:
    """Relative links of a Markdown file that lead nowhere."""
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name) if name else path
        if not there.exists():
            yield f"link to {target}, which is not there"
        elif anchor and there.suffix == ".md" and anchor not in anchors(FENCE.sub("", there.read_text())):
            yield f"link to {target}: no such heading"


def check_module(text: str) -> Iterator[str]:
    """A module says what it is for, and fits on a few screens."""
    if not ast.get_docstring(ast.parse(text)):
        yield "has no docstring"
    if (lines := text.count("\n")) > LONGEST:
        yield f"{lines} lines; above {LONGEST} it is two modules"


def check_changelog() -> Iterator[str]:
    """The present version stands in the changelog."""
    version = ast.literal_eval((ROOT / "src/score/_version.py").read_text().rpartition("=")[2].strip())
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists() or version not in changelog.read_text():
        yield f"CHANGELOG.md: does not mention the present version, {version}"


def main() -> int:
    """Check everything; the exit status."""
    problems = list(check_changelog())
    for path in tracked():
        data = path.read_bytes()
        found = list(check_content(path, data))
        if path.suffix == ".md":
            found += check_links(path, data.decode())
        if path.suffix == ".py" and path.is_relative_to(ROOT / "src/score"):
            found += check_module(data.decode())
        problems += (f"{path.relative_to(ROOT)}: {problem}" for problem in found)
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
