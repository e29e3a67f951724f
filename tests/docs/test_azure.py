"""The page about Azure: what it prints is run, against the emulator."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3

from score.server.reading import read_settings
from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.site import Server, md5_of
from score.testing.song import FakeSong

if TYPE_CHECKING:
    from score.testing.azurite import Azurite

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stores" / "azure.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def block(containing: str, language: str = "sh") -> str:
    """The block of the page that has these words."""
    (found,) = [
        code for kind, code in BLOCK.findall(PAGE.read_text("utf-8")) if kind == language and containing in code
    ]
    return str(found)


def test_the_printed_configuration_is_understood(tmp_path: Path) -> None:
    (tmp_path / ".env.score").write_text(block("SPRING_PROFILES_ACTIVE"), "utf-8")
    reading = read_settings((), {}, tmp_path)
    assert reading.settings.store == "azure"
    assert reading.settings.download_part_size == 250_000_000
    assert reading.warnings == ()


def prepare(way: str, azurite: Azurite, environment: dict[str, str], tmp_path: Path) -> None:
    """Make the container, in one of the ways that the page shows."""
    if way == "az":
        script = block("AZURE_STORAGE_CONNECTION_STRING") + block("az storage container create")
        for printed, real in {
            "http://127.0.0.1:10000/myaccount": azurite.endpoint,
            "myaccount": azurite.account,
            "bXkga2V5": azurite.key,
            r"\bobjects\b": environment["BUCKET_NAME_OBJECT"],
        }.items():
            script, count = re.subn(printed, real, script)
            assert count
        own = {"AZURE_CONFIG_DIR": str(tmp_path / "az"), "AZURE_CORE_COLLECT_TELEMETRY": "no"}
        follow(script, tmp_path, environment | own)
    else:
        command = [sys.executable, "-W", "error", "-c", block("ContainerClient", "python")]
        subprocess.run(command, env=environment, check=True, timeout=240)


@pytest.mark.needs("azurite")
@pytest.mark.parametrize("way", ["python", pytest.param("az", marks=pytest.mark.needs("az"))])
def test_from_nothing_to_a_verified_upload(azurite: Azurite, way: str, tmp_path: Path) -> None:
    reads = tmp_path / "reads"
    reads.mkdir()
    (reads / "sample.bam").write_bytes(bytes(range(256)) * 5000)
    container = f"objects-made-by-{way}"
    given = {
        "AZURE_ACCOUNTNAME": azurite.account,
        "AZURE_ACCOUNTKEY": azurite.key,
        "AZURE_ENDPOINT": azurite.endpoint,
        "BUCKET_NAME_OBJECT": container,
    }
    environment = clean_environment(tmp_path) | given
    with FakeSong() as song:
        configuration = block("SPRING_PROFILES_ACTIVE")
        for printed, real in {
            '"https"': '"http"',
            '"myaccount"': f'"{azurite.account}"',
            '"bXkga2V5"': f'"{azurite.key}"',
            '"objects"': f'"{container}"',
            "http://localhost:8080": song.url,
        }.items():
            assert printed in configuration
            configuration = configuration.replace(printed, real)
        endpoint = block("AZURE_ENDPOINT=").replace("http://127.0.0.1:10000/myaccount", azurite.endpoint)
        (tmp_path / ".env.score").write_text(configuration + endpoint, "utf-8")
        server = Server(tmp_path, {})
        try:
            server.start()
            health = urllib3.request("GET", f"{server.url}/health", retries=False)
            assert health.status == 503  # before there is a container
            assert "Create the container" in health.data.decode()
            prepare(way, azurite, environment, tmp_path)

            song.score_url = server.url
            file = song.register(
                "sample.bam",
                analysis="5c0e0000-0000-4000-8000-000000000001",
                size=1_280_000,
                md5=md5_of(reads / "sample.bam"),
            )
            manifest = f"{file.analysis}\t\t\n{file.object_id}\t{reads / 'sample.bam'}\t{file.md5}\n"
            (tmp_path / "manifest.txt").write_text(manifest, "utf-8")
            publish = f"curl --fail --silent -X PUT {song.url}/studies/TEST-CA/analysis/publish/{file.analysis}"
            upload, download = block("score-client upload"), block("score-client download")
            script = "\n".join([block("curl --fail"), upload, publish, download])
            for printed, real in (("http://localhost:8087", server.url), ("http://localhost:8080", song.url)):
                assert printed in script
                script = script.replace(printed, real)
            said = follow(script, tmp_path, environment | {"OBJECT": file.object_id})
            assert '"UP"' in said
            assert "equal, byte for byte" in said
        finally:
            server.stop()
