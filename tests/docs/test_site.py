"""The site that Sphinx makes of the pages: without a warning, complete, and sufficient unto itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADS = {"img", "script", "iframe", "source", "video", "audio", "embed", "object"}
THEME = {"https://github.com/pradyunsg/furo"}
"""Where the foot of each page leads, to the makers of the theme."""


class Addresses(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "srcset", "data", "poster", "action") and value:
                (self.leads if tag == "a" else self.loads).append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the command of ``make docs``: a warning is a failure."""
    place = tmp_path_factory.mktemp("site")
    (command,) = re.findall(
        r"^\t\$\(VENV\)/bin/(sphinx-build .*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    words = command.replace("build/", f"{place}/").split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place / "docs"


def test_every_page_is_in_the_site_and_found_from_its_index(site: Path) -> None:
    pages = {path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("docs/**/*.md")}
    menu = Addresses((site / "docs" / "index.html").read_text("utf-8")).leads
    led = {(site / "docs" / lead.partition("#")[0]).resolve() for lead in menu if not urlsplit(lead).scheme}
    led |= {
        (site / "docs" / "decisions" / lead.partition("#")[0]).resolve()
        for lead in Addresses((site / "docs" / "decisions" / "README.html").read_text("utf-8")).leads
        if not urlsplit(lead).scheme
    }
    for page in pages:
        assert (site / page).with_suffix(".html").resolve() in led, page
    assert (site / "README.html").resolve() in led


def test_no_page_loads_anything_from_another_host(site: Path, tool: Callable[[str], ModuleType]) -> None:
    hosts = tool("tree").HOSTS
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        found = Addresses(page.read_text("utf-8"))
        assert [one for one in found.loads if urlsplit(one).netloc] == [], page
        led = {one for one in found.leads if urlsplit(one).netloc} - THEME
        assert {urlsplit(one).hostname for one in led} <= hosts, page
    for sheet in site.rglob("*.css"):
        loaded = re.findall(r"(?:@import\s+|url\()[\"']?([^\"')]+)", sheet.read_text("utf-8"))
        assert [one for one in loaded if re.match(r"(?:https?:)?//", one)] == [], sheet


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    """To files that are there, and to places in them that are there."""
    names: dict[Path, set[str]] = {}

    def places(page: Path) -> set[str]:
        if page not in names:
            names[page] = set(re.findall(r"\bid=\"([^\"]+)\"", page.read_text("utf-8")))
        return names[page]

    for page in site.rglob("*.html"):
        for lead in Addresses(page.read_text("utf-8")).leads:
            parts = urlsplit(lead)
            if parts.scheme or parts.netloc:
                continue
            there = (page.parent / parts.path).resolve() if parts.path else page
            assert there.exists(), f"{page.name}: {lead}"
            if parts.fragment and there.suffix == ".html":
                assert parts.fragment in places(there), f"{page.name}: {lead}"
