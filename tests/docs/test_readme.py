"""What the documents say is so: commands, options, targets, configuration, links, and the tour, which is run."""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click
import pytest
import urllib3

from score.cli import exits
from score.cli.main import cli, split
from score.server.main import USAGE
from score.server.reading import read_settings
from score.server.settings import FIELDS
from score.storage.s3.settings import S3Settings
from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.s3_contract import boto
from score.testing.site import Server
from score.testing.song import FakeSong

if TYPE_CHECKING:
    from score.testing.minio import Minio

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"\bmake ([a-z]+)\b")
Tool = Callable[[str], ModuleType]


def section(page: Path, title: str) -> str:
    """The text below a heading of the second level."""
    _, _, rest = page.read_text("utf-8").partition(f"\n## {title}\n")
    assert rest, f"{page.name} has no section {title}"
    return rest.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def client_lines(page: Path) -> Iterator[list[str]]:
    """The words after ``score-client`` of every command line in a page."""
    for code in blocks(page.read_text("utf-8"), "sh"):
        for line in code.splitlines():
            for found in re.findall(r"score-client ([^)#\n]*)", line):
                yield shlex.split(found)


def test_command_lines_are_understood() -> None:
    """Every command and option of every page exists; values are not looked at."""
    lines = [(page, words) for page in PAGES for words in client_lines(page)]
    assert len(lines) > 5
    context = click.Context(cli, **cli.context_settings)
    for page, given in lines:
        words, _ = split(given)
        command = cli.get_command(context, words[0])
        assert command is not None, f"{page.name}: score-client {words[0]}"
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= known, f"{page.name}: score-client {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    code = "\n".join([*re.findall(r"`([^`\n]+)`", page.read_text("utf-8")), *blocks(page.read_text("utf-8"), "sh")])
    for target in TARGET.findall(code):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path, tool: Tool) -> None:
    assert list(tool("tree").check_links(page, page.read_text("utf-8"))) == []


def test_exit_statuses() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section(README, "Exit statuses of score-client"), re.MULTILINE)
    assert {int(status): meaning for status, meaning in rows} == exits.MEANINGS


def test_reference_pages_are_as_the_code_is(tool: Tool) -> None:
    assert tool("reference").main(["--check"]) == 0, "run: .venv/bin/python tools/reference.py"


def test_every_setting_is_documented(tool: Tool) -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    missing = [name for name in [*FIELDS, *tool("reference").NAMES] if f"| `{name}` |" not in page]
    assert missing == []


def test_the_help_of_the_server_names_settings_that_exist() -> None:
    named = set(re.findall(r"--([a-z][\w.]*)=?", USAGE)) - {"help", "version", "settings"}
    assert named <= set(FIELDS)


def test_what_is_said_not_to_be_built_refuses_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from score.server.main import main

    assert "`server.ssl.bundle`" in (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert main(["--server.ssl.bundle=x", f"--local.directory={tmp_path}"]) == 1
    assert "does not support" in capsys.readouterr().err


def configurations() -> dict[str, str]:
    """The two forms of the configuration for an object store, by the file that they belong in."""
    text = section(README, "On an object store")
    (properties,) = blocks(text, "properties")
    (dotenv,) = [code for code in blocks(text, "sh") if "S3_ENDPOINT" in code]
    return {"conf/application.properties": properties, ".env.score": dotenv}


def write(folder: Path, file: str, text: str) -> None:
    """A configuration file."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text, "utf-8")


def test_both_configurations_mean_the_same(tmp_path: Path) -> None:
    readings = []
    for number, (file, text) in enumerate(configurations().items()):
        write(tmp_path / str(number), file, text)
        readings.append(read_settings((), {}, tmp_path / str(number)))
    assert readings[0].settings == readings[1].settings
    assert readings[0].settings.store == "s3"
    assert not [w for w in readings[0].warnings if "is no setting" in w or "taken as" in w]


@pytest.mark.needs("minio")
@pytest.mark.parametrize("file", ["conf/application.properties", ".env.score"])
def test_the_configuration_starts_a_server_on_minio(file: str, minio: Minio, tmp_path: Path) -> None:
    suffix = uuid.uuid4().hex[:8]
    with FakeSong() as song:
        real = {
            "http://localhost:9000": minio.endpoint,
            "http://localhost:8080": song.url,
            "abc12345": minio.secret_key,
            '"abc123"': f'"{minio.access_key}"',
            '"objects"': f'"objects-{suffix}"',
            '"state"': f'"state-{suffix}"',
        }
        text = configurations()[file]
        for printed, ours in real.items():
            assert printed in text
            text = text.replace(printed, ours)
        write(tmp_path, file, text)
        with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
            for name in ("objects", "state"):
                s3.create_bucket(Bucket=f"{name}-{suffix}")
            s3.put_object(Bucket=f"objects-{suffix}", Key="data/heliograph", Body=b"here")
        server = Server(tmp_path, {})
        try:
            server.start()
            with urllib3.PoolManager() as pool:
                health = pool.request("GET", f"{server.url}/health", retries=False)
                assert (health.status, health.json()["status"]) == (200, "UP"), health.data
                url = pool.request("GET", f"{server.url}/download/ping", retries=False).data.decode()
                assert pool.request("GET", url, retries=False).data == b"here"
        finally:
            server.stop()


def test_the_tour(tmp_path: Path) -> None:
    """The commands of the tour, one after another, in a shell, with smaller files; then its program."""
    tour = section(README, "Five-minute tour")
    commands = [code for code in blocks(tour, "sh") if "pip install" not in code and code.strip() != "score-server"]
    (code,) = blocks(tour, "python")
    server = Server(tmp_path, {})
    address = "http://localhost:8087"
    script = "\n".join([*commands, 'python tour.py "$ANALYSIS"', "diff -r reads again"])
    for printed, smaller in (("50000000", "2000000"), ("3000000000", "20000000")):
        assert printed in script
        script = script.replace(printed, smaller)
    assert address in script
    assert address in code
    (tmp_path / "tour.py").write_text(code.replace(address, server.url), "utf-8")
    try:
        server.start()
        said = follow(script.replace(address, server.url), tmp_path, clean_environment(tmp_path))
    finally:
        server.stop()
    assert "equal, byte for byte" in said
    assert said.count("again/sample_R") == 2
    assert (tmp_path / "score-data").is_dir()


WITHOUT_ADVICE = {
    # a call that may be made again; when patience ends, score.transfer.retry says what to do
    "Unavailable": None,
    # the URL is renewed; where that does not help, score.transfer.engine says what to do
    "Expired": None,
    # told by the operating system through the mount, which has room for a number only
    "There is no <path>.": "NotFound",
    "There is no analysis <analysis>.": "NotFound",
    "There is no object <object id>.": "NotFound",
    # whoever reads is who closed it
    "<name> was closed.": "Cancelled",
    "<name>: reading has ended.": "Cancelled",
    # the finding of score-client check has a remedy of its own
    "<folder>: <free> bytes are free.": "NoSpace",
    # becomes a part of another message, which says what to do
    "another upload is in progress": "NotFound",
    # given with the message, by score.config.keystores and score.reading
    "<setting>: <text>: <what>.": "Misconfigured",
    "<name>: <message>": "Integrity",
    "<reason>; new URLs did not help.": "Refused",
}
"""Kinds (without a value), and messages with their kind, that have no advice of their own, and why."""


def test_every_message_of_the_client_says_what_to_do(tool: Tool) -> None:
    bare = {
        (kind, text) for kind, whose, text, hint in tool("reference").messages() if whose != "server" and not hint
    }
    known = {(kind, text) for text, kind in WITHOUT_ADVICE.items() if kind is not None}
    assert {(kind, text) for kind, text in bare if kind not in WITHOUT_ADVICE} - known == set()
    assert known <= bare, "what has an advice is no exception"
