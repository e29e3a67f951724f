"""What holds for all pages: whatever they print is run by a test, and every name that they use exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from score.cli.main import cli, split
from score.client.settings import NAMES
from score.config.sources import canonical
from score.server.commands import COMMANDS
from score.server.reading import MISSPELLED, PREFIXES, read_settings
from score.server.settings import FIELDS
from score.testing.pages import blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "integrations/**/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
)
RUN = {"sh", "bash", "python", "properties", "toml", "groovy", "yaml"}
"""Languages of blocks that somebody may copy and run."""
ABOUT_CODE = {"design.md", "sdk.md", "CONTRIBUTING.md"}
"""Pages where ``client.many`` is a module."""
SETTING = re.compile(r"[a-z]\w*(\.[A-Za-z][\w-]*)+")
FILE = re.compile(r"\.(md|py|txt|json|sqlite3|ya?ml|properties|p12|pem|crt|bam|log)\Z")
SPAN = re.compile(r"`([^`\n]+)`")


def spans(page: Path) -> list[str]:
    """What a page has in backticks within its prose."""
    return SPAN.findall(re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_every_page_with_something_to_run_is_followed_by_a_test() -> None:
    """Claim: where a page has blocks to copy, a test names that page."""
    tests = "\n".join(path.read_text("utf-8") for path in ROOT.glob("tests/**/test_*.py") if path != Path(__file__))
    for page in PAGES:
        if any(block.kind in RUN for block in blocks_of(page)) and page.name != "README.md":
            names = (
                f'"{page.name}"',
                f"{page.parent.name}/{page.name}",
                f"def {page.stem}(",
                f'blocks(PAGES / "{page.name}"',
            )
            assert any(name in tests for name in names), f"{named(page)}: no test follows it"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_within_sentences_exist(page: Path) -> None:
    """Commands and options of both programs, as they stand in the prose."""
    context = click.Context(cli, **cli.context_settings)
    for span in spans(page):
        if not span.startswith(("score-client ", "score-server ")) or "..." in span:
            continue
        program, *given = shlex.split(span.replace("|", " "))
        if program == "score-client":
            words, _ = split(given)
            command = cli.get_command(context, words[0]) if words and words[0] in cli.list_commands(context) else cli
            options = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
        else:
            words = given
            assert not words or words[0].startswith("-") or words[0] in COMMANDS, f"{named(page)}: {span}"
            options = set(re.findall(r"--[\w-]+", " ".join(" ".join(one) for one in COMMANDS.values())))
            options |= {"--version", "--help", "--settings", "--insecure"}
        used = {word.partition("=")[0] for word in words if word.startswith("--") and "." not in word}
        assert used <= options, f"{named(page)}: {span}"


@pytest.mark.parametrize("page", [one for one in PAGES if one.name not in ABOUT_CODE], ids=named)
def test_settings_within_sentences_exist(page: Path) -> None:
    known = {canonical(name) for name in (*FIELDS, *NAMES, *MISSPELLED, "server.ssl.bundle")}
    groups = {*PREFIXES, "client", "storage", "transport", "portal"} - {"upload", "download"}
    for span in spans(page):
        name = span.partition("=")[0].removeprefix("--")
        if SETTING.fullmatch(name) and name.partition(".")[0] in groups and not FILE.search(name):
            assert canonical(name) in known, f"{named(page)}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_of_tables_have_as_many_cells_as_their_heads(page: Path) -> None:
    """A ``|`` within a cell ends it, in backticks too; what follows is then not shown."""
    head = 0
    for line in re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL).splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        head = head or bars if bars else 0
        assert bars == head, f"{named(page)}: {line}"


def test_nothing_is_installed_by_a_name_that_no_registry_has() -> None:
    """Our packages are installed from the sources; pages of errors have the hints of the programs."""
    for page in PAGES:
        for command in re.findall(r"pip install [^`\n]+", page.read_text("utf-8")):
            assert not re.search(r"[ '](score-transfer|snakemake-storage)", command), f"{named(page)}: {command}"


def test_the_settings_for_tls_are_right(tmp_path: Path) -> None:
    (block,) = [one for one in blocks_of(ROOT / "docs" / "security.md") if one.kind == "properties"]
    (tmp_path / "application.properties").write_text(block.text)
    reading = read_settings([], {}, tmp_path)
    assert reading.settings.tls
    assert reading.settings.trust_store == "authority.pem"
    assert reading.warnings == ()
