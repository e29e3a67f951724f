"""Sites that the subcommands of ``score-server`` are run on: on a local store, and on MinIO, Ceph and Azurite with
Song."""

from __future__ import annotations

import asyncio
import hashlib
import json
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from score.server.build import Service, open_service
from score.server.commands import run
from score.server.reading import read_settings
from score.storage.base import ObjectStore
from score.storage.s3.settings import S3Settings
from score.testing.azurite import Azurite
from score.testing.ceph import Ceph
from score.testing.minio import Minio
from score.testing.s3_contract import boto
from score.testing.song import FakeSong

DATA = b"0123456789" * 1000


@dataclass
class Place:
    """A site in a folder that a command is run in; ``settings`` are those of the command line."""

    folder: Path
    settings: list[str]
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        self.capsys.readouterr()
        status = run(words[0], [*words[1:], *self.settings])
        return status, self.capsys.readouterr().out

    def within(self, work: Callable[[Service], Any]) -> Any:
        """The result of ``work`` on the service itself."""

        async def go() -> Any:
            service = await open_service(read_settings(self.settings, {}, self.folder).settings)
            try:
                return await work(service)
            finally:
                await service.close()

        return asyncio.run(go())

    @property
    def on_azure(self) -> bool:
        return "--spring.profiles.active=azure" in self.settings

    def put(self, object_id: str, data: bytes, *, md5: str | None = None) -> None:
        """An object with its ``.meta``, in two parts; on Azure there is none."""
        half = len(data) // 2
        parts = [
            {"partNumber": 1, "partSize": half, "offset": 0, "sourceMd5": hashlib.md5(data[:half]).hexdigest()},
            {
                "partNumber": 2, "partSize": len(data) - half, "offset": half,
                "sourceMd5": hashlib.md5(data[half:]).hexdigest(),
            },
        ]  # fmt: skip
        meta = {
            "objectKey": f"data/{object_id}", "objectId": object_id, "uploadId": "u", "parts": parts,
            "objectSize": len(data), "objectMd5": md5 or hashlib.md5(data).hexdigest(),
        }  # fmt: skip

        async def write(service: Service) -> None:
            await service.objects.put(object_id if self.on_azure else f"data/{object_id}", data)
            if not self.on_azure:
                await service.state.put(f"data/{object_id}.meta", json.dumps(meta).encode())

        self.within(write)

    def begin(self, object_id: str) -> str:
        """An upload in progress."""

        async def write(service: Service) -> str:
            upload = await service.objects.begin(f"data/{object_id}")
            await service.state.put(f"upload/{object_id}_{upload}/.meta", b"{}")
            return upload

        return str(self.within(write))

    def stored(self) -> set[str]:
        async def list_all(service: Service) -> set[str]:
            stores: list[ObjectStore] = [service.objects, service.state]
            return {entry.key for store in stores async for entry in store.scan("")}

        return set(self.within(list_all))


BUCKETS = [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("minio", "ceph")]
AZURE = pytest.param("azurite", marks=pytest.mark.needs("azurite"))


@pytest.fixture(params=[*BUCKETS, "local"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    if request.param == "local":
        (tmp_path / "score-data").mkdir()
        yield Place(tmp_path, ["--spring.profiles.active=local"], capsys)
        return
    with FakeSong() as song:
        service = request.getfixturevalue(request.param)
        yield Place(tmp_path, settings_on(service, song), capsys)


def client(minio: Minio | Ceph) -> Any:
    return boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))


def on_s3(minio: Minio | Ceph, song: FakeSong) -> list[str]:
    names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
    for name in names:
        client(minio).create_bucket(Bucket=name)
    return [
        f"--s3.endpoint={minio.endpoint}", f"--s3.accessKey={minio.access_key}", f"--s3.secretKey={minio.secret_key}",
        f"--bucket.name.object={names[0]}", f"--bucket.name.state={names[1]}", f"--metadata.url={song.url}",
    ]  # fmt: skip


def in_pool(place: Place, service: Minio | Ceph) -> tuple[Place, list[str]]:
    """The place with its buckets as a pool of two; their names."""
    names = [found.partition("=")[2] for found in place.settings if "bucket.name" in found]
    for name in names:
        for number in range(2):
            client(service).create_bucket(Bucket=f"{name}.{number}")
    place.settings += ["--bucket.size.pool=2"]
    return place, names


def on_azure(azurite: Azurite, origin: str, song: FakeSong) -> list[str]:
    container = f"site-{uuid.uuid4().hex[:12]}"
    azurite.create_container(container)
    return [
        "--spring.profiles.active=azure", f"--azure.accountName={azurite.account}",
        f"--azure.accountKey={azurite.key}", f"--azure.endpoint={origin}/{azurite.account}",
        f"--bucket.name.object={container}", f"--metadata.url={song.url}",
    ]  # fmt: skip


def settings_on(service: Minio | Ceph | Azurite, song: FakeSong) -> list[str]:
    """The settings of a site with buckets, or a container, of its own."""
    return on_azure(service, service.origin, song) if isinstance(service, Azurite) else on_s3(service, song)


def waiting_blocks(azurite: Azurite, container: str, name: str) -> int:
    query = [("comp", "blocklist"), ("blocklisttype", "uncommitted")]
    try:
        _, document = azurite.call("GET", f"{container}/{name}", query)
    except urllib.error.HTTPError:  # no such blob
        return 0
    return document.count(b"<Block>")
