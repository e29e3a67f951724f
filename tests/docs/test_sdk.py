"""The page on the SDK: its examples run, one after another, and what it says of names and errors is so."""

from __future__ import annotations

import inspect
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import score
from score import errors
from score.testing.processes import clean_environment
from score.testing.site import local_site, md5_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sdk.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ADDRESS = "http://localhost:8087"


def test_the_examples_run(tmp_path: Path) -> None:
    with local_site(tmp_path / "site") as site:
        paths = [tmp_path / "reads" / f"sample_R{number}.fastq" for number in (1, 2)]
        paths[0].parent.mkdir()
        for path in paths:
            path.write_bytes(random.randbytes(6_000_000))
        files = site.register(paths)
        entries = [(one, str(path), md5_of(path)) for one, path in zip(files.ids, paths, strict=True)]
        values = {"OBJECT_ID": files.id if len(files.ids) == 1 else files.ids[0], "FILES": entries}
        values |= {"STUDY": files.study, "ANALYSIS": files.analysis}
        uploads = next(number for number, code in enumerate(EXAMPLES) if "client.download(" in code)
        assert any("upload_each" in code for code in EXAMPLES[:uploads])
        assert any(ADDRESS in code for code in EXAMPLES)
        prelude = "\n".join(f"{name} = {value!r}" for name, value in values.items())
        first, rest = (
            "\n".join(codes).replace(ADDRESS, site.url) for codes in (EXAMPLES[:uploads], EXAMPLES[uploads:])
        )
        preamble = "from pathlib import Path\nfrom score import *\n" + EXAMPLES[0].replace(ADDRESS, site.url)
        environment = clean_environment(tmp_path)

        def run(code: str) -> str:
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", f"{prelude}\n{code}"],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        said = run(first)
        assert said.count("uploaded") == 2
        assert "already there" in said
        site.publish(files)
        said = run(f"{preamble}\n{rest}")
        for text in ("sample_R1.fastq", files.study, "6000000 bytes", "downloaded", "00000000-0000-4000"):
            assert text in said
        for folder in ("data", "heard", "stream"):
            assert md5_of(tmp_path / folder / paths[0].name) == md5_of(paths[0])


def test_every_public_name_is_described() -> None:
    assert [name for name in score.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", PAGE)] == []


def test_every_event_has_a_public_name() -> None:
    """Whoever matches them with a type checker wants to name each."""
    assert {event.__name__ for event in get_args(score.Event)} <= set(score.__all__)


def test_every_public_method_is_described() -> None:
    methods = [name for name, _ in inspect.getmembers(score.Client, inspect.isfunction) if name[0] != "_"]
    assert [name for name in methods if name != "close" and f"{name}(" not in PAGE and f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize(
    "name", re.findall(r"`(\w+)`", PAGE.partition("| `score.errors` | |")[2].partition("\n\n")[0])
)
def test_every_error_is_one(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.ScoreError)
