"""A MinIO of one's own for tests: started on a free loopback port over a temporary folder, ended by process id."""

from __future__ import annotations

import base64
import secrets
import ssl
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

from score.testing.certificates import self_signed
from score.testing.processes import Daemon, running
from score.testing.secrecy import secret


class Minio(Daemon):
    """A MinIO server. ``endpoint`` and the keys stay the same through ``kill`` and ``restart``.

    With ``kms_key`` it has one key of that name for server-side encryption (SSE-KMS). With ``tls`` it speaks https,
    with a certificate that nobody else signed: ``certificate`` is its file, empty without.
    """

    NAME = "MinIO"

    def __init__(self, program: Path, folder: Path, kms_key: str = "", *, tls: bool = False) -> None:
        super().__init__(folder)
        self.access_key = "minio-" + secrets.token_hex(4)
        self.secret_key = secret(secrets.token_hex(16))
        self.certificate = ""
        self._program = program
        self._kms = f"{kms_key}:{base64.b64encode(secrets.token_bytes(32)).decode()}" if kms_key else ""
        if tls:
            certificate, key = self_signed(folder / "certificates")
            self.certificate = str(certificate.rename(certificate.with_name("public.crt")))
            key.rename(key.with_name("private.key"))

    @property
    def endpoint(self) -> str:
        """``http://host:port``, or https."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self._port}"

    def _command(self, data: Path) -> list[str]:
        certificates = ["--certs-dir", str(Path(self.certificate).parent)] if self.certificate else []
        address = f"127.0.0.1:{self._port}"
        return [str(self._program), "server", str(data), "--address", address, "--quiet", *certificates]

    def _settings(self) -> dict[str, str]:
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            **({"MINIO_KMS_SECRET_KEY": self._kms} if self._kms else {}),
        }

    def _is_ready(self) -> bool:
        """``/minio/health/live`` says so too early. A nameless request gets a 403 then."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.certificate:
            trusted = ssl.create_default_context(cafile=self.certificate)
            handlers.append(urllib.request.HTTPSHandler(context=trusted))
        try:
            with urllib.request.build_opener(*handlers).open(self.endpoint, timeout=2):
                return False
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 403
        except OSError:
            return False


def running_minio(kms_key: str = "", *, tls: bool = False) -> AbstractContextManager[Minio]:
    """A :class:`Minio` that runs within the ``with`` block. Raises Misconfigured where it is not installed."""
    return running("MinIO", lambda program, folder: Minio(program, folder, kms_key, tls=tls))
