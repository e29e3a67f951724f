"""Settings of S3 stores, from the client's command to the bytes in the bucket and back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
import urllib3

from score.protocol.parts import MIB
from score.storage.s3.settings import S3Settings
from score.testing.s3_contract import boto, encrypt
from score.testing.site import Site, md5_of, s3_site

if TYPE_CHECKING:
    from score.testing.ceph import Ceph
    from score.testing.minio import Minio

Maker = Callable[[str, int], Path]
SIZE = 11 * MIB


def there_and_back(site: Site, path: Path, out: Path) -> str:
    """Upload, publish and download a file of three parts; the object id."""
    files = site.register([path])
    site.run("upload", "--manifest", files.manifest)
    assert site.has_object(files.id)
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", out)
    assert md5_of(out / path.name) == md5_of(path)
    return files.id


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in ("minio", "ceph")])
def service(request: pytest.FixtureRequest) -> Minio | Ceph:
    service: Minio | Ceph = request.getfixturevalue(request.param)
    return service


def test_signature_version_2(service: Minio | Ceph, make_file: Maker, tmp_path: Path) -> None:
    with s3_site(tmp_path, service, s3_sigV4Enabled="false") as site:
        identity = there_and_back(site, make_file("reads.bam", SIZE), tmp_path / "out")
        assert site.behind
        assert all(call.headers["authorization"].startswith("AWS ") for call in site.behind.seen())
        for call in [*site.sent(identity), *site.fetched(identity)]:
            assert parse_qs(call.query).keys() >= {"AWSAccessKeyId", "Expires", "Signature"}


def test_folders_are_neither_needed_nor_in_the_way(service: Minio | Ceph, make_file: Maker, tmp_path: Path) -> None:
    """Nothing is there at first but a sentinel, then the empty objects that other programs take for folders."""
    with s3_site(tmp_path, service) as site, urllib3.PoolManager() as http:
        objects = site.objects.strip("/")
        state = objects.replace("-objects", "-state")
        with closing(boto(S3Settings(service.endpoint, service.access_key, service.secret_key))) as s3:
            assert not s3.list_objects_v2(Bucket=state)["KeyCount"]
            first = there_and_back(site, make_file("first.bam", SIZE), tmp_path / "out")
            for bucket in (objects, state):
                for folder in ("data/", "upload/"):
                    s3.put_object(Bucket=bucket, Key=folder, Body=b"")
            second = there_and_back(site, make_file("second.bam", SIZE), tmp_path / "out")
            listed = http.request("GET", f"{site.server.url}/listing").json()
            assert {entry["id"] for entry in listed} == {first, second}
            kept = {item["Key"] for item in s3.list_objects_v2(Bucket=state)["Contents"]}
            assert kept == {"data/", "upload/", f"data/{first}.meta", f"data/{second}.meta"}


@pytest.mark.needs("minio")
def test_server_side_encryption(make_file: Maker, tmp_path: Path) -> None:
    """The ETags of encrypted parts are no MD5s: neither client nor server may compare them."""
    from score.testing.minio import running_minio

    with (
        running_minio(kms_key="site-key") as minio,
        s3_site(tmp_path, minio, s3_masterEncryptionKeyId="site-key") as site,
    ):
        identity = there_and_back(site, make_file("reads.bam", SIZE), tmp_path / "out")
        assert site.behind
        (begun,) = site.behind.seen(method="POST", path=site.path_of(identity), query="uploads")
        assert begun.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "site-key"
        assert len(site.sent(identity)) == 3


@pytest.mark.needs("minio")
@pytest.mark.parametrize("size", [SIZE, 1000], ids=["three parts", "one part"])
def test_encryption_by_the_bucket_itself(make_file: Maker, tmp_path: Path, size: int) -> None:
    """No setting says so: the server finds it out, once for the upload, by a part of its own."""
    from score.testing.minio import running_minio

    with running_minio(kms_key="of-the-bucket") as minio, s3_site(tmp_path, minio) as site:
        with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
            encrypt(s3, site.objects.strip("/"), "of-the-bucket")
        identity = there_and_back(site, make_file("reads.bam", size), tmp_path / "out")
        assert site.behind
        assert len(site.behind.seen(method="POST", path=site.path_of(identity), query="uploads")) == 2
        assert len(site.sent(identity)) == (3 if size == SIZE else 1)


@pytest.mark.needs("minio")
def test_where_etags_are_md5s_nothing_is_asked(minio: Minio, make_file: Maker, tmp_path: Path) -> None:
    with s3_site(tmp_path, minio) as site:
        identity = there_and_back(site, make_file("reads.bam", SIZE), tmp_path / "out")
        assert site.behind
        assert len(site.behind.seen(method="POST", path=site.path_of(identity), query="uploads")) == 1


@pytest.mark.needs("minio")
def test_a_pool_of_buckets(minio: Minio, make_file: Maker, tmp_path: Path) -> None:
    """What was uploaded before the pool, and what others put there, is served on; what comes now is spread."""
    with s3_site(tmp_path, minio) as site:
        older = there_and_back(site, make_file("older.bam", SIZE), tmp_path / "out")
        of_others = site.register([make_file("others.txt", 1000)])
        objects = site.objects.strip("/")
        state = objects.replace("-objects", "-state")
        with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
            data = of_others.paths[0].read_bytes()
            digest = base64.b64encode(hashlib.md5(data).digest()).decode()
            s3.put_object(Bucket=objects, Key=f"data/{of_others.id}", Body=data, Metadata={"md5chksum": digest})
            assert site.song
            site.song.set_state(of_others.analysis, "PUBLISHED")
            for number in range(4):
                s3.create_bucket(Bucket=f"{objects}.{number}")
            site.server.stop()
            site.server.start(bucket_size_pool="4")
            with urllib3.PoolManager() as http:
                unwell = http.request("GET", f"{site.server.url}/health", retries=False)
                assert unwell.status == 503
                assert f"{state}.0" in unwell.data.decode()
                for number in range(4):
                    s3.create_bucket(Bucket=f"{state}.{number}")
                assert http.request("GET", f"{site.server.url}/health", retries=False).status == 200
                ping = http.request("GET", f"{site.server.url}/download/ping").data.decode()
                assert http.request("GET", ping).data == b"heliograph\n"
                newer = there_and_back(site, make_file("newer.bam", SIZE), tmp_path / "out")
                for identity in (older, of_others.id):
                    site.run("download", "--object-id", identity, "--output-dir", tmp_path / identity)
                assert (tmp_path / of_others.id / "others.txt").read_bytes() == data
                assert site.has_object(older)
                assert not site.has_object(of_others.id)  # no .meta
                listed = http.request("GET", f"{site.server.url}/listing").json()
                assert {older, newer, of_others.id} <= {entry["id"] for entry in listed}
            home = int(newer[:2], 16) % 4
            s3.head_object(Bucket=f"{objects}.{home}", Key=f"data/{newer}")
            s3.head_object(Bucket=f"{state}.{home}", Key=f"data/{newer}.meta")
            left = s3.list_objects_v2(Bucket=f"{state}.{home}", Prefix="upload/")
            assert not left["KeyCount"]


def test_objects_of_others_in_the_root_of_a_bucket(service: Minio | Ceph, make_file: Maker, tmp_path: Path) -> None:
    """No folder of data, an endpoint without scheme, and MD5s in a property of the site's own choice."""
    given = {"s3_data_directory": "", "s3_secured": "false", "s3_customMd5Property": "Site-Checksum"}
    with s3_site(tmp_path, service, **given) as site:
        site.server.stop()
        site.server.start(s3_endpoint=site.store_proxy.url.removeprefix("http://"))
        bucket = site.objects.strip("/")
        of_others = site.register([make_file("others.txt", 1000)])
        data = of_others.paths[0].read_bytes()
        digest = base64.b64encode(hashlib.md5(data).digest()).decode()
        assert site.song
        site.song.set_state(of_others.analysis, "PUBLISHED")
        with closing(boto(S3Settings(service.endpoint, service.access_key, service.secret_key))) as s3:
            s3.put_object(Bucket=bucket, Key="heliograph", Body=b"here")
            s3.put_object(Bucket=bucket, Key=of_others.id, Body=data, Metadata={"site-checksum": digest})
            uploaded = there_and_back(site, make_file("reads.bam", SIZE), tmp_path / "out")
            assert s3.head_object(Bucket=bucket, Key=uploaded)["ContentLength"] == SIZE
        with urllib3.PoolManager() as http:
            answer = http.request("GET", f"{site.server.url}/download/{of_others.id}?offset=0&length=-1").json()
            assert answer["objectMd5"] == hashlib.md5(data).hexdigest()
            assert {entry["id"] for entry in http.request("GET", f"{site.server.url}/listing").json()} == {
                uploaded,
                of_others.id,
            }
            ping = http.request("GET", f"{site.server.url}/download/ping").data.decode()
            assert http.request("GET", ping).data == b"here"
        site.run("download", "--object-id", of_others.id, "--output-dir", tmp_path / "out")
        assert (tmp_path / "out" / "others.txt").read_bytes() == data
