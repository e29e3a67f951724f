"""A MinIO of one's own for tests: started on a free loopback port over a temporary folder, ended by process id."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from score.errors import Misconfigured, Unavailable
from score.testing.certificates import self_signed
from score.testing.components import find
from score.testing.processes import free_port
from score.testing.secrecy import secret

READY_WITHIN = 30.0
"""Seconds that a start may take."""
_ATTEMPTS = 5


class Minio:
    """A MinIO server. ``endpoint`` and the keys stay the same through ``kill`` and ``restart``.

    With ``kms_key`` it has one key of that name for server-side encryption (SSE-KMS). With ``tls`` it speaks https,
    with a certificate that nobody else signed: ``certificate`` is its file, empty without.
    """

    def __init__(self, program: Path, folder: Path, kms_key: str = "", *, tls: bool = False) -> None:
        self.access_key = "minio-" + secrets.token_hex(4)
        self.secret_key = secret(secrets.token_hex(16))
        self.folder = folder
        self.certificate = ""
        self._program = program
        self._kms = f"{kms_key}:{base64.b64encode(secrets.token_bytes(32)).decode()}" if kms_key else ""
        if tls:
            certificate, key = self_signed(folder / "certificates")
            self.certificate = str(certificate.rename(certificate.with_name("public.crt")))
            key.rename(key.with_name("private.key"))
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """``http://host:port``, or https."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise Unavailable("MinIO is not running.", hint="Call restart().")
        return self._process.pid

    def start(self) -> None:
        """Start on a free port and wait until it answers.

        Another process may take the port between the search and the start: then the next one is tried. Raises
        Unavailable, with the end of the server's output, where it does not come up.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = free_port()
            try:
                return self._launch()
            except Unavailable:
                if attempt == _ATTEMPTS:
                    raise
        return None

    def restart(self) -> None:
        """Start again after ``stop`` or ``kill``: same port, same keys, same data."""
        self.stop()
        self._launch()

    def stop(self) -> None:
        """End the server in order and wait for it; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _launch(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MINIO_")}
        environment |= {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        if self._kms:
            environment["MINIO_KMS_SECRET_KEY"] = self._kms
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        command = [str(self._program), "server", str(data), "--address", f"127.0.0.1:{self._port}", "--quiet"]
        if self.certificate:
            command += ["--certs-dir", str(Path(self.certificate).parent)]
        with open(self.folder / "minio.log", "ab") as log:
            self._process = subprocess.Popen(
                command,
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
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.certificate:
            trusted = ssl.create_default_context(cafile=self.certificate)
            handlers.append(urllib.request.HTTPSHandler(context=trusted))
        opener = urllib.request.build_opener(*handlers)
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until:
            if process.poll() is not None:
                raise Unavailable(f"MinIO ended at once with status {process.returncode}: {self._last_words()}")
            if self._ready(opener):
                return
            time.sleep(0.05)
        raise Unavailable(f"MinIO does not answer after {READY_WITHIN:.0f} s: {self._last_words()}")

    def _ready(self, opener: urllib.request.OpenerDirector) -> bool:
        """Whether requests are served: ``/minio/health/live`` says so too early. A nameless one gets a 403 then."""
        try:
            with opener.open(self.endpoint, timeout=2):
                return False
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 403
        except OSError:
            return False

    def _last_words(self) -> str:
        return (self.folder / "minio.log").read_text(errors="replace")[-1000:].strip()

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
def running_minio(kms_key: str = "", *, tls: bool = False) -> Iterator[Minio]:
    """A :class:`Minio` that runs within the ``with`` block. Raises Misconfigured where it is not installed."""
    program = find("minio")
    if program is None:
        raise Misconfigured("MinIO is not installed.", hint="Run: make components")
    folder = Path(tempfile.mkdtemp(prefix="score-minio-"))
    minio = Minio(program, folder, kms_key, tls=tls)
    try:
        minio.start()
        yield minio
    finally:
        minio.stop()
        shutil.rmtree(folder, ignore_errors=True)
