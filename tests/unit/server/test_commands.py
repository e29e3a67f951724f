"""The subcommands of ``score-server``, on a local store and on MinIO with Song."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
import subprocess
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from azure.storage.blob import BlobServiceClient, CorsRule

from score.errors import Invalid, Misconfigured
from score.server.build import Service, open_service
from score.server.commands import COMMANDS, run, take_apart
from score.server.main import main
from score.server.reading import read_settings
from score.server.settings import FIELDS
from score.storage.base import ObjectStore
from score.testing.azurite import Azurite
from score.testing.ceph import Ceph
from score.testing.ego import FakeEgo
from score.testing.faults import Answer
from score.testing.minio import Minio
from score.testing.processes import clean_environment, free_port
from score.testing.proxy import FaultProxy
from score.testing.server import RunningServer
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
    return boto3.client(
        "s3",
        endpoint_url=minio.endpoint,
        aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key,
        region_name="us-east-1",
    )


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


def test_check_of_a_good_site_leaves_nothing_behind(place: Place) -> None:
    place.run("check", "--fix")
    before = place.stored()
    status, out = place.run("check")
    assert status == 0, out
    lines = out.splitlines()
    assert {line.split()[0] for line in lines if not line.startswith("note")} == {"ok"}
    assert place.stored() == before

    async def uploads(service: Service) -> list[Any]:
        return [upload async for upload in service.objects.open_uploads()]

    assert place.within(uploads) == []
    status, out = place.run("check", "--json")
    document = json.loads(out)
    assert (status, document["ok"]) == (0, True)
    assert {"objectBucket", "stateBucket", "sentinel", "registry"} <= {one["name"] for one in document["checks"]}


@pytest.mark.needs("minio")
def test_check_names_what_is_wrong_and_what_mends_it(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song, FakeEgo() as ego, FaultProxy(minio.endpoint) as proxy:
        good = on_s3(minio, song)
        place = Place(tmp_path, good, capsys)

        def wrong(*settings: str, fix: bool = False) -> dict[str, tuple[str, str]]:
            status, out = place.run("check", "--json", *settings, *["--fix"][: int(fix)])
            document = json.loads(out)
            assert minio.secret_key not in out
            assert status == int(not document["ok"])
            return {one["name"]: (one["problem"], one["remedy"]) for one in document["checks"] if not one["ok"]}

        assert wrong()["sentinel"][1] == "score-server check --fix"
        assert wrong(fix=True) == {}
        assert wrong() == {}

        place.settings = [*good, "--bucket.name.state=nowhere-to-be-found"]
        problem, remedy = wrong()["stateBucket"]
        assert "NoSuchBucket" in problem
        assert remedy == f"aws --endpoint-url {minio.endpoint} s3 mb s3://nowhere-to-be-found"

        place.settings = [*good, "--s3.secretKey=wrong-wrong"]
        assert "s3.secretKey" in "".join(wrong()["objectBucket"])
        place.settings = [*good, "--s3.accessKey=unknown"]
        assert "s3.accessKey" in "".join(wrong()["objectBucket"])
        place.settings = [*good, "--s3.endpoint=http://127.0.0.1:1"]
        assert "refused" in wrong()["objectBucket"][0]
        place.settings = [*good, "--s3.endpoint=http://nowhere.invalid"]
        assert "failed" in wrong()["objectBucket"][0]

        place.settings = [*good, "--s3.preSignedUrl.override.host=127.0.0.1:1"]
        problem, remedy = wrong()["URLs for clients"]
        assert "127.0.0.1:1" in problem
        assert "s3.preSignedUrl.override.host" in remedy
        with FaultProxy(minio.endpoint) as rewriting:
            rewriting.traffic.inject(Answer.denied(), times=None, method="PUT")
            place.settings = [*good, f"--s3.preSignedUrl.override.host={rewriting.url}"]
            assert "403" in wrong()["URLs for clients"][0]

        place.settings = [*good, f"--s3.endpoint={proxy.url}"]
        proxy.traffic.inject(Answer.denied(), times=None, method="PUT", path=r"\.check-")
        found = wrong()
        assert "AccessDenied" in found["objectBucket, writing"][0]
        assert "AccessDenied" in found["stateBucket, writing"][0]

        place.settings = [*good, "--metadata.url=http://127.0.0.1:1"]
        assert "metadata.url" in wrong()["registry"][1]
        place.settings = [
            *good, "--spring.profiles.active=s3,secure", "--auth.server.url=http://127.0.0.1:1/o/check_api_key",
            "--auth.server.clientId=x", "--auth.server.clientSecret=y",
        ]  # fmt: skip
        assert "auth.server.url" in wrong()["authorization"][1]
        assert ego.url


PORTAL = "https://portal.test"


def page_check(place: Place, origin: str = PORTAL) -> tuple[bool, str, str]:
    """Whether the store lets pages of an origin call it, else the problem and the remedy."""
    _, out = place.run("check", "--json", f"--server.cors.allowedOrigins={origin}")
    (found,) = [one for one in json.loads(out)["checks"] if one["name"] == "CORS of the store"]
    return found["ok"], found["problem"], found["remedy"]


@pytest.mark.needs("ceph", "aws")
def test_check_asks_the_store_what_browsers_ask(
    ceph: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ceph lets no page call it until it is told to; the command that the check gives does that."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(ceph, song), capsys)
        place.run("check", "--fix")
        ok, problem, remedy = page_check(place)
        assert not ok
        assert PORTAL in problem
        assert "PUT and GET" in problem
        keys = {"AWS_ACCESS_KEY_ID": ceph.access_key, "AWS_SECRET_ACCESS_KEY": ceph.secret_key}
        region = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
        subprocess.run(shlex.split(remedy), check=True, env={**clean_environment(tmp_path), **keys, **region})
        assert page_check(place)[0]
        assert not page_check(place, "https://elsewhere.test")[0]
        assert "portal.example.org" in page_check(place, "*")[1]


@pytest.mark.needs("ceph", "aws")
def test_check_asks_every_bucket_of_a_pool_what_browsers_ask(
    ceph: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clients send to and fetch from those with a number."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place, (objects, _) = in_pool(Place(tmp_path, on_s3(ceph, song), capsys), ceph)
        place.run("check", "--fix")
        rule = {"AllowedOrigins": [PORTAL], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}
        for name in (objects, f"{objects}.1"):
            client(ceph).put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
        ok, problem, remedy = page_check(place)
        assert not ok
        assert f"{objects}.0" in problem
        assert f"{objects}.1" not in problem + remedy
        client(ceph).delete_bucket_cors(Bucket=f"{objects}.1")
        _, problem, remedy = page_check(place)
        assert f"{objects}.1" in problem
        keys = {"AWS_ACCESS_KEY_ID": ceph.access_key, "AWS_SECRET_ACCESS_KEY": ceph.secret_key}
        region = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
        subprocess.run(["sh", "-c", remedy], check=True, env={**clean_environment(tmp_path), **keys, **region})
        assert page_check(place)[0]


@pytest.mark.needs("minio")
def test_check_tries_every_bucket_of_a_pool(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing ones are named with the command that makes them; then a role that may not write to two of them."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(minio, song), capsys)
        place.run("check", "--fix")
        objects, state = (found.partition("=")[2] for found in place.settings if "bucket.name" in found)

        def wrong() -> dict[str, tuple[str, str]]:
            _, out = place.run("check", "--json")
            return {
                one["name"]: (one["problem"], one["remedy"]) for one in json.loads(out)["checks"] if not one["ok"]
            }

        place.settings += ["--bucket.size.pool=2"]
        client(minio).create_bucket(Bucket=f"{objects}.0")
        problem, remedy = wrong()["objectBucket"]
        assert "NoSuchBucket" in problem
        assert remedy == f"aws --endpoint-url {minio.endpoint} s3 mb s3://{objects}.1"
        _, remedy = wrong()["stateBucket"]
        assert f"for bucket in {state}.0 {state}.1; do " in remedy
        for name in (f"{objects}.1", f"{state}.0", f"{state}.1"):
            client(minio).create_bucket(Bucket=name)
        assert wrong() == {}

        may_not = [f"arn:aws:s3:::{objects}.1/*", f"arn:aws:s3:::{state}.0/*"]
        statements = [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"},
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": may_not},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        root = {"aws_access_key_id": minio.access_key, "aws_secret_access_key": minio.secret_key}
        with closing(boto3.client("sts", endpoint_url=minio.endpoint, region_name="us-east-1", **root)) as sts:
            role = sts.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="any", Policy=policy)[
                "Credentials"
            ]
        for name, key in (("ACCESS_KEY_ID", "AccessKeyId"), ("SECRET_ACCESS_KEY", "SecretAccessKey")):
            monkeypatch.setenv(f"AWS_{name}", role[key])
        monkeypatch.setenv("AWS_SESSION_TOKEN", role["SessionToken"])
        place.settings = [one for one in place.settings if "Key=" not in one]
        found = wrong()
        for kind, bucket in (("objectBucket", f"{objects}.1"), ("stateBucket", f"{state}.0")):
            problem, remedy = found[f"{kind}, writing"]
            assert "AccessDenied" in problem
            assert bucket in problem
            assert remedy
        assert f"{objects}.1" in found["URLs for clients"][0]
        assert not [key for key in place.stored() if "check" in key]


@pytest.mark.needs("ceph")
def test_check_proves_on_ceph_that_no_folder_is_needed(
    ceph: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In buckets with nothing in them all can be written, and only the sentinel is missing."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(ceph, song), capsys)
        status, out = place.run("check")
        assert status == 1
        assert [line.split(":")[0] for line in out.splitlines() if line.startswith("WRONG")] == ["WRONG  sentinel"]
        assert {"ok     objectBucket, writing", "ok     stateBucket, writing"} <= set(out.splitlines())
        assert "ok     URLs for clients" in out
        assert place.stored() == set()


@pytest.mark.needs("minio")
def test_check_asks_nothing_where_no_page_may_call(place: Place) -> None:
    place.run("check", "--fix")
    assert "CORS" not in place.run("check")[1]


@pytest.mark.needs("azurite")
def test_check_tries_urls_and_pages_on_azure(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    service = BlobServiceClient(
        azurite.endpoint, credential={"account_name": azurite.account, "account_key": azurite.key}
    )
    with FakeSong() as song, FaultProxy(azurite.origin) as proxy, service:
        place = Place(tmp_path, on_azure(azurite, proxy.url, song), capsys)
        container = place.settings[-2].partition("=")[2]
        status, out = place.run("check")
        assert status == 0, out
        assert "ok     URLs for clients" in out
        assert azurite.blobs(container) == ["heliograph"]
        proxy.traffic.inject(Answer.denied(), times=None, method="PUT", query="sig=")
        status, out = place.run("check")
        assert status == 1
        assert "WRONG  URLs for clients" in out
        assert "azure.endpoint" in out
        proxy.traffic.heal()

        ok, problem, remedy = page_check(place)
        assert not ok
        assert PORTAL in problem
        assert f"az storage cors add --account-name {azurite.account} --services b --origins {PORTAL}" in remedy
        rule = CorsRule([PORTAL], ["GET", "PUT", "OPTIONS"], allowed_headers=["*"], exposed_headers=["ETag"])
        service.set_service_properties(cors=[rule])
        try:
            assert page_check(place)[0]
        finally:
            service.set_service_properties(cors=[])


@pytest.mark.needs("azurite")
def test_check_gives_the_commands_for_container_and_policies(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    account = f"--account-name {azurite.account}"

    def found(place: Place, *settings: str) -> tuple[str, str]:
        """What is wrong with the container, and the remedy."""
        status, out = place.run("check", "--json", *settings)
        document = json.loads(out)
        assert status == int(not document["ok"])
        assert azurite.key not in out
        (one,) = [one for one in document["checks"] if one["name"] == "objectBucket"]
        return one["problem"], one["remedy"]

    with FakeSong() as song:
        place = Place(tmp_path, on_azure(azurite, azurite.origin, song), capsys)
        assert found(place) == ("", "")
        container = f"site-{uuid.uuid4().hex[:12]}"
        place.settings.append(f"--bucket.name.object={container}")
        at = f"--blob-endpoint {azurite.endpoint}"
        problem, remedy = found(place)
        assert "ContainerNotFound" in problem
        assert remedy == f"az storage container create {account} --name {container} {at}"

        azurite.call("PUT", container, [("restype", "container")], status=201)
        problem, remedy = found(place)
        assert "'UploadPolicy' (bucket.policy.upload)" in problem
        create = f"az storage container policy create {account} --container-name {container}"
        update = create.replace("create", "update")
        assert remedy == (
            f"{create} --name UploadPolicy --permissions cw {at}"
            f" && {create} --name DownloadPolicy --permissions r {at}"
        )
        azurite.set_policies(container)
        assert found(place) == ("", "")
        assert found(place, "--bucket.policy.download=Reading")[1] == f"{create} --name Reading --permissions r {at}"
        problem, remedy = found(place, "--bucket.policy.upload=DownloadPolicy")
        assert "does not allow write" in problem
        assert remedy == "", "what else it is for is the operator's affair"
        azurite.set_policies(container, datetime.now(UTC) - timedelta(minutes=5))
        later = "--expiry YYYY-MM-DDThh:mmZ"
        assert found(place)[1] == (
            f"{update} --name UploadPolicy {later} {at} && {update} --name DownloadPolicy {later} {at}"
        )


@pytest.mark.needs("azurite")
def test_clean_on_azure(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """State with blocks, state alone and blocks alone go; objects, and blocks of other programs, stay."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_azure(azurite, azurite.origin, song), capsys)
        whole, state, blocks, kept = (str(uuid.uuid4()) for _ in range(4))
        place.begin(whole)
        place.begin(state)

        async def put(service: Service) -> None:
            await service.objects.put(kept, DATA)

        place.within(put)
        container = place.settings[-2].partition("=")[2]
        for name in (whole, blocks, kept, "other"):
            azurite.call(
                "PUT", f"{container}/{name}", [("comp", "block"), ("blockid", "AAAA")], body=b"waits", status=201
            )
        assert place.run("clean") == (0, "0 stale uploads removed, 0 could not be.\n")
        place.settings += ["--s3.upload.expiration=0"]
        _, out = place.run("clean", "--dry-run")
        assert all(one in out for one in (whole, state, blocks))
        assert kept not in out
        assert place.run("clean") == (0, "3 stale uploads removed, 0 could not be.\n")
        assert place.stored() == {kept, "heliograph"}
        waiting = {name: waiting_blocks(azurite, container, name) for name in (whole, blocks, "other")}
        assert waiting == {whole: 0, blocks: 0, "other": 1}


@pytest.mark.needs("azurite")
def test_delete_takes_the_blocks_that_wait(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an object that is there, of an upload in progress, and of one whose state is lost."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_azure(azurite, azurite.origin, song), capsys)
        whole, begun, lost = (str(uuid.uuid4()) for _ in range(3))
        place.put(whole, DATA)
        place.begin(begun)
        container = place.settings[-2].partition("=")[2]
        for name in (whole, begun, lost, "other"):
            azurite.call(
                "PUT", f"{container}/{name}", [("comp", "block"), ("blockid", "AAAA")], body=b"waits", status=201
            )
        status, out = place.run("delete", whole, begun, lost)
        assert status == 0
        assert f"would remove {whole}: 10000 bytes\n" in out
        for name in (begun, lost):
            assert f"would remove {name}: 1 unfinished upload(s)\n" in out
        assert waiting_blocks(azurite, container, begun) == 1
        assert place.run("delete", whole, begun, lost, "--yes")[0] == 0
        assert place.stored() == {"heliograph"}
        waiting = {name: waiting_blocks(azurite, container, name) for name in (whole, begun, lost, "other")}
        assert waiting == {whole: 0, begun: 0, lost: 0, "other": 1}


def waiting_blocks(azurite: Azurite, container: str, name: str) -> int:
    query = [("comp", "blocklist"), ("blocklisttype", "uncommitted")]
    try:
        _, document = azurite.call("GET", f"{container}/{name}", query)
    except urllib.error.HTTPError:  # no such blob
        return 0
    return document.count(b"<Block>")


def test_clean_tells_and_then_does(place: Place) -> None:
    object_id = str(uuid.uuid4())
    upload = place.begin(object_id)
    assert place.run("clean") == (0, "0 stale uploads removed, 0 could not be.\n")
    place.settings = [*place.settings, "--s3.upload.expiration=0"]
    status, out = place.run("clean", "--dry-run")
    assert status == 0
    assert f"would remove the upload {upload} of {object_id}" in out
    assert place.run("clean", "--dry-run")[1] == out, "nothing was removed"
    assert place.run("clean") == (0, "1 stale uploads removed, 0 could not be.\n")
    assert not [key for key in place.stored() if object_id in key]


@pytest.mark.needs("minio")
def test_clean_reaches_the_buckets_from_before_a_pool(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(minio, song), capsys)
        before, after = (str(uuid.uuid4()) for _ in range(2))
        left = place.begin(before)
        for name in (found.partition("=")[2] for found in place.settings if "bucket.name" in found):
            for number in range(2):
                client(minio).create_bucket(Bucket=f"{name}.{number}")
        place.settings += ["--bucket.size.pool=2", "--s3.upload.expiration=0"]
        begun = place.begin(after)
        _, out = place.run("clean", "--dry-run")
        assert f"the upload {left} of {before}" in out
        assert f"the upload {begun} of {after}" in out
        assert place.run("clean") == (0, "2 stale uploads removed, 0 could not be.\n")
        bucket = place.settings[3].partition("=")[2]
        uploads = client(minio).list_multipart_uploads(Bucket=bucket, Prefix=f"data/{before}")
        assert "Uploads" not in uploads
        assert not any(before in key or after in key for key in place.stored())


@pytest.mark.needs("minio")
def test_delete_reaches_uploads_in_the_buckets_from_before_a_pool(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With state and without, as a crash leaves them; those of other objects stay."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(minio, song), capsys)
        gone, other = (str(uuid.uuid4()) for _ in range(2))
        place.begin(gone)
        kept = place.begin(other)
        bucket, state = (found.partition("=")[2] for found in place.settings if "bucket.name" in found)
        client(minio).create_multipart_upload(Bucket=bucket, Key=f"data/{gone}")
        client(minio).put_object(Bucket=state, Key=f"upload/{gone}_lost/part-1", Body=b"")
        for name in (bucket, state):
            for number in range(2):
                client(minio).create_bucket(Bucket=f"{name}.{number}")
        place.settings += ["--bucket.size.pool=2"]
        place.begin(gone)
        status, out = place.run("delete", gone)
        assert (status, f"{gone}: 4 unfinished upload(s)" in out) == (0, True), out
        assert place.run("delete", gone, "--yes") == (0, f"removed {gone}: 4 unfinished upload(s)\n")
        for name in (bucket, *(f"{bucket}.{number}" for number in range(2))):
            assert "Uploads" not in client(minio).list_multipart_uploads(Bucket=name, Prefix=f"data/{gone}")
        (left,) = client(minio).list_multipart_uploads(Bucket=bucket, Prefix=f"data/{other}")["Uploads"]
        assert left["UploadId"] == kept
        assert place.stored() == {f"upload/{other}_{kept}/.meta"}
        assert place.run("delete", gone, "--yes")[0] == 1


@pytest.mark.parametrize("place", [*BUCKETS, AZURE, "local"], indirect=True)
def test_delete_is_a_rehearsal_without_yes(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    what = f"10000 bytes, {'' if place.on_azure else 'its specification, '}1 unfinished upload(s)"
    gone, kept, unknown = (str(uuid.uuid4()) for _ in range(3))
    place.put(gone, DATA)
    place.put(kept, DATA)
    place.begin(gone)
    before = place.stored()
    status, out = place.run("delete", gone, unknown)
    assert status == 1, "of one there is nothing"
    assert f"would remove {gone}: {what}\n" in out
    assert f"would remove {unknown}: nothing is stored" in out
    assert place.stored() == before
    status, out = place.run("delete", gone, "--yes")
    assert (status, out) == (0, f"removed {gone}: {what}\n")
    assert place.stored() == {key for key in before if gone not in key}
    begun, done = [json.loads(one.message) for one in caplog.records if one.name == "score.audit"]
    assert (begun["outcome"], done["outcome"], done["deed"], done["object"]) == ("begun", "done", "deletion", gone)
    assert "on the command line" in done["by"]
    assert begun["bytes"] == done["bytes"] == 10000
    assert place.run("delete", gone, "--yes")[0] == 1
    with pytest.raises(Invalid):
        place.run("delete", kept, "../x", "--yes")
    with pytest.raises(Misconfigured):
        place.run("delete", "--yes")
    assert any(kept in key for key in place.stored())


def test_verify_names_bytes_that_changed(place: Place) -> None:
    whole, rotten, short, lost, other, unknown = (str(uuid.uuid4()) for _ in range(6))
    for object_id in (whole, rotten, short, lost):
        place.put(object_id, DATA)
    place.put(other, DATA, md5="0" * 32)

    async def damage(service: Service) -> None:
        await service.objects.put(f"data/{rotten}", DATA[:6000] + b"x" + DATA[6001:])
        await service.objects.put(f"data/{short}", DATA[:-1])
        await service.objects.put(f"data/{unknown}", DATA)
        await service.objects.delete(f"data/{lost}")

    assert place.run("verify")[0] == 1
    place.within(damage)
    status, out = place.run("verify")
    assert status == 1
    said = {line.split()[1].rstrip(":"): line for line in out.splitlines()[:-1]}
    assert said.keys() == {rotten, short, lost, other, unknown}
    assert "1 of 2 parts" in said[rotten]
    assert "number 2 (bytes 5000 to 9999)" in said[rotten]
    assert "9999 bytes, not 10000" in said[short]
    assert "lost" in said[lost]
    assert "MD5" in said[other]
    assert said[unknown].startswith("unknown")
    assert out.splitlines()[-1].endswith("1 as uploaded, 4 damaged or lost, 1 unknown.")


def test_verify_of_a_good_store(place: Place) -> None:
    place.put(str(uuid.uuid4()), DATA)
    assert place.run("verify") == (0, "1 objects, 10000 bytes: 1 as uploaded, 0 damaged or lost, 0 unknown.\n")


def test_config_tells_values_and_origins_but_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "application.properties").write_text(
        "s3.endpoint=http://x:9000\ns3.accessKey=AKIAHUNTER\ns3.secretKey=hunter2\nupload.partsize=6000000\n"
        "bucket.name.object=o\nbucket.name.state=s\nmetadata.url=http://song\ns3.nonsense=1\n"
        "server.trustedProxies=10.0.0.0/8, 192.0.2.1\nserver.ssl.trust-store-password=hunter2\n"
    )
    monkeypatch.setenv("UPLOAD_PARTSIZE", "7000000")
    place = Place(tmp_path, ["--upload.retry.limit=2"], capsys)
    status, out = place.run("config")
    assert status == 0
    lines = {line.split("=")[0]: line for line in out.splitlines() if "=" in line}
    assert lines.keys() >= FIELDS.keys()
    assert lines["upload.partsize"].split() == ["upload.partsize=7000000", "#", "environment", "UPLOAD_PARTSIZE"]
    assert lines["s3.endpoint"].endswith("# application.properties:1")
    assert lines["upload.retry.limit"].endswith("# option --upload.retry.limit")
    assert lines["server.port"].endswith("# default")
    assert "s3.secretKey=******" in lines["s3.secretKey"]
    assert "server.trustedProxies=10.0.0.0/8,192.0.2.1/32" in lines["server.trustedProxies"]
    status, as_json = place.run("config", "--json")
    assert status == 0
    document = json.loads(as_json)
    assert {one["name"] for one in document["settings"]} == FIELDS.keys()
    for text in (out, as_json):
        assert "hunter" not in text.lower()
        assert "s3.nonsense" in text


@pytest.mark.parametrize(
    "words",
    [
        ["--dryrun"], ["--dry-run=true"], ["--yes"], ["-n"], ["--dry-run", "extra"], ["--s3.upload.expiration", "0"],
        ["--"],
    ],
)  # fmt: skip
def test_a_misspelled_option_is_never_passed_over(place: Place, words: list[str]) -> None:
    with pytest.raises(Misconfigured):
        place.run("clean", *words)


def test_words_flags_and_settings_are_told_apart() -> None:
    line = ["a", "--yes", "--s3.endpoint=http://x", "b", "--insecure"]
    assert take_apart("delete", {"--yes"}, line) == (
        frozenset({"--yes"}), ("a", "b"), ["--s3.endpoint=http://x", "--insecure"],
    )  # fmt: skip


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"config", "key"}))
def test_no_store_is_made_by_the_way(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(uuid.uuid4())] if command == "delete" else []
    assert main([command, *words, f"--server.port={free_port()}"]) == 1
    said = capsys.readouterr()
    assert ("No server answers" in said.out) if command == "ping" else ("no local store" in said.err)
    assert list(tmp_path.iterdir()) == []


def test_every_command_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in out


class TestAdministration:
    """``DELETE /admin/objects/{id}``."""

    @pytest.fixture
    def http(self) -> Iterator[urllib3.PoolManager]:
        with urllib3.PoolManager(retries=False, timeout=30) as http:
            yield http

    def test_it_is_shut_without_tokens(self, tmp_path: Path, http: urllib3.PoolManager) -> None:
        settings = read_settings(["--server.port=0"], {}, tmp_path).settings
        settings = settings.model_copy(update={"local_directory": tmp_path})
        with RunningServer(lambda: open_service(settings)) as server:
            answer = http.request("DELETE", f"{server.url}/admin/objects/{uuid.uuid4()}")
            assert answer.status == 403
            assert "secure" in answer.json()["message"]

    @pytest.mark.parametrize("store", [*BUCKETS, AZURE])
    def test_it_needs_the_system_scope(
        self, store: str, tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest,
    ) -> None:  # fmt: skip
        with FakeSong() as song, FakeEgo() as ego:
            given = settings_on(request.getfixturevalue(store), song)
            place = Place(tmp_path, given, capsys)
            object_id = str(uuid.uuid4())
            place.put(object_id, DATA)
            secure = [
                *given, f"--spring.profiles.active={'azure' if place.on_azure else 's3'},secure",
                f"--auth.server.url={ego.check_url}",
                f"--auth.server.clientId={ego.client_id}", f"--auth.server.clientSecret={ego.client_secret}",
            ]  # fmt: skip
            settings = read_settings(secure, {}, tmp_path).settings
            with RunningServer(lambda: open_service(settings)) as server:

                def call(*scopes: str, path: str = object_id) -> Any:
                    headers = {"Authorization": f"Bearer {ego.issue_key(*scopes)}"} if scopes else {}
                    return http.request("DELETE", f"{server.url}/admin/objects/{path}", headers=headers)

                assert call().status == 401
                assert call("score.READ").status == 403
                assert call("PROGRAMDATA-TEST-CA.WRITE").status == 403
                assert call("score.WRITE", path="..%2fx").status in (400, 404)
                assert any(object_id in key for key in place.stored())
                lines = [json.loads(one.message) for one in caplog.records if one.name == "score.audit"]
                assert [line["outcome"] for line in lines] == ["refused"] * 3
                answer = call("score.WRITE")
                assert answer.status == 200
                assert answer.json()["objectId"] == object_id
                assert call("score.WRITE").status == 404
            assert not [key for key in place.stored() if object_id in key]
            lines = [json.loads(one.message) for one in caplog.records if one.name == "score.audit"][3:]
            assert [line["outcome"] for line in lines] == ["begun", "done"]
            assert lines[0]["subject"] in lines[0]["by"]
