"""Audits the dependencies: the lock always, known vulnerabilities where somebody can be asked about them.

- every requirement of ``requirements/*.txt`` is one version with its hashes, from no place of its own
- what is installed here is what the lock names, in the versions that it names

Where ``pip-audit`` is installed, beside this Python or on PATH, it is asked about known vulnerabilities, within a
limit of time. That it cannot reach its source is said, and is no failure. Exit status 1 where anything is wrong.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60
"""Seconds for pip-audit."""
PINNED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)(?P<marker>\s*;[^\\]*)?(?P<rest>.*)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(text: str) -> Iterator[str]:
    """The requirements of a lock, each as one line."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    yield from (line for line in re.sub(r"\\\n\s*", " ", lines).splitlines() if line.strip())


def check_lock(name: str, text: str) -> Iterator[str]:
    """What is wrong with a lock."""
    for line in requirements(text):
        found = PINNED.match(line)
        if found is None:
            yield f"{name}: {line[:60]!r} is not one version of one package"
        elif not HASH.search(line):
            yield f"{name}: {found['name']} {found['version']} has no hash"
        elif rest := re.sub(r"--hash=sha256:[0-9a-f]{64}|\s", "", found["rest"]):
            yield f"{name}: {found['name']} has {rest[:60]!r}, which is no hash"


def check_installed(text: str) -> Iterator[str]:
    """Where this Python's packages are others than those of the lock; those for other systems do not count."""
    for line in requirements(text):
        found = PINNED.match(line)
        if found is None:
            continue
        try:
            installed = version(found["name"])
        except PackageNotFoundError:
            if not found["marker"]:
                yield f"{found['name']} {found['version']} is locked and not installed: run make clean, then again"
            continue
        if installed != found["version"] and not found["marker"]:
            yield f"{found['name']} {installed} is installed, and {found['version']} is locked"


def ask(program: str, lock: Path) -> tuple[list[str], str]:
    """Known vulnerabilities of what a lock names; and why nobody could tell, empty where somebody could."""
    options = [
        "--disable-pip",
        "--require-hashes",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "10",
    ]
    try:
        run = subprocess.run(
            [program, *options, "-r", str(lock)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        document = json.loads(run.stdout)
        found = [
            f"{one['name']} {one['version']}: {hole['id']}, mended in {' '.join(hole['fix_versions']) or 'none'}"
            for one in document["dependencies"]
            for hole in one.get("vulns", ())
        ]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        return [], type(error).__name__
    return found, ""


def main() -> int:
    """Check everything; the exit status."""
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    problems = [problem for lock in locks for problem in check_lock(lock.name, lock.read_text())]
    problems += check_installed((ROOT / "requirements" / "dev.txt").read_text())
    beside = Path(sys.executable).with_name("pip-audit")
    program = str(beside) if beside.exists() else shutil.which("pip-audit")
    if program is None:
        print("Dependencies: the lock and its hashes were checked; pip-audit is not installed.")
    else:
        found, why = ask(program, ROOT / "requirements" / "run.txt")
        problems += found
        said = f"pip-audit could not tell of vulnerabilities ({why})" if why else "pip-audit was asked"
        print(f"Dependencies: the lock and its hashes were checked; {said}.")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems or not locks else 0


if __name__ == "__main__":
    sys.exit(main())
