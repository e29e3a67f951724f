"""Keeps the tree true: what no linter looks at. Prints what is wrong; exit status 1 where anything is.

- no tracked file is above 1 MB or binary
- no tracked file names a path of somebody's machine or the host of a package registry
- relative links in Markdown resolve, with their anchors
- every module of the package has a docstring, and at most 450 lines
- the changelog has a section for every tag, with its date
- links to other hosts are https, and to hosts that are known (``HOSTS``)
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

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
AUTOLINK = re.compile(r"<(https?:[^>\s]+)>")
HOSTS = {
    "docs.astral.sh",
    "docs.docker.com",
    "filesystem-spec.readthedocs.io",
    "github.com",
    "grafana.com",
    "htsget.readthedocs.io",
    "keepachangelog.com",
    "kubernetes.io",
    "nginx.org",
    "opentelemetry.io",
    "prometheus.io",
    "samtools.github.io",
    "semver.org",
    "slurm.schedmd.com",
    "snakemake.readthedocs.io",
    "www.overture.bio",
}
"""Where links may lead. Nobody asks these hosts; a new one is looked at before it is added here."""
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


def check_address(target: str) -> Iterator[str]:
    """A link to another host that is not https, not well formed, or to a host that nobody looked at."""
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "https" or host is None or port is not None or parts.username is not None:
        yield f"link to {target}: not an address such as https://host/path"
    elif host not in HOSTS:
        yield f"link to {target}: {host} is not among the HOSTS of tools/tree.py"


def check_links(path: Path, text: str) -> Iterator[str]:
    """Links of a Markdown file that lead nowhere, or where they should not."""
    prose = FENCE.sub("", text)
    for target in [*LINK.findall(prose), *AUTOLINK.findall(prose)]:
        if re.match(r"[a-z][a-z+.-]*:", target):
            yield from check_address(target)
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


def released() -> list[str]:
    """The tags of releases."""
    command = ["git", "tag", "--list", "v*"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


def check_changelog(text: str, tags: Sequence[str]) -> Iterator[str]:
    """The changelog has a place for what comes, and a section with a date for every release."""
    if "\n## [Unreleased]\n" not in text:
        yield "CHANGELOG.md: has no section [Unreleased]"
    for tag in tags:
        if not re.search(rf"^## \[{re.escape(tag[1:])}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE):
            yield f"CHANGELOG.md: has no section with a date for {tag}"


def main() -> int:
    """Check everything; the exit status."""
    problems = list(check_changelog((ROOT / "CHANGELOG.md").read_text("utf-8"), released()))
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
