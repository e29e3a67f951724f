"""The log: for people and for programs, and how much of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from score.broker import audit
from score.broker.audit import TRAIL, Trail
from score.errors import Misconfigured
from score.server.logs import write_log
from score.server.reading import read_settings
from score.testing.processes import Program, clean_environment, program

OBJECT = "5c0e0000-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    names = ("", "score", "uvicorn.error", "asyncio")
    before = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def written(folder: Path, *arguments: str) -> io.StringIO:
    """Where the log of a server with these settings goes."""
    settings = read_settings([f"--local.directory={folder}", *arguments], {}, folder).settings
    stream = io.StringIO()
    # pytest's own handlers are not to be closed by what takes their place.
    logging.getLogger().handlers[:] = []
    write_log(settings, stream)
    return stream


def served(folder: Path, http: urllib3.PoolManager, **settings: str) -> str:
    """The log of a server that got some calls."""
    given = {"server.port": "0", "spring.profiles.active": "local", **settings}
    with Program([program("score-server")], folder, clean_environment(folder, given)) as server:
        server.wait_until(lambda: "Access:" in server.stdout)
        url = next(line.split()[1] for line in server.stdout.splitlines() if line.startswith("URL:"))
        named = {"X-Request-Id": "of-the-caller-1"}
        assert http.request("GET", f"{url}/upload/{OBJECT}?token=notasecretatall", headers=named).status == 200
        assert http.request("GET", f"{url}/nowhere").status == 404
        assert http.request("GET", f"{url}/live").status == 200
        assert http.request("DELETE", f"{url}/admin/objects/{OBJECT}").status == 403
        assert server.terminate() == 0
        return server.stderr


def test_lines_for_programs(tmp_path: Path, http: urllib3.PoolManager) -> None:
    text = served(tmp_path, http, **{"logging.format": "json", "s3.endpiont": "x"})
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert all(line["time"][:2] == "20" and "T" in line["time"] for line in lines)
    (warning,) = [line for line in lines if "Did you mean s3.endpoint?" in line["message"]]
    assert (warning["level"], "request" in warning) == ("WARNING", False)
    accesses = [line for line in lines if line["logger"] == "score.access"]
    assert [(line["method"], line["route"], line["path"], line["status"]) for line in accesses] == [
        ("GET", "/upload/{object_id}", f"/upload/{OBJECT}", 200),
        ("GET", "unmatched", "/nowhere", 404),
        ("DELETE", "/admin/objects/{object_id}", f"/admin/objects/{OBJECT}", 403),
    ]
    assert accesses[0]["request"] == "of-the-caller-1"
    assert len(accesses[1]["request"]) == 16
    assert not any("trace" in line for line in lines)
    assert {line["client"] for line in accesses} == {"127.0.0.1"}
    assert all(line["ms"] >= 0 for line in accesses)
    assert "notasecretatall" not in text
    (refusal,) = [line for line in lines if line["logger"] == "score.audit"]
    assert (refusal["message"], refusal["deed"], refusal["request"]) == (
        "call refused",
        "call",
        accesses[2]["request"],
    )


def test_lines_for_people(tmp_path: Path, http: urllib3.PoolManager) -> None:
    text = served(tmp_path, http, **{"logging.level.score": "WARN"})
    assert "score.access" not in text
    assert ' INFO score.audit: {"time":' in text, "audit lines are written whatever the level"
    text = served(tmp_path, http)
    assert f" INFO score.access: 127.0.0.1 GET /upload/{OBJECT} 200 " in text
    assert "GET /live 200" not in text
    assert " DEBUG score.access: 127.0.0.1 GET /live 200 " in served(
        tmp_path, http, **{"logging.level.root": "debug"}
    )


def test_a_line_holds_whatever_is_said(tmp_path: Path) -> None:
    stream = written(tmp_path, "--logging.format=json")
    TRAIL.set(Trail("one", "192.0.2.1", trace="0af7651916cd43dd8448eb211c80319c"))
    try:
        raise OSError("a\nb\u2028\udcff")
    except OSError:
        logging.getLogger("score.x").exception('two\nlines and "%s"', "é")
    audit.record("deletion", "begun", object=OBJECT)
    TRAIL.set(None)
    logging.getLogger("other").info("hello")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 3
    assert lines[0]["message"] == 'two\nlines and "é"'
    assert lines[0]["exception"].startswith("Traceback")
    assert (lines[0]["request"], lines[0]["trace"]) == ("one", "0af7651916cd43dd8448eb211c80319c")
    assert (lines[1]["message"], lines[1]["object"], lines[1]["from"]) == ("deletion begun", OBJECT, "192.0.2.1")
    assert "request" not in lines[2]


@pytest.mark.parametrize(
    ("arguments", "said", "unsaid"),
    [
        ([], ["ours info", "theirs info"], ["ours debug", "theirs debug"]),
        (["--logging.level.root=WARN"], ["ours warning", "theirs warning"], ["ours info", "theirs info"]),
        (["--logging.level.score=debug"], ["ours debug", "theirs info"], ["theirs debug"]),
        (["--logging.level.root=OFF", "--logging.level.score=INFO"], ["ours info"], ["theirs critical"]),
        (["--logging.level.root=trace", "--logging.level.score=Error"], ["theirs debug"], ["ours warning"]),
    ],
)
def test_levels(tmp_path: Path, arguments: list[str], said: list[str], unsaid: list[str]) -> None:
    stream = written(tmp_path, *arguments)
    for name, who in (("score.x", "ours"), ("x", "theirs")):
        for level in ("debug", "info", "warning", "critical"):
            getattr(logging.getLogger(name), level)("%s %s", who, level)
    text = stream.getvalue()
    assert [one for one in said if one not in text] == []
    assert [one for one in unsaid if one in text] == []


@pytest.mark.parametrize("wrong", ["--logging.format=xml", "--logging.level.root=loud"])
def test_what_cannot_be_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(Misconfigured, match=wrong.partition("=")[0].strip("-")):
        read_settings([wrong], {}, tmp_path)
