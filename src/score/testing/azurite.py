"""An Azurite of one's own for tests: Azure's blob store, emulated on a free loopback port over a temporary folder."""

from __future__ import annotations

import base64
import re
import secrets
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from score.errors import Unavailable
from score.storage.azure.signing import encode_path, encode_query, sign_request
from score.testing.processes import DIRECT, Daemon, running
from score.testing.proxy import FaultProxy
from score.testing.site import Server, Site
from score.testing.song import FakeSong


class Azurite(Daemon):
    """An Azurite with one account. ``endpoint`` and the key stay the same through ``kill`` and ``restart``."""

    NAME = "Azurite"

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(folder)
        self.account = "score" + secrets.token_hex(4)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._program = program

    @property
    def origin(self) -> str:
        """``http://host:port``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def endpoint(self) -> str:
        """The full blob endpoint of the account: ``http://host:port/account``."""
        return f"{self.origin}/{self.account}"

    def create_container(self, name: str) -> None:
        """A container with the two stored access policies and a sentinel, named as the settings' defaults."""
        self.call("PUT", name, [("restype", "container")], status=201)
        self.set_policies(name)
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "text/plain"}
        self.call("PUT", f"{name}/heliograph", headers=headers, body=b"heliograph\n", status=201)

    def set_policies(self, container: str, expiry: datetime | None = None) -> None:
        """``UploadPolicy`` and ``DownloadPolicy``, without an end where ``expiry`` is None."""
        end = f"<Expiry>{expiry:%Y-%m-%dT%H:%M:%SZ}</Expiry>" if expiry else ""
        policies = "".join(
            f"<SignedIdentifier><Id>{name}</Id><AccessPolicy>{end}<Permission>{permissions}</Permission>"
            "</AccessPolicy></SignedIdentifier>"
            for name, permissions in (("UploadPolicy", "cw"), ("DownloadPolicy", "r"))
        )
        body = f'<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers>{policies}</SignedIdentifiers>'.encode()
        self.call("PUT", container, [("comp", "acl"), ("restype", "container")], body=body)

    def blobs(self, container: str) -> list[str]:
        """The names of all blobs of a container."""
        _, document = self.call("GET", container, [("comp", "list"), ("restype", "container")])
        return re.findall(r"<Blob><Name>([^<]*)</Name>", document.decode())

    def call(
        self,
        method: str,
        place: str,
        query: Sequence[tuple[str, str]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        status: int = 200,
    ) -> tuple[Mapping[str, str], bytes]:
        """One call with the account key; ``place`` is ``container`` or ``container/blob``. Gives headers and body."""
        path = f"/{self.account}{encode_path(place)}"
        given = {"content-type": "application/octet-stream", **(headers or {})}
        key, now = base64.b64decode(self.key), datetime.now(UTC)
        signed = sign_request(self.account, key, method, path, query, given, len(body), now)
        url = f"{self.origin}{path}" + (f"?{encode_query(query)}" if query else "")
        request = urllib.request.Request(url, body if method == "PUT" else None, signed, method=method)
        with DIRECT.open(request, timeout=60) as answer:
            if answer.status != status:
                raise Unavailable(f"Azurite answered {answer.status} to {method} of {place}.")
            return dict(answer.headers), answer.read()

    def _command(self, data: Path) -> list[str]:
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--location", str(data)]
        return [str(self._program), *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]

    def _settings(self) -> dict[str, str]:
        return {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}

    def _is_ready(self) -> bool:
        """A nameless request gets a refusal then."""
        try:
            with DIRECT.open(f"{self.endpoint}/?comp=list", timeout=2):
                return False
        except urllib.error.HTTPError as error:
            with error:
                return error.code in (400, 403)
        except OSError:
            return False


def running_azurite() -> AbstractContextManager[Azurite]:
    """An Azurite that runs within the ``with`` block. Raises Misconfigured where the program is not installed."""
    return running("Azurite", Azurite)


@contextmanager
def azurite_site(folder: Path, azurite: Azurite, **settings: str) -> Iterator[Site]:
    """A site on Azurite, with a container of its own, and a fake Song; ``settings`` of the server, with ``_`` for
    ``.``. ``store`` is the traffic of clients and server alike: Azure has no other address for clients."""
    container = f"score-{uuid.uuid4().hex[:12]}"
    azurite.create_container(container)
    with FakeSong() as song, FaultProxy(azurite.origin) as store:
        given = {
            "spring.profiles.active": "azure",
            "azure.accountName": azurite.account,
            "azure.accountKey": azurite.key,
            "azure.endpoint": f"{store.url}/{azurite.account}",
            "bucket.name.object": container,
            "metadata.url": song.url,
            "download.partsize": "5242880",
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
        server = Server(folder / "server", given)
        song.score_url = server.url
        with FaultProxy(server.url) as front:
            try:
                server.start()
                yield Site(folder, server, front, store, objects=f"/{azurite.account}/{container}/", song=song)
            finally:
                front.traffic.heal()
                store.traffic.heal()
                server.stop()
