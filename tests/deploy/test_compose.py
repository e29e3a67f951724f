"""The compose file: valid, its settings are ours, and its store starts with the buckets that they name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
import yaml

from score.server.build import open_service
from score.server.reading import read_settings
from score.testing.components import find
from score.testing.processes import Program, clean_environment, free_port
from score.testing.server import RunningServer

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder with the settings that a newcomer copies."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    shutil.copy(DEPLOY / "env.score.example", tmp_path / "deploy" / ".env.score")
    return tmp_path / "deploy"


@pytest.fixture
def services(folder: Path) -> dict[str, Any]:
    """As Docker reads them, all profiles on."""
    environment = {**clean_environment(folder), "COMPOSE_PROFILES": "*"}
    command = [str(find("compose-spec")), "compose.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert isinstance(read, dict)
    return read


@pytest.fixture
def variables(folder: Path, services: dict[str, Any]) -> dict[str, str]:
    """Those of the file, which server and store share."""
    assert [services[name]["env_file"][0]["path"] for name in ("score", "minio")] == [str(folder / ".env.score")] * 2
    lines = (folder / ".env.score").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.needs("compose-spec")
def test_it_is_valid_with_all_profiles(services: dict[str, Any]) -> None:
    by_profile = {name: service.get("profiles", []) for name, service in services.items()}
    assert {name for name, profiles in by_profile.items() if not profiles} == {"score", "minio"}
    assert {profile for profiles in by_profile.values() for profile in profiles} == {
        "client", "song", "keycloak", "monitoring",
    }  # fmt: skip


@pytest.mark.needs("compose-spec")
def test_nothing_is_open_to_other_machines(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


@pytest.mark.needs("compose-spec")
def test_the_server_has_no_more_rights_than_it_needs(services: dict[str, Any]) -> None:
    score = services["score"]
    assert score["read_only"]
    assert score["cap_drop"] == ["ALL"]
    assert score["build"]["target"] == "server"
    assert services["client"]["build"]["target"] == "client"


@pytest.mark.needs("compose-spec")
def test_the_settings_are_ours(services: dict[str, Any], variables: dict[str, str], tmp_path: Path) -> None:
    """No name is unknown, no value is refused, none is missing."""
    given = {**variables, **services["score"]["environment"]}
    reading = read_settings([], given, tmp_path)
    assert not reading.warnings
    assert reading.settings.s3_endpoint == "http://minio:9000"


@pytest.fixture
def minio(services: dict[str, Any], variables: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of MinIO, started as the file starts it, with another folder and another port."""
    service = services["minio"]
    port, console = free_port(), free_port()
    (script,) = service["command"]
    script = script.replace("$$", "$").replace("/data", str(tmp_path / "data"))
    script = script.replace(":9000", f"127.0.0.1:{port}").replace(":9001", f"127.0.0.1:{console}")
    script = script.replace("exec minio", f"exec {find('minio')}")
    environment = {**clean_environment(tmp_path), **variables}
    with Program([*service["entrypoint"], script], tmp_path / "minio", environment) as program:
        program.wait_until(lambda: "API:" in program.stdout + program.stderr)
        yield f"http://127.0.0.1:{port}"
        program.terminate()


@pytest.mark.needs("compose-spec", "minio")
def test_the_store_starts_with_the_buckets(minio: str, variables: dict[str, str], tmp_path: Path) -> None:
    """Both are there, the server takes them with the keys of the same file, and signs for the clients' address."""
    keys = {"aws_access_key_id": variables["S3_ACCESSKEY"], "aws_secret_access_key": variables["S3_SECRETKEY"]}
    client = boto3.client("s3", endpoint_url=minio, region_name="us-east-1", **keys)
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"objects", "state"}
    reading = read_settings([f"--s3.endpoint={minio}"], variables, tmp_path)
    with RunningServer(lambda: open_service(reading.settings), reading.settings) as server:
        assert urllib3.request("GET", f"{server.url}/ready").status == 200
        assert urllib3.request("GET", f"{server.url}/download/ping").data.startswith(
            b"http://localhost:9000/objects/"
        )


def test_a_shell_reads_the_settings_too(folder: Path) -> None:
    """No blank, quote or dollar that Docker, a shell and this server would read differently."""
    command = ["sh", "-c", "set -a; . ./.env.score; env"]
    read = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env={}).stdout.splitlines()
    lines = (folder / ".env.score").read_text().splitlines()
    assert {line for line in lines if line and not line.startswith("#")} <= set(read)
