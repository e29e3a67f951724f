"""What is looked at in the tree beside code: links, and the changelog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n## [0.1.0] - unreleased\n"


@pytest.fixture(scope="module")
def tree(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("tree")


@pytest.mark.parametrize(
    "link",
    [
        "[x](http://github.com/a)",
        "[x](https://nobody-looked-at.example/a)",
        "[x](https://github.com:8443/a)",
        "[x](https://[github.com/a)",
        "[x](https:///a)",
        "<https://nobody-looked-at.example/a>",
        "[x](ftp://github.com/a)",
        "[x](nowhere.md)",
        "[x](design.md#no-such-heading)",
    ],
)
def test_bad_links_are_found(tree: ModuleType, link: str) -> None:
    assert len(list(tree.check_links(ROOT / "docs" / "sdk.md", link))) == 1


def test_good_links_are_passed(tree: ModuleType) -> None:
    text = "[x](https://github.com/a) <https://semver.org> [y](design.md#the-shape)\n\n```\n[x](nowhere)\n```\n"
    assert list(tree.check_links(ROOT / "docs" / "sdk.md", text)) == []


def test_every_release_has_its_section_in_the_changelog(tree: ModuleType) -> None:
    assert list(tree.check_changelog(CHANGELOG, ["v0.2.0"])) == []
    assert len(list(tree.check_changelog(CHANGELOG, ["v0.1.0", "v0.2.0"]))) == 1
    assert len(list(tree.check_changelog(CHANGELOG, ["v0.3.0"]))) == 1
    assert len(list(tree.check_changelog(CHANGELOG.replace("[Unreleased]", "Next"), []))) == 1
