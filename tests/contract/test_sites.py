"""The suite of whole sites, on the four stores."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from score.storage.s3.settings import S3Settings
from score.testing.azurite import azurite_site
from score.testing.s3_contract import boto
from score.testing.site import Site, local_site, s3_site
from score.testing.site_contract import PART, SiteContract
from score.testing.store_ground import Aside

if TYPE_CHECKING:
    from score.testing.azurite import Azurite
    from score.testing.ceph import Ceph
    from score.testing.minio import Minio


class Folder:
    """The files of the local store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        (self._folder / key).write_bytes(data)

    def get(self, key: str) -> bytes | None:
        path = self._folder / key
        return path.read_bytes() if path.is_file() else None

    def delete(self, key: str) -> None:
        (self._folder / key).unlink()

    def keys(self, prefix: str = "") -> list[str]:
        found = [str(path.relative_to(self._folder)) for path in self._folder.rglob("*") if path.is_file()]
        return sorted(key for key in found if key.startswith(prefix))


class Bucket:
    """A bucket by boto3."""

    def __init__(self, service: Minio | Ceph, name: str) -> None:
        self.name = name
        self.s3 = boto(S3Settings(service.endpoint, service.access_key, service.secret_key))

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self.s3.get_object(Bucket=self.name, Key=key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        pages: Any = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


class Container:
    """A container by calls with the key of the account."""

    def __init__(self, azurite: Azurite, name: str) -> None:
        self._azurite = azurite
        self._name = name

    def put(self, key: str, data: bytes) -> None:
        headers = {"x-ms-blob-type": "BlockBlob"}
        self._azurite.call("PUT", f"{self._name}/{key}", headers=headers, body=data, status=201)

    def get(self, key: str) -> bytes | None:
        try:
            return self._azurite.call("GET", f"{self._name}/{key}")[1]
        except urllib.error.HTTPError:
            return None

    def delete(self, key: str) -> None:
        self._azurite.call("DELETE", f"{self._name}/{key}", status=202)

    def keys(self, prefix: str = "") -> list[str]:
        query = [("comp", "list"), ("include", "uncommittedblobs"), ("restype", "container")]
        _, document = self._azurite.call("GET", self._name, query)
        names = re.findall(r"<Blob><Name>([^<]*)</Name>", document.decode())
        return [name for name in names if name.startswith(prefix)]


class TestLocalSite(SiteContract):
    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with local_site(tmp_path_factory.mktemp("local")) as site:
            yield site

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, shared: Site) -> Aside:
        return Folder(shared.server.folder / "score-data" / "object")


@pytest.mark.needs("minio")
class TestMinioSite(SiteContract):
    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, minio: Minio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with s3_site(tmp_path_factory.mktemp("minio"), minio) as site:
            yield site

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, shared: Site, minio: Minio) -> Aside:
        return Bucket(minio, shared.objects.strip("/"))


@pytest.mark.needs("ceph")
class TestCephSite(SiteContract):
    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with s3_site(tmp_path_factory.mktemp("ceph"), ceph) as site:
            yield site

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, shared: Site, ceph: Ceph) -> Aside:
        return Bucket(ceph, shared.objects.strip("/"))


@pytest.mark.needs("azurite")
class TestAzureSite(SiteContract):
    payload = "comp=block&"
    folder = ""

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with azurite_site(tmp_path_factory.mktemp("azure"), azurite, download_partsize=str(PART)) as site:
            yield site

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, shared: Site, azurite: Azurite) -> Aside:
        return Container(azurite, shared.objects.strip("/").partition("/")[2])
