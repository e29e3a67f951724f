"""The page on authorization: its commands, its settings, and its authorizer, as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import urllib3

from score.server.reading import read_settings
from score.testing.authorization import CALLS, CREDENTIALS, table
from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.site import Server

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "authorization.md").read_text("utf-8")


def blocks(heading: str, language: str) -> list[str]:
    """The code of one language below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [part.partition("\n```")[0] for part in section.split(f"\n```{language}\n")[1:]]


def status(url: str, token: str | None, call: str = "/listing") -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with urllib3.PoolManager(retries=False) as http:
        return int(http.request("GET", url + call, headers=headers).status)


def test_the_table_is_current() -> None:
    """Claim: the printed table is the one that the tests ask of running servers, cell by cell."""
    page = (DOCS / "authorization-table.md").read_text("utf-8")
    assert "\n".join(table()) in page
    for credential in CREDENTIALS:
        assert f"| {credential.name} |" in page
    for call in CALLS:
        assert f"`{call.shown}`" in page


@pytest.mark.parametrize("heading", ["Ego", "Keycloak"])
def test_the_settings_are_right(heading: str, tmp_path: Path) -> None:
    (text,) = blocks(heading, "properties")
    text = re.sub("<secret of the [a-z]+>", "b1fc37a0", text)
    store = "s3.endpoint=http://s\nbucket.name.object=o\nbucket.name.state=s\nmetadata.url=http://song\n"
    (tmp_path / "application.properties").write_text(store + text)
    reading = read_settings([], {}, tmp_path)
    assert reading.settings.provider == heading.lower()
    assert reading.warnings == ()


def test_the_commands_for_embedded_keys(tmp_path: Path) -> None:
    make, _start, revoke = blocks("Keys of the server's own", "sh")

    def shell(script: str) -> str:
        return follow(f"set -o pipefail\n{script}", tmp_path, clean_environment(tmp_path), shell="bash")

    said = shell(f"{make}\necho $ACCESSTOKEN")
    submitters, *_, operator = said.split()
    assert "the operator" in said
    settings = {"spring.profiles.active": "local,secure", "auth.cache.seconds": "0"}
    server = Server(tmp_path, {"local.directory": str(tmp_path / "score-data"), **settings})
    server.start()
    try:
        assert "secure, embedded" in server.output
        assert [status(server.url, token) for token in (None, operator, submitters)] == [401, 200, 200]
        shell(f"export SPRING_PROFILES_ACTIVE=local,secure\n{revoke}")
        assert [status(server.url, token) for token in (operator, submitters)] == [200, 401]
    finally:
        server.stop()


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the page, as an installed distribution in a folder of its own; its list of members."""
    place = tmp_path / "site-packages"
    project = tomllib.loads(blocks("An authorizer of your own", "toml")[0])["project"]
    about = place / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (place / "acme_score.py").write_text(blocks("An authorizer of your own", "python")[0])
    monkeypatch.setenv("PYTHONPATH", str(place), prepend=os.pathsep)
    monkeypatch.setenv("ACME_MEMBERS", str(tmp_path / "members.json"))
    return tmp_path / "members.json"


def test_an_authorizer_of_ones_own(acme: Path, tmp_path: Path) -> None:
    """Claim: a site's own authorizer, named by an entry point, decides alone whose tokens are taken."""
    acme.write_text(
        json.dumps({"carol-1": {"name": "Carol", "scopes": ["score.WRITE"]}, "dan-1": {"name": "Dan", "scopes": []}})
    )
    settings = {"spring.profiles.active": "local,secure", "auth.server.provider": "acme", "auth.cache.seconds": "0"}
    server = Server(tmp_path / "server", settings)
    server.start()
    try:
        assert "secure, acme" in server.output
        tokens = (None, "erin-1", "carol-1", "dan-1", "11111111-2222-4333-8444-555555555555")
        assert [status(server.url, token) for token in tokens] == [401, 401, 200, 200, 401]
        call = "/upload/5c0e0000-0000-4000-8000-000000000001"
        assert [status(server.url, token, call) for token in ("carol-1", "dan-1")] == [200, 404]
        acme.unlink()
        assert status(server.url, "carol-1") == 503
        with urllib3.PoolManager() as http:
            health = http.request("GET", f"{server.url}/health").json()["components"]["authorization"]
        assert health == {"status": "DOWN", "problem": "There is no list of members."}
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["acne", "ACME"])
def test_an_authorizer_that_is_not_there_stops_the_start(name: str, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("score-server")),
        "--server.port=0",
        f"--auth.server.provider={name}",
    ]
    done = subprocess.run(
        [*command, "--spring.profiles.active=local,secure"],
        cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, timeout=60, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert name in done.stderr
    assert "There are: ego, keycloak, embedded" in done.stderr
    assert "Traceback" not in done.stderr
