"""The public names of the SDK and their signatures: who changes one of them here breaks somebody's program."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import score
from score import Client

NAMES = [
    *(
        "Checked",
        "Client",
        "Ended",
        "Event",
        "Layout",
        "Listed",
        "Moved",
        "Note",
        "Outcome",
        "PartDone",
        "Planned",
        "ScoreError",
    ),
    *("Settings", "State", "Stored", "Transfer", "UploadEntry", "Verifying", "Waiting", "__version__"),
]
DOWNLOAD = ["object_ids", "out", "layout", "index", "offset", "length", "force", "validate"]
METHODS = {
    "analysis": ["study", "analysis"],
    "begin": ["call", "args", "kwargs"],
    "cancel": [],
    "close": [],
    "connect": ["verify"],
    "download": DOWNLOAD,
    "download_each": DOWNLOAD,
    "exists": ["object_id"],
    "files": ["study", "analysis"],
    "limit_bandwidth": ["timetable"],
    "list": [],
    "modified": ["object_id"],
    "open": ["object_id", "name"],
    "stat": ["object_id"],
    "stop_after": ["seconds"],
    "upload": ["path", "object_id", "md5", "force"],
    "upload_all": ["entries", "force"],
    "upload_each": ["entries", "force"],
    "url": ["object_id"],
}


def test_the_names() -> None:
    assert set(NAMES) <= set(score.__all__)
    for name in score.__all__:
        assert getattr(score, name) is not None
        assert name in dir(score)


def test_what_is_no_name_is_none() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        score.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_of_a_client(name: str) -> None:
    found = list(inspect.signature(getattr(Client, name)).parameters)
    assert found[0] == "self"
    assert found[1:][: len(METHODS[name])] == METHODS[name]


def test_the_import_costs_nothing() -> None:
    heavy = ["urllib3", "pydantic", "msgspec", "click", "aiohttp"]
    code = f"import sys, score; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_program_is_told_the_types() -> None:
    """What a type checker of somebody's program sees."""
    code = (
        "from pathlib import Path\nfrom score import Client, Settings, Transfer, Outcome\n"
        "client = Client(Settings('http://localhost:1'))\n"
        "transfer: Transfer[list[Outcome]] = client.begin(client.download, ['x'], Path('out'), force=True)\n"
        "name: str = client.stat('x').name\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "-c"]
    good = subprocess.run([*command, code], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stdout
    bad = subprocess.run(
        [*command, code.replace("name: str", "name: int")], capture_output=True, text=True, check=False
    )
    assert "Incompatible types" in bad.stdout
