"""The log on standard error: lines for people, or one JSON object for each."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from score.broker.audit import TRAIL

if TYPE_CHECKING:
    from score.server.settings import Settings

HUMAN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
PROBED = frozenset({"/live", "/ready", "/metrics", "/actuator/health/liveness", "/actuator/health/readiness"})
"""Routes that are asked every few seconds; good answers of theirs are of the level debug."""
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "off": logging.CRITICAL + 1,
}
_NOISY = ("uvicorn.error", "asyncio")
"""Loggers of others that tell of every connection; their warnings do."""


class JsonFormatter(logging.Formatter):
    """A line for each record: time (UTC), level, logger, message, the ids of the request at hand and of its trace,
    and the fields that the record brings along as ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (trail := TRAIL.get()) is not None:
            line["request"] = trail.request_id
            if trail.trace:
                line["trace"] = trail.trace
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


def write_log(settings: Settings, stream: TextIO | None = None) -> None:
    """Write the log as the settings say, to ``stream`` or standard error. Audit lines are written whatever the
    level."""
    # What no line tells need not be found out for each: the caller takes a walk up the stack.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(HUMAN))
    logging.basicConfig(level=_LEVELS[settings.log_level], handlers=[handler], force=True)
    ours = settings.log_level_score or settings.log_level
    logging.getLogger("score").setLevel(_LEVELS[ours])
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, _LEVELS[settings.log_level]))
