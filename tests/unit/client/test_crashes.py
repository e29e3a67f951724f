"""A program that is killed at any step on the disk: the same call goes on from there, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout
from score.client.verification import verify
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

OBJECT = "5c0eca11-0000-4000-8000-000000000070"
PART = 64 * 1024
DATA = random.Random(7).randbytes(2 * PART + 1000)
PROGRAM = """
import json, os, sys
from pathlib import Path
from score.client.client import Client
from score.client.settings import Settings
from score.client.verification import verify

WRITES = os.O_WRONLY | os.O_RDWR
left = 0

def step(event, given):
    global left
    if not left or event not in ("open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
        return
    if event == "open" and not (isinstance(given[2], int) and given[2] & WRITES):
        return
    left -= 1
    if not left:
        os._exit(9)

sys.addaudithook(step)
for line in sys.stdin:
    wish = json.loads(line)
    child = os.fork()
    if not child:
        settings = Settings(wish["score"], wish["song"], parallel=1)
        with Client(settings) as client:
            left = wish["step"]
            given = ([wish["id"]], Path(wish["out"]))
            how = {"layout": wish["layout"], "index": False}
            repair = wish["repair"]
            (outcome,) = verify(client, *given, repair=True, **how) if repair else client.download(*given, **how)
        os._exit(0 if outcome.good else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Kill = Callable[..., int]


@pytest.fixture
def kill(site: FaultyScore, song: FakeSong) -> Iterator[Kill]:
    """Downloads the object, or repairs it, in a process that dies before its step of that number; gives its exit
    status."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        tell, hear = process.stdin, process.stdout

        def run(step: int, out: Path, layout: Layout, *, repair: bool = False) -> int:
            wish = {"step": step, "out": str(out), "layout": layout, "id": OBJECT, "repair": repair}
            print(json.dumps(wish | {"score": site.url, "song": song.url}), file=tell, flush=True)
            return int(hear.readline())

        yield run
        tell.close()


@pytest.mark.parametrize("size", [len(DATA), 1000])
@pytest.mark.parametrize("layout", [Layout.FILENAME, Layout.ID])
def test_a_download(
    kill: Kill, client: Client, site: FaultyScore, song: FakeSong, tmp_path: Path, layout: Layout, size: int
) -> None:
    song.register("a.bam", analysis="a", object_id=OBJECT, size=size)
    site.fake.add(OBJECT, DATA[:size])
    out = tmp_path / "out"
    for step in range(1, 200):
        status = kill(step, out, layout)
        assert status in (0, 9)
        finished = len(list(out.glob(f".{OBJECT}/part-*")))
        over = status == 0 or (out / "a.bam").exists() or (out / f".{OBJECT}.done").exists()
        site.traffic.forget()
        (outcome,) = client.download([OBJECT], out, layout=layout, index=False)
        assert outcome.error is None, f"killed before step {step}"
        assert outcome.path is not None
        assert hashlib.md5(outcome.path.read_bytes()).hexdigest() == hashlib.md5(DATA[:size]).hexdigest()
        assert list(out.iterdir()) == [outcome.path], f"killed before step {step}"
        assert len(site.gets) <= -(-size // PART) - finished
        assert not (over and site.gets)
        shutil.rmtree(out)
        if status == 0:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("size", [len(DATA), 1000])
@pytest.mark.parametrize("layout", [Layout.FILENAME, Layout.ID])
def test_a_repair(
    kill: Kill, client: Client, site: FaultyScore, song: FakeSong, tmp_path: Path, layout: Layout, size: int
) -> None:
    song.register("a.bam", analysis="a", object_id=OBJECT, size=size)
    site.fake.add(OBJECT, DATA[:size])
    out = tmp_path / "out"
    path = out / (OBJECT if layout is Layout.ID else "a.bam")
    for step in range(1, 200):
        out.mkdir()
        path.write_bytes(b"damaged" + DATA[7:size])
        status = kill(step, out, layout, repair=True)
        assert status in (0, 9)
        (outcome,) = verify(client, [OBJECT], out, layout=layout, index=False, repair=True)
        assert outcome.error is None, f"killed before step {step}"
        assert path.read_bytes() == DATA[:size]
        assert list(out.iterdir()) == [path], f"killed before step {step}"
        shutil.rmtree(out)
        if status == 0:
            return
    raise AssertionError("it never ended")
