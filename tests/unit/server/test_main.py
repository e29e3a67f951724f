"""The command ``score-server`` as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from score import __version__
from score.server.settings import FIELDS
from score.testing.azurite import Azurite
from score.testing.minio import Minio
from score.testing.processes import clean_environment, program

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server in a folder of its own, and ends it."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [program("score-server"), *arguments],
            cwd=tmp_path,
            env=clean_environment(tmp_path, settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def three_lines(process: subprocess.Popen[str]) -> dict[str, str]:
    """What a server says at its start."""
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(3)]
    assert all(lines), process.stderr and process.stderr.read()
    return {name: rest.strip() for name, rest in (line.split(":", 1) for line in lines)}


def test_a_start_without_settings_says_three_things(start: Start, tmp_path: Path) -> None:
    process = start("--server.port=0")
    said = three_lines(process)
    assert said["Data"] == str(tmp_path / "score-data")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", said["URL"])
    assert "not restricted" in said["Access"]
    with urllib3.PoolManager() as http:
        assert http.request("GET", f"{said['URL']}/profile").data == b"s3"
        sentinel = http.request("GET", f"{said['URL']}/download/ping").data.decode()
        assert http.request("GET", sentinel).status == 200
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(start: Start, number: signal.Signals) -> None:
    process = start("--server.port=0")
    url = three_lines(process)["URL"]
    with urllib3.PoolManager() as http:
        http.request("GET", f"{url}/profile")  # the connection stays open
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert re.findall("INFO score.server.serving: (.*)", err) == [
        f"{number.name}: stopping; open connections: 1, calls under way: 0",
        "Stopped.",
    ]


def test_restricted_access_is_said(start: Start) -> None:
    key = {"spring.security.oauth2.resourceserver.jwt.publickeylocation": "http://127.0.0.1:1/key"}
    process = start("--server.port=0", **key, **{"spring.profiles.active": "local,secure"})
    said = three_lines(process)
    assert said["Access"].startswith("restricted")
    with urllib3.PoolManager(retries=False) as http:
        port = said["URL"].rpartition(":")[2]
        health = http.request("GET", f"http://127.0.0.1:{port}/health")
        assert health.status == 200, "it starts without the key, and says so"
        assert "public key" in health.json()["components"]["authorization"]["problem"]
        oid = "5c0e0000-0000-4000-8000-000000000001"
        assert http.request("GET", f"http://127.0.0.1:{port}/upload/{oid}").status == 401
        answer = http.request(
            "GET",
            f"http://127.0.0.1:{port}/upload/{oid}",
            headers={"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.AA"},
        )
        assert answer.status == 503


def test_a_port_in_use(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(f"--server.port={port}")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert f"Port {port} on 127.0.0.1 is in use" in err
    assert "--server.port=" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--s3.endpoint=http://x"], "bucket.name.object, bucket.name.state, metadata.url"),
        (["--server.port=x"], "option --server.port"),
        (["--server.port", "x"], "option --server.port"),
        (["--server.address=0.0.0.0"], "--insecure"),
        (["--server.address=nonesuch.invalid", "--insecure"], "server.address"),
        (["--server.address=192.0.2.1", "--insecure"], "Check server.address: it has to be one of this machine."),
        (["run"], "'run' is no setting"),
        (["chek"], "and no command. Settings are given as --name=value; did you mean score-server check?"),
        (["check"], "as a command it comes first. score-server check --name=value ..."),
        (["--spring.profiles.active=azure"], "azure.accountName, azure.accountKey, bucket.name.object, metadata.url"),
        (["--local.directory=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_a_start_that_fails_says_why(start: Start, arguments: list[str], said: str) -> None:
    process = start("--server.port=0", *arguments)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert said in err
    assert "Traceback" not in err


def test_warnings_are_logged(start: Start) -> None:
    process = start("--server.port=0", **{"s3.endpiont": "x", "spring.profiles.active": "local"})
    three_lines(process)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert "S3_ENDPIONT" in err
    assert "Did you mean s3.endpoint?" in err


@pytest.mark.needs("minio")
def test_checks_at_the_start_name_what_is_missing(start: Start, minio: Minio) -> None:
    settings = {
        "s3.endpoint": minio.endpoint,
        "s3.accessKey": minio.access_key,
        "s3.secretKey": minio.secret_key,
        "bucket.name.object": "missing-object",
        "bucket.name.state": "missing-state",
        "upload.retry.limit": "0",
        "metadata.url": "http://127.0.0.1:1",
    }
    process = start("--server.port=0", **settings)
    said = three_lines(process)
    assert said["Data"] == f"buckets missing-object and missing-state at {minio.endpoint}"
    with urllib3.PoolManager(retries=False) as http:
        port = said["URL"].rpartition(":")[2]
        assert http.request("GET", f"http://127.0.0.1:{port}/health").status == 503
    assert process.stderr
    checks = [line for line in iter(process.stderr.readline, "") if "Check of" in line or process.terminate()]
    text = "".join(checks)
    assert "objectBucket" in text
    assert "missing-object" in text
    assert "Create the bucket" in text
    assert "Song" in text


@pytest.mark.needs("azurite")
def test_a_start_on_azure_names_the_container(start: Start, azurite: Azurite) -> None:
    settings = {
        "spring.profiles.active": "azure",
        "azure.accountName": azurite.account,
        "azure.accountKey": azurite.key,
        "azure.endpoint": f"{azurite.endpoint}/",
        "bucket.name.object": "container-of-this-test",
        "metadata.url": "http://127.0.0.1:1",
    }
    said = three_lines(start("--server.port=0", **settings))
    assert said["Data"] == f"container container-of-this-test at {azurite.endpoint}"


@pytest.mark.parametrize(("option", "said"), [("--help", "--insecure"), ("-h", "Usage"), ("--version", __version__)])
def test_information(start: Start, option: str, said: str) -> None:
    out, err = start(option).communicate(timeout=30)
    assert said in out
    assert err == ""


def test_every_setting_is_listed_with_its_default(start: Start) -> None:
    out, _ = start("--settings").communicate(timeout=30)
    for name in FIELDS:
        assert f"\n{name}=" in f"\n{out}"
    assert "\nupload.partsize=20000000\n" in out
    assert "\ns3.sigV4Enabled=true\n" in out
    assert "\ns3.upload.expiration=6\n" in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", [["--help"], ["config"], ["config", "--json"]])
def test_a_full_disk_under_the_output_is_told(words: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [program("score-server"), *words], cwd=tmp_path, env=clean_environment(tmp_path), stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    said = "score-server: Standard output cannot be written: No space left on device.\n"
    assert (ended.returncode, ended.stderr) == (1, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_under_its_output_does_not_keep_a_server_from_serving(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        server = subprocess.Popen(
            [program("score-server"), "--server.port=0"], cwd=tmp_path, env=clean_environment(tmp_path), stdout=full,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    with server:
        assert server.stderr
        lines = iter(server.stderr.readline, "")
        assert "cannot be written: No space left on device" in next(lines)
        assert any("0 problems" in line for line in lines)
        server.terminate()
        assert server.wait(30) == 0


@pytest.mark.parametrize("word", ["--help", "--settings", "config"])
def test_a_reader_that_goes_away_is_no_defect(word: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [program("score-server"), word]
    with os.fdopen(writing, "wb") as nobody:
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            env=clean_environment(tmp_path),
            stdout=nobody,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, b"")
