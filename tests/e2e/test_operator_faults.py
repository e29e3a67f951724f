"""What goes wrong on the side of the operator, and what comes of it: a folder that nobody may write to, a bucket that
is gone, a clock that jumps, a server that is ended in the middle, a proxy that meddles."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.storage.s3.settings import S3Settings
from score.testing.clock import Clock
from score.testing.minio import Minio
from score.testing.nginx import running_nginx
from score.testing.processes import Program, clean_environment, on_read_only_folder, program
from score.testing.restricted import restricted_site
from score.testing.s3_contract import boto
from score.testing.site import Server, Site, local_site, md5_of, s3_site

PART = 5 * MIB
REFUSED, LATER, UNAUTHENTICATED = 3, 5, 6
CONFIGURATION = (Path(__file__).parents[2] / "deploy" / "nginx" / "score.conf").read_text()
Maker = Callable[[str, int], Path]


@pytest.fixture
def site(tmp_path: Path, minio: Minio) -> Iterator[Site]:
    with s3_site(tmp_path, minio, upload_retry_limit="0") as site:
        yield site


def ask(url: str) -> tuple[int, dict[str, object]]:
    """Status and JSON of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read())


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


@pytest.mark.needs("mounts")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    """It says so at the start where nothing is there yet; else it serves what there is, and names what is wrong."""
    data = tmp_path / "data"
    data.mkdir()
    settings = {"local.directory": str(data), "server.port": "0"}
    environment = clean_environment(tmp_path, settings)
    command = [*on_read_only_folder(data), program("score-server")]
    with Program(command, tmp_path / "first", environment) as server:
        assert server.wait() == 1
        assert f"Opening the store in {data} failed: Read-only file system." in server.stderr
        assert "Check how the store's folder is mounted" in server.stderr
        assert "Traceback" not in server.stderr
    with Program([program("score-server")], tmp_path / "second", environment) as server:
        server.wait_until(lambda: "Checked " in server.stderr)
        assert server.terminate() == 0
    with Program(command, tmp_path / "third", environment) as server:
        server.wait_until(lambda: "Checked " in server.stderr)
        assert f"Writing to {data}/object failed: Read-only file system." in server.stderr
        assert "metadata.url" not in server.stderr, "the registry is a file here"
        url = next(line.split()[1] for line in server.stdout.splitlines() if line.startswith("URL:"))
        assert ask(f"{url}/ready") == (503, {"status": "DOWN"})
        assert server.terminate() == 0


@pytest.mark.needs("minio")
@pytest.mark.parametrize("kind", ["objects", "state"])
def test_a_bucket_that_is_deleted_and_made_again(site: Site, make_file: Maker, minio: Minio, kind: str) -> None:
    there, files = site.register([make_file("first.bam", 100)]), site.register([make_file("reads.bam", 100)])
    site.run("upload", "--manifest", there.manifest)
    site.publish(there)
    name = site.objects.strip("/").replace("-objects", f"-{kind}")
    assert ask(f"{site.server.url}/ready") == (200, {"status": "UP"})
    with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
        for one in s3.list_objects_v2(Bucket=name)["Contents"]:
            s3.delete_object(Bucket=name, Key=one["Key"])
        s3.delete_bucket(Bucket=name)
        site.server.wait_until(lambda: not site.server.is_ready())
        assert ask(f"{site.server.url}/ready") == (503, {"status": "DOWN"})
        status, said = ask(f"{site.server.url}/download/{there.id}?offset=0&length=-1")
        assert status == 500
        assert name in str(said["message"])
        assert "Create the bucket" in str(said["message"])
        words = ("upload", "--manifest", files.manifest, "--verify-connection", "false")
        assert "Create the bucket" in site.run(*words, status={REFUSED, LATER}, storage_retryNumber="1").stderr
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="data/heliograph", Body=b"x")
    site.server.wait_until(site.server.is_ready)
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)


@pytest.mark.needs("minio", "faketime")
def test_a_clock_that_jumps_and_is_set_right(minio: Minio, make_file: Maker, tmp_path: Path) -> None:
    """The store refuses signatures of another time. The server says whose fault it is, and needs no restart."""
    clock = Clock(tmp_path / "clock")
    with s3_site(tmp_path, minio, prefix=clock.prefix, upload_retry_limit="0") as site:
        files = site.register([make_file("reads.bam", PART + 1)])
        for offset in (timedelta(hours=1), timedelta(hours=-1)):
            clock.put(offset)
            site.server.wait_until(lambda: not site.server.is_ready())
            status, said = ask(f"{site.server.url}/health")
            assert (status, said["status"]) == (503, "DOWN")
            assert "clock" in json.dumps(said).lower()
            result = site.run("upload", "--manifest", files.manifest, status={REFUSED, LATER})
            assert "clock" in result.stderr.lower()
            clock.put(timedelta())
            site.server.wait_until(site.server.is_ready)
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)


@pytest.mark.needs("minio", "faketime")
@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_that_is_wrong_by_minutes(minio: Minio, make_file: Maker, tmp_path: Path, minutes: int) -> None:
    """Stores do not mind that yet: the site works, but for URLs of 5 minutes as that of the ping. So it is not taken
    down; what mends it is said."""
    clock = Clock(tmp_path / "clock")
    clock.put(timedelta(minutes=minutes))
    with s3_site(tmp_path, minio, prefix=clock.prefix) as site:
        files = site.register([make_file("reads.bam", PART + 1)])
        site.run("upload", "--manifest", files.manifest, "--verify-connection", "false")
        site.publish(files)
        for probe in ("ready", "actuator/health", "health"):
            status, said = ask(f"{site.server.url}/{probe}")
            assert (status, said["status"]) == (200, "UP")
        assert "The clock of the store differs by" in json.dumps(said)
        code, told = site.server.run("check")
        (wrong,) = [line for line in told.splitlines() if line.startswith("WRONG")]
        assert wrong.startswith("WRONG  clock: ")
        assert wrong.endswith("Mend it: timedatectl set-ntp true")
        assert code == 1


@pytest.mark.needs("minio", "faketime")
@pytest.mark.parametrize("minutes", [-20, 20])
def test_check_of_a_clock_that_the_store_refuses(minio: Minio, tmp_path: Path, minutes: int) -> None:
    clock = Clock(tmp_path / "clock")
    with s3_site(tmp_path, minio, prefix=clock.prefix) as site:
        assert site.server.run("check")[0] == 0
        clock.put(timedelta(minutes=minutes))
        code, told = site.server.run("check")
        assert code == 1
        (found,) = [line for line in told.splitlines() if line.startswith("WRONG  objectBucket: ")]
        assert "RequestTimeTooSkewed" in found
        assert found.endswith("Mend it: timedatectl set-ntp true")


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("offset", [timedelta(days=30), timedelta(days=-30)], ids=["on", "back"])
def test_a_clock_that_jumps_in_the_middle_of_an_upload(make_file: Maker, tmp_path: Path, offset: timedelta) -> None:
    """URLs that were given out before are over, or not yet; new ones are had. What is remembered ends in time."""
    clock = Clock(tmp_path / "clock")
    with local_site(tmp_path, prefix=clock.prefix) as site:
        files = site.register([make_file("reads.bam", 3 * PART)])
        gate = site.store.hold(method="PUT", path=site.path_of(files.id), part=2, times=1)
        with site.start("upload", "--manifest", files.manifest, transport_parallel="1") as client:
            gate.wait_for_arrival()
            clock.put(offset)
            gate.open()
            client.conclude()
        site.publish(files)
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
        assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])


@pytest.mark.needs("minio", "nginx")
@pytest.mark.parametrize("patient", [True, False], ids=["waited for", "killed"])
def test_a_server_that_leaves_in_the_middle_of_a_completion(
    site: Site, make_file: Maker, tmp_path: Path, patient: bool
) -> None:
    """The call is finished, or made again with another server; one of two completions finds the other's object."""
    assert site.behind is not None
    other = site.server.another(tmp_path / "other")
    files = site.register([make_file("reads.bam", 2 * PART)])
    gate = site.behind.hold(method="PUT", path=rf"data/{files.id}\.meta$", times=1)
    with running_nginx(tmp_path / "nginx", CONFIGURATION, [address(site.server), address(other)]) as nginx:
        try:
            with site.start("upload", "--manifest", files.manifest, storage_url=nginx.url) as client:
                gate.wait_for_arrival()
                other.start()
                os.kill(site.server.pid, signal.SIGTERM)
                site.server.wait_until(lambda: not site.server.is_ready())
                if not patient:
                    site.server.kill()
                gate.open()
                client.conclude()
            if patient:
                assert site.server.stop() == 0
                assert [one.status for one in nginx.passed() if one.status >= 500] == []
            site.server.start()
            assert site.has_object(files.id)
            site.publish(files)
        finally:
            other.stop()
    assert sorted(call.part for call in site.sent(files.id)) == [1, 2]


@pytest.mark.needs("nginx")
def test_a_proxy_that_buffers_whole_bodies(make_file: Maker, tmp_path: Path) -> None:
    """With the local store the bytes pass through it; it is slower, and that is all."""
    meddling = CONFIGURATION.replace("proxy_request_buffering off", "proxy_request_buffering on")
    meddling = meddling.replace("proxy_buffering off", "proxy_buffering on")
    assert meddling.count("buffering on") == 2
    with (
        local_site(tmp_path) as site,
        running_nginx(tmp_path / "nginx", meddling, [address(site.server)]) as nginx,
    ):
        files = site.register([make_file("reads.bam", 2 * PART + 1)])
        site.run("upload", "--manifest", files.manifest, storage_url=nginx.url)
        site.publish(files)
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out", storage_url=nginx.url)
        assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])
        assert any(one.method == "PUT" for one in nginx.passed())


@pytest.mark.needs("nginx")
def test_a_proxy_that_takes_no_large_bodies(make_file: Maker, tmp_path: Path) -> None:
    """nginx's own limit is 1 MiB: what it says leads to the line that is missing."""
    meddling = CONFIGURATION.replace("client_max_body_size 0;", "")
    with (
        local_site(tmp_path) as site,
        running_nginx(tmp_path / "nginx", meddling, [address(site.server)]) as nginx,
    ):
        files = site.register([make_file("reads.bam", 2 * MIB)])
        result = site.run("upload", "--manifest", files.manifest, storage_url=nginx.url, status={REFUSED, LATER})
        assert "413" in result.stderr


@pytest.mark.needs("nginx")
def test_a_proxy_as_it_is_described_takes_long_tokens(make_file: Maker, tmp_path: Path) -> None:
    """A JWT that names the scopes of hundreds of studies."""
    with (
        local_site(tmp_path) as site,
        running_nginx(tmp_path / "nginx", CONFIGURATION, [address(site.server)]) as nginx,
    ):
        files = site.register([make_file("reads.bam", 100)])
        site.run("upload", "--manifest", files.manifest, storage_url=nginx.url, accessToken="x" * 40_000)
        assert site.has_object(files.id)


@pytest.mark.needs("minio", "nginx")
def test_a_proxy_that_takes_the_token_away(make_file: Maker, minio: Minio, tmp_path: Path) -> None:
    meddling = CONFIGURATION.replace("proxy_pass ", 'proxy_set_header Authorization "";\n        proxy_pass ')
    with (
        restricted_site(tmp_path, minio) as restricted,
        running_nginx(tmp_path / "nginx", meddling, [address(restricted.site.server)]) as nginx,
    ):
        site = restricted.site
        files = site.register([make_file("reads.bam", 100)])
        words = ("upload", "--manifest", files.manifest)
        settings = {"accessToken": restricted.key("score.WRITE")}
        result = site.run(*words, storage_url=nginx.url, status=UNAUTHENTICATED, **settings)
        assert "This needs a token" in result.stderr
        assert "a proxy on the way takes it away" in result.stderr
        site.run(*words, **settings)
