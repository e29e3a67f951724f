"""The tutorial, followed from its beginning to its end: every command, and what the page says that it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from score.testing.pages import blocks_of, follow, unsaid
from score.testing.processes import clean_environment
from score.testing.site import Server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
ADDRESS = "http://localhost:8087"


def test_the_tutorial(tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(PAGE) if not block.section.startswith("1.")]
    server = Server(tmp_path, {})
    script, shown, started = ["exec 2>&1"], [], False
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.text == "score-server\n":
            assert after is not None
            started, at_start = True, after.text
        elif block.kind == "python":
            (tmp_path / "reads.py").write_text(block.text, "utf-8")
        elif block.kind == "sh":
            assert started
            commands = block.text.replace(". venv/bin/activate\n", "")
            script += [f"echo '--- {len(shown)}'", commands]
            shown.append(after.text if after is not None and after.kind == "text" else "")
    assert all(shown), "every command says something"

    def here(text: str) -> str:
        """With this server's address; how fast the machine seems at the moment is not the page's business."""
        return text.replace(ADDRESS, server.url).replace("ok     parallel:", "... parallel:")

    try:
        server.start()
        printed = follow(here("\n".join(script)), tmp_path, clean_environment(tmp_path))
        told = server.output
    finally:
        server.stop()
    assert unsaid(at_start.replace("http://127.0.0.1:8087", server.url), told) == []
    for number, text in enumerate(shown):
        said = printed.partition(f"--- {number}\n")[2].partition(f"--- {number + 1}\n")[0]
        assert unsaid(here(text), said) == [], said


def test_the_version_is_shown_as_the_page_says(tmp_path: Path) -> None:
    install, shown = [block for block in blocks_of(PAGE) if block.section.startswith("1.")]
    assert install.text.splitlines()[-1] == "score-client version"
    done = subprocess.run(
        [Path(sys.executable).with_name("score-client"), "version"],
        cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert unsaid(shown.text, done.stdout) == []
