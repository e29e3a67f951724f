"""docs/security.md: every claim names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

from score.server import bodies, edge, registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def defined() -> set[str]:
    """The names of all tests."""
    files = (ROOT / "tests").rglob("*.py")
    kit = (ROOT / "src" / "score" / "testing").glob("store_*.py")
    texts = [path.read_text("utf-8") for path in (*files, *kit)]
    return {name for text in texts for name in re.findall(r"^\s*(?:async )?def (test_\w+)", text, re.MULTILINE)}


def test_every_named_test_is_there() -> None:
    named = set(re.findall(r"\btest_\w+", PAGE))
    assert len(named) > 80
    assert named - defined() == set()


def test_every_claim_names_a_test() -> None:
    claims = re.findall(r"^\| .* \|$", PAGE.partition("## Who may do what")[2], re.MULTILINE)
    assert len(claims) > 50
    assert [line for line in claims if "`test_" not in line and line != "| claim | test |"] == []


def test_the_attacks_are_all_named() -> None:
    """What is tried in ``tests/attacks`` is worth a claim."""
    tried = {
        name
        for path in (ROOT / "tests" / "attacks").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    unnamed = {
        "test_the_urls_work_unchanged",
        "test_the_hidden_request_would_be_seen",
        "test_a_part_sent_twice_is_the_last_one",
        "test_a_stores_redirection_is_not_followed",
    }
    assert tried - unnamed <= set(re.findall(r"\btest_\w+", PAGE))


def test_the_limits_are_those_of_the_page() -> None:
    """Claim: sizes and times that the page names are those that are in force."""
    page = " ".join(PAGE.split())
    assert f"at most {edge.LARGEST_HEAD // 1024} KiB, {edge.MOST_HEADERS} headers" in page
    assert f"{edge.LONGEST_QUERY // 1024} KiB of query, and {edge.Protocol.head_within:g} s to arrive" in page
    assert f"nobody asked for {edge.LARGEST_BODY // 1024**2} MiB" in page
    assert f"an analysis {registry.LARGEST_PAYLOAD // 1024**2} MiB" in page
    assert f"a silent sender after {bodies.SILENCE:g} s" in page
    assert f"takes nothing of what it is sent after {edge.Protocol.taken_within:g} s" in page
