"""Servers behind a proxy are upgraded one after the other, and no client notices.

The proxy is nginx with the configuration that the documentation gives. It looks after nobody's health, and sends a
POST again only where no connection could be made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from score.protocol.parts import MIB
from score.storage.s3.settings import S3Settings
from score.testing.load import Finalisations, Laid, lay_upload
from score.testing.minio import Minio
from score.testing.nginx import Nginx, running_nginx
from score.testing.s3_contract import boto
from score.testing.site import Server, Site, s3_site

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "score.conf"
RATE = 200
"""Part finalisations a second."""


@pytest.fixture
def site(tmp_path: Path, minio: Minio) -> Iterator[Site]:
    with s3_site(tmp_path, minio, server_shutdown_delay="1") as site:
        yield site


@pytest.fixture
def servers(site: Site, tmp_path: Path) -> Iterator[list[Server]]:
    """Three on one bucket."""
    with ExitStack() as ends:
        servers = [site.server, *(site.server.another(tmp_path / f"server-{number}") for number in (2, 3))]
        for server in servers[1:]:
            ends.callback(server.kill)
            server.start()
        yield servers


class Uploads:
    """Uploads of one file after another by score-client within the ``with`` block."""

    def __init__(self, site: Site, url: str, make_file: Callable[[str, int], Path]) -> None:
        self._site = site
        self._url = url
        self._make_file = make_file
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._error: BaseException | None = None
        self.ids: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                files = self._site.register([self._make_file(f"{len(self.ids)}.bam", 11 * MIB)])
                settings = {"storage_url": self._url, "storage_retryNumber": "1"}
                self._site.run("upload", "--manifest", files.manifest, **settings)
                self.ids.append(files.id)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error


def lay(site: Site, minio: Minio, tmp_path: Path) -> Laid:
    """An upload whose parts can be finalised."""
    (tmp_path / "laid.bam").write_bytes(b"x")
    identity = site.register([tmp_path / "laid.bam"]).id
    objects = site.objects.strip("/")
    with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
        return lay_upload(s3, objects, objects.replace("-objects", "-state"), identity, 100)


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


@pytest.mark.needs("minio", "nginx")
def test_no_call_fails_while_servers_are_replaced(
    site: Site, servers: list[Server], minio: Minio, make_file: Callable[[str, int], Path], tmp_path: Path
) -> None:
    laid = lay(site, minio, tmp_path)
    nginx: Nginx
    with running_nginx(tmp_path / "nginx", CONFIGURATION.read_text(), [address(one) for one in servers]) as nginx:
        with Finalisations(nginx.url, laid, rate=RATE) as calls, Uploads(site, nginx.url, make_file) as uploads:
            calls.wait_for_more(RATE)
            for server in servers:
                assert server.stop() == 0
                calls.wait_for_more(RATE // 4)  # which it had nothing to do with
                server.start()
                server.wait_until(server.is_ready)
                calls.wait_for_more(RATE // 2)
        assert calls.failed == [], nginx.errors
        assert uploads.ids
        assert all(site.has_object(one) for one in uploads.ids)
    passed = [one for one in nginx.passed() if not (one.path.endswith("/status") and one.tried[-1] == 404)]
    # that is the answer to whether an upload is in progress, where none is
    assert [one for one in passed if not 200 <= one.status < 300] == [], nginx.errors
    assert any(len(one.tried) > 1 for one in passed if one.method == "POST"), "no server was ever missed"
