"""What the image starts with, run as it is: variables of Java's, which nothing reads there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "deploy" / "entrypoint.sh"


def started(**variables: str) -> subprocess.CompletedProcess[str]:
    """What becomes of another program that is named, with these variables."""
    return subprocess.run(
        ["sh", str(ENTRYPOINT), "echo", "started"], env={**os.environ, **variables}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"])
def test_profiles_for_java_are_not_passed_over(name: str) -> None:
    """A server would be open where Java's was not."""
    done = started(**{name: "-Xmx1g -Dspring.profiles.active=s3,secure"})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{name} names profiles" in done.stderr
    assert "SPRING_PROFILES_ACTIVE" in done.stderr


def test_what_is_for_java_alone_is_ignored_and_said() -> None:
    done = started(JAVA_OPTS="-Xmx1g -Duser.timezone=UTC")
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert "JAVA_OPTS is ignored" in done.stderr
