"""An Azurite of one's own for tests: Azure's blob store, emulated on a free loopback port over a temporary folder."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from score.errors import Misconfigured, Unavailable
from score.testing.components import find
from score.testing.processes import free_port

READY_WITHIN = 30.0
"""Seconds that a start may take."""
_ATTEMPTS = 5


class Azurite:
    """An Azurite with one account. ``endpoint`` and the key stay the same through ``kill`` and ``restart``."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.account = "score" + secrets.token_hex(4)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self.folder = folder
        self._program = program
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        """``http://host:port``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def endpoint(self) -> str:
        """The full blob endpoint of the account: ``http://host:port/account``."""
        return f"{self.origin}/{self.account}"

    def start(self) -> None:
        """Start on a free port and wait until it answers. Raises Unavailable, with the end of the server's output."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = free_port()
            try:
                return self._launch()
            except Unavailable:
                if attempt == _ATTEMPTS:
                    raise
        return None

    def restart(self) -> None:
        """Start again after ``stop`` or ``kill``: same port, same key, same data."""
        self.stop()
        self._launch()

    def stop(self) -> None:
        """End the server in order and wait for it; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _launch(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURITE_")}
        environment["AZURITE_ACCOUNTS"] = f"{self.account}:{self.key}"
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--location", str(data)]
        with open(self.folder / "azurite.log", "ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until:
            if process.poll() is not None:
                raise Unavailable(f"Azurite ended at once with status {process.returncode}: {self._last_words()}")
            if self._ready(opener):
                return
            time.sleep(0.05)
        raise Unavailable(f"Azurite does not answer after {READY_WITHIN:.0f} s: {self._last_words()}")

    def _ready(self, opener: urllib.request.OpenerDirector) -> bool:
        """Whether requests are served: a nameless one gets a refusal then."""
        try:
            with opener.open(f"{self.endpoint}/?comp=list", timeout=2):
                return False
        except urllib.error.HTTPError as error:
            with error:
                return error.code in (400, 403)
        except OSError:
            return False

    def _last_words(self) -> str:
        return (self.folder / "azurite.log").read_text(errors="replace")[-1000:].strip()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_azurite() -> Iterator[Azurite]:
    """An Azurite that runs within the ``with`` block. Raises Misconfigured where the program is not installed."""
    program = find("azurite")
    if program is None:
        raise Misconfigured("Azurite is not installed.", hint="Run: make components")
    folder = Path(tempfile.mkdtemp(prefix="score-azurite-"))
    azurite = Azurite(program, folder)
    try:
        azurite.start()
        yield azurite
    finally:
        azurite.stop()
        shutil.rmtree(folder, ignore_errors=True)
