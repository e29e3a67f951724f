"""The manifests for Kubernetes: put together as kustomize does it, and held against its schemas and our server."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from score.server.build import open_service
from score.server.reading import read_settings
from score.server.settings import Settings
from score.testing.components import find
from score.testing.server import RunningServer

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
pytestmark = pytest.mark.needs("kustomize", "kubernetes-validate")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example, a site's secrets filled in."""
    folder = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(KUBERNETES, folder, dirs_exist_ok=True)
    shutil.copy(folder / "example" / "secrets.env.example", folder / "example" / ".env.score")
    return folder / "example"


@pytest.fixture(scope="module")
def built(example: Path) -> str:
    program = str(find("kustomize"))
    return subprocess.run([program, "build", example], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def manifests(built: str) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(built)}


@pytest.fixture(scope="module")
def container(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def validated(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(find("kubernetes-validate")), "--strict", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_manifest_is_valid(built: str, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(built)
    for path in (tmp_path / "all.yaml", *sorted((KUBERNETES / "jobs").iterdir())):
        found = validated(path)
        assert found.returncode == 0, found.stdout + found.stderr


def test_a_misspelled_field_is_not_valid(built: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(built.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    assert validated(tmp_path / "wrong.yaml").returncode != 0


def test_everything_selects_the_servers(manifests: dict[str, dict[str, Any]]) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels
    for selector in (
        manifests["Service"]["spec"]["selector"],
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == labels
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == manifests["Deployment"]["metadata"]["name"]


def test_pods_are_restricted(manifests: dict[str, dict[str, Any]], container: dict[str, Any]) -> None:
    """By the standard of that name."""
    job = yaml.safe_load((KUBERNETES / "jobs" / "download.yaml").read_text())
    for document in (manifests["Deployment"], job):
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["automountServiceAccountToken"] is False
        for one in pod["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert one["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_settings_are_ours(example: Path, container: dict[str, Any], tmp_path: Path) -> None:
    """As they lie in the folder ``conf`` of a pod, beside its environment: read, and nothing is said against them."""
    conf = tmp_path / "conf"
    conf.mkdir()
    shutil.copy(example / "application.properties", conf)
    shutil.copy(example / ".env.score", conf)
    environment = {one["name"]: one["value"] for one in container["env"]}
    found = read_settings([], environment, tmp_path)
    assert list(found.warnings) == []
    assert found.settings.s3_secret_key.get_secret_value() == "the-secret-key"
    assert found.settings.secure
    assert found.settings.port == container["ports"][0]["containerPort"]
    assert found.settings.shutdown_delay > 0
    mounted = {one["name"]: one for one in container["volumeMounts"]}
    assert mounted["conf"]["mountPath"] == f"{container['workingDir']}/conf"


def test_there_is_time_to_leave(manifests: dict[str, dict[str, Any]], container: dict[str, Any]) -> None:
    grace = manifests["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    (delay,) = (int(one["value"]) for one in container["env"] if one["name"] == "SERVER_SHUTDOWN_DELAY")
    assert grace > delay + 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("store")
    chosen = Settings.model_validate({"local.directory": folder, "profiles": ("local",)})
    with RunningServer(lambda: open_service(chosen)) as server:
        yield server


def test_probes_are_answered(server: RunningServer, container: dict[str, Any]) -> None:
    with urllib3.PoolManager(retries=False) as http:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            answer = http.request("GET", server.url + container[probe]["httpGet"]["path"])
            assert answer.status == 200, probe


def test_the_autoscaler_goes_by_a_metric_that_is_there(manifests: dict[str, dict[str, Any]]) -> None:
    (metric,) = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    from score.server.metrics import Metrics

    text, _ = Metrics().text("")
    assert re.search(rf"^{metric['pods']['metric']['name']} ", text.decode(), re.MULTILINE)


def test_secrets_of_the_example_are_none() -> None:
    """So that nobody takes it for a file to be filled in and committed."""
    for line in (KUBERNETES / "example" / "secrets.env.example").read_text().splitlines():
        assert line.partition("=")[2].startswith("the-")
