"""score-client as a real process, and what must hold of every end that it takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from score.testing.processes import ENDS_WITHIN, Program, clean_environment, program

_SECRET = re.compile(r"(?i)(signature|credential|security-token|[?&]sig)=|AWSAccessKeyId=|Bearer (?!<token>)")


@dataclass(frozen=True, slots=True)
class Result:
    """How a client ended, and what it said."""

    status: int
    stdout: str
    stderr: str


class ClientProcess(Program):
    """A running score-client; a context manager that kills it where it still runs."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        home: Path,
        settings: Mapping[str, str],
        prefix: Sequence[str] = (),
    ) -> None:
        environment = clean_environment(home, settings) | {"SCORE_DEBUG": "1"}  # a defect is shown with its place
        super().__init__([*prefix, program("score-client"), *arguments], folder, environment)
        self._arguments = arguments

    def conclude(self, status: int | Collection[int] = 0, timeout: float = ENDS_WITHIN) -> Result:
        """Wait for the end, which must be one of ``status``. AssertionError where it is another.

        Also where it was a defect (1), or where the client showed a traceback or part of a signed URL.
        """
        result = Result(self.wait(timeout), self.stdout, self.stderr)
        story = f"score-client {' '.join(self._arguments)}\n{result.stdout}\n{result.stderr}"
        expected = {status} if isinstance(status, int) else set(status)
        assert result.status in expected, f"exit status {result.status}, not {status}: {story}"
        assert "Traceback" not in story, story
        assert not _SECRET.search(result.stderr), story
        return result
