"""``manifest``: what it prints, and what it says of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from score.testing.faults import Answer
from score.testing.score import FaultyScore

ANALYSIS = "a11aca11-0000-4000-8000-000000000020"
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
OTHER = "5c0eca11-0000-4000-8000-000000000021"
MD5 = "781e5e245d69b566979b86e28d23f2c7"
UPLOAD = f"{ANALYSIS}\t\t\r\n{OBJECT}\ta.bam\t{MD5}\n{OTHER}\tmissing.bam\t{MD5}\n"
DOWNLOAD = f"object_id\tfile_size\n{OBJECT}\t1024\n{OTHER}\t1024"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_server(folder: Path) -> None:
    """A manifest can be looked at without one."""
    (folder / "application.properties").unlink()
    (folder / "a.bam").write_bytes(b"")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (UPLOAD, f"An upload manifest of analysis {ANALYSIS}: 2 files, of which 1 are not there (missing.bam"),
        (DOWNLOAD, "A download manifest: 2 objects, 2.0 KiB."),
    ],
)
def test_it_is_printed_as_it_is(run: Run, folder: Path, text: str, says: str) -> None:
    for name, data in (
        ("m.tsv", text.encode()),
        ("m.gz", gzip.compress(text.encode())),
        ("m", text.encode("utf-16")),
    ):
        (folder / name).write_bytes(data)
        status, out, err = run("manifest", "--manifest", name)
        assert (status, out) == (0, text)
        assert says in err
        assert run("--silent", "manifest", f"--manifest={name}") == (0, text, "")


def test_a_manifest_of_the_portal(run: Run, folder: Path, site: FaultyScore) -> None:
    site.traffic.inject(Answer(200, DOWNLOAD.encode()), path=f"^/api/v1/manifests/{OTHER}$", times=None)
    assert run("manifest", "--manifest", OTHER, f"--portal.url={site.url}/", "--accessToken=long-enough-token")[
        :2
    ] == (
        0,
        DOWNLOAD,
    )
    assert run("manifest", "--manifest", f"{site.url}/api/v1/manifests/{OTHER}")[:2] == (0, DOWNLOAD)
    assert all("authorization" not in call.headers for call in site.traffic.seen())


def test_what_is_wrong_with_it_is_told_after_it(run: Run, folder: Path) -> None:
    (folder / "m.tsv").write_text("object_id\nx\n")
    status, out, err = run("manifest", "--manifest", "m.tsv")
    assert (status, out) == (2, "object_id\nx\n")
    assert "line 2: 'x' is not an object id" in err


@pytest.mark.parametrize(("name", "status"), [("missing", 4), (".", 2)])
def test_there_is_none(run: Run, folder: Path, name: str, status: int) -> None:
    assert run("manifest", "--manifest", name)[:2] == (status, "")


def test_for_programs(run: Run, folder: Path) -> None:
    (folder / "m.tsv").write_text(UPLOAD)
    first, _, end = map(json.loads, run("manifest", "--manifest", "m.tsv", "--json")[1].splitlines())
    assert first == {
        "v": 1,
        "record": "file",
        "command": "manifest",
        "analysis_id": ANALYSIS,
        "object_id": OBJECT,
        "path": "a.bam",
        "md5": MD5,
    }
    assert end["exit"] == 0
