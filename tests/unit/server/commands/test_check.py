"""``score-server check``."""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, CorsRule

from score.server.build import Service
from score.testing.azurite import Azurite
from score.testing.ceph import Ceph
from score.testing.ego import FakeEgo
from score.testing.faults import Answer
from score.testing.minio import Minio
from score.testing.processes import clean_environment
from score.testing.proxy import FaultProxy
from score.testing.s3_contract import take_role
from score.testing.song import FakeSong

from .conftest import Place, client, in_pool, on_azure, on_s3


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


def test_check_blames_no_setting_that_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A client's METADATA_URL in the environment is none of a registry in a file."""
    (tmp_path / "data" / "registry.sqlite3").mkdir(parents=True)
    settings = [f"--local.directory={tmp_path / 'data'}", "--metadata.url=http://127.0.0.1:1"]
    status, out = Place(tmp_path, settings, capsys).run("check")
    (line,) = [line for line in out.splitlines() if line.startswith("WRONG  registry")]
    assert status == 1
    assert "registry.sqlite3 failed" in line
    assert "Check the file, its folder and their permissions." in line
    assert "metadata.url" not in line


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
        keys = "--spring.security.oauth2.resourceserver.jwt.public-key-location"
        place.settings = [*good, "--spring.profiles.active=s3,secure", f"{keys}={ego.public_key_url}"]
        assert wrong() == {}
        place.settings[-1] += "/elsewhere"
        assert "404" in wrong()["authorization"][0]


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
        take_role(minio, policy, monkeypatch)
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
