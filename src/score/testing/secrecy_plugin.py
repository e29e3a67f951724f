"""pytest plugin: no secret of a test may be seen in what comes out of it.

The test kit and fixtures name their secrets (:func:`score.testing.secrecy.secret`); values of secret settings are
known by themselves. Looked at is what a test printed, what was logged, every message of :mod:`score.errors`, and the
output of every started program; also for parts of signed URLs. A test in whose time anything is found fails.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from score.testing.secrecy import found, look_at, passing_secret, read_watched

_FOREIGN = ("urllib3", "botocore", "boto3", "azure", "asyncio")


class _Listener(logging.Handler):
    """Hears every record that is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_FOREIGN) and record.levelno < logging.INFO:
            return  # their debugging, which no program of ours turns on
        text = record.getMessage()
        if record.exc_info and record.exc_info[0]:
            text += logging.Formatter().formatException(record.exc_info)
        look_at(text, f"log of {record.name}")


def _hear_errors(patch: pytest.MonkeyPatch) -> None:
    from score.errors import ScoreError

    make = ScoreError.__init__

    def heard(self: ScoreError, message: str, **more: Any) -> None:
        make(self, message, **more)
        look_at(str(self), f"message of {type(self).__name__}")

    patch.setattr(ScoreError, "__init__", heard)


def _know_settings(patch: pytest.MonkeyPatch) -> None:
    from pydantic import SecretStr

    make = SecretStr.__init__

    def known(self: SecretStr, secret_value: str) -> None:
        make(self, secret_value)
        passing_secret(secret_value)

    patch.setattr(SecretStr, "__init__", known)


def _read_programs(patch: pytest.MonkeyPatch) -> None:
    communicate = subprocess.Popen.communicate
    read = pytest.CaptureFixture.readouterr

    def told(self: Any, *arguments: Any, **named: Any) -> Any:
        outputs = communicate(self, *arguments, **named)
        if "score-" in str(self.args):
            for output, name in zip(outputs, ("stdout", "stderr"), strict=True):
                text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
                look_at(text, f"{name} of a program", signed=name == "stderr")
        return outputs

    def captured(self: Any) -> Any:
        outputs = read(self)
        for text, name in ((outputs.out, "stdout"), (outputs.err, "stderr")):
            look_at(str(text), name, signed=name == "stderr")
        return outputs

    patch.setattr(subprocess.Popen, "communicate", told)
    patch.setattr(pytest.CaptureFixture, "readouterr", captured)


@pytest.fixture(scope="session", autouse=True)
def _secrecy() -> Iterator[None]:
    listener = _Listener()
    root = logging.getLogger()
    root.addHandler(listener)
    logging.getLogger("score").setLevel(logging.INFO)  # as in the programs
    with pytest.MonkeyPatch.context() as patch:
        _hear_errors(patch)
        _know_settings(patch)
        _read_programs(patch)
        yield
    root.removeHandler(listener)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    for name, text in report.sections:
        if report.when in name and "log" not in name:  # what was logged was heard
            look_at(text, name, signed="stdout" not in name)
    if report.when == "teardown":
        read_watched()
    noted = found(ended=report.when == "teardown")
    if noted and report.outcome != "failed":
        report.outcome = "failed"
        report.longrepr = "Secrets were seen in:\n" + "\n".join(noted)
    return report  # type: ignore[return-value]
