"""A command that goes on in the background: who calls it gets the prompt back when it is ready, or its failure."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from score.transfer.files import translated


def daemonize(log: Path) -> Callable[[], None]:
    """Fork. In the child, returns what it is to call when it is ready: from then on it writes to ``log``.

    The parent does not return: it ends with 0 when the child is ready, with the child's exit status where it ends
    first. To be called before threads begin. Raises where the log cannot be written.
    """
    with translated(log):
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    told, telling = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(telling)
        _wait(child, told)
    os.close(told)
    os.setsid()

    def ready() -> None:
        os.chdir("/")
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(output, stream)
        os.close(output)
        os.write(telling, b"1")
        os.close(telling)

    return ready


def _wait(child: int, told: int) -> None:
    """End as the child does, or when it is ready."""
    while True:
        try:
            if os.read(told, 1):
                os._exit(0)
            _, status = os.waitpid(child, 0)
            os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
        except KeyboardInterrupt:
            os.kill(child, signal.SIGTERM)
