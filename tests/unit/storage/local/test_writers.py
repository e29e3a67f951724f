"""Writers of parts: several at once, and a disk that is full."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from score.errors import Conflict, Integrity, NotFound, Unavailable
from score.protocol.parts import Span
from score.storage.base import StoredPart, stored_part
from score.storage.local import LocalStore

from .conftest import KEY, md5, opened, run, send, writer


def test_a_part_is_never_half_there(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    part = writer(store, upload, 1, Span(0, 10))
    part.write([b"hello"])
    assert run(stored_part(store, KEY, upload, 1)) is None
    with pytest.raises(Integrity):
        part.finish()
    with pytest.raises(Integrity):
        part.write([b"worlds"])
    store.close_part(part)
    assert run(stored_part(store, KEY, upload, 1)) is None


def test_a_part_sent_again_is_gone_with_its_first_byte(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    stored = send(store, upload, 1, 0, b"hello")
    part = writer(store, upload, 1, Span(0, 5))
    store.close_part(part)
    assert run(stored_part(store, KEY, upload, 1)) == stored
    part = writer(store, upload, 1, Span(0, 5))
    part.write([b"o"])
    assert run(stored_part(store, KEY, upload, 1)) is None
    store.close_part(part)
    with pytest.raises(Conflict):
        run(store.complete(KEY, upload, [stored]))


def test_another_md5_than_the_senders_is_not_recorded(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    part = writer(store, upload, 1, Span(0, 5))
    part.write([b"hello"])
    with pytest.raises(Integrity):
        part.finish(md5(b"other"))
    store.close_part(part)
    assert run(stored_part(store, KEY, upload, 1)) is None


def test_the_later_writer_of_a_part_wins(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    earlier = writer(store, upload, 1, Span(0, 10))
    earlier.write([b"early"])
    later = writer(store, upload, 1, Span(0, 10))
    later.write([b"later"])
    with pytest.raises(Unavailable):
        earlier.write([b"early"])
    with pytest.raises(Unavailable):
        earlier.finish()
    later.write([b"on..."])
    store.close_part(earlier)
    stored = later.finish()
    store.close_part(later)
    assert stored.etag == md5(b"lateron...")
    run(store.complete(KEY, upload, [stored]))
    assert run(store.get(KEY)) == b"lateron..."


def test_writers_of_another_process_are_waited_for(root: Path, store: LocalStore) -> None:
    # Another store on the same root stands for another process: it knows nothing of this one's writers.
    upload = run(store.begin(KEY))
    with opened(root) as other:
        here = writer(store, upload, 1, Span(0, 5))
        with pytest.raises(Unavailable):
            writer(other, upload, 1, Span(0, 5))
        with pytest.raises(Unavailable):
            writer(other, upload, 2, Span(4, 5))
        beside = writer(other, upload, 2, Span(5, 5))
        here.write([b"hello"])
        beside.write([b"world"])
        parts = [here.finish(), beside.finish()]
        store.close_part(here)
        other.close_part(beside)
        run(other.complete(KEY, upload, parts))
    assert run(store.get(KEY)) == b"helloworld"


def test_writers_at_once_never_mix(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    bodies = [random.Random(number).randbytes(100_000) for number in range(12)]

    def write(body: bytes) -> StoredPart | None:
        try:
            part = writer(store, upload, 1, Span(0, len(body)))
        except Unavailable:
            return None
        try:
            for start in range(0, len(body), 10_000):
                part.write([body[start : start + 5_000], body[start + 5_000 : start + 10_000]])
            return part.finish()
        except Unavailable:
            return None
        finally:
            store.close_part(part)

    with ThreadPoolExecutor(len(bodies)) as pool:
        list(pool.map(write, bodies * 3))
    write(bodies[0])
    stored = run(stored_part(store, KEY, upload, 1))
    assert stored is not None
    run(store.complete(KEY, upload, [stored]))
    assert md5(run(store.get(KEY))) == stored.etag


def test_no_completion_while_a_part_is_written(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    stored = send(store, upload, 1, 0, b"hello")
    part = writer(store, upload, 1, Span(0, 5))
    with pytest.raises(Unavailable):
        run(store.complete(KEY, upload, [stored]))
    store.close_part(part)
    run(store.complete(KEY, upload, [stored]))
    assert run(store.get(KEY)) == b"hello"
    with pytest.raises(NotFound):
        writer(store, upload, 1, Span(0, 5))


def test_an_upload_dropped_while_a_part_is_written(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    part = writer(store, upload, 1, Span(0, 5))
    part.write([b"hello"])
    run(store.abort(KEY, upload))
    with pytest.raises(NotFound):
        part.finish()
    store.close_part(part)
    assert list((root / ".uploads/object").iterdir()) == []


FULL = """
import asyncio, os, resource, sys
from datetime import timedelta
from pathlib import Path
from score.errors import NoSpace
from score.protocol.parts import Span
from score.storage.base import PlannedPart, stored_part
from score.storage.local import LocalStore

store = LocalStore(Path(sys.argv[1]), "object", base=lambda: "")

def send(upload, number, offset, size):
    (url,) = store.sign_parts("data/x", upload, [PlannedPart(number, Span(offset, size))], timedelta(hours=1))
    part = store.open_part(store.check_url("PUT", "data/x", url.partition("?")[2]))
    try:
        part.write([bytes([number]) * size])
        return part.finish()
    finally:
        store.close_part(part)

async def work():
    upload = await store.begin("data/x")
    one = send(upload, 1, 0, 60_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    for attempt in (lambda: send(upload, 2, 60_000, 60_000), lambda: send(upload, 3, 200_000, 10)):
        try:
            attempt()
        except NoSpace as error:
            print("NoSpace", "room" in error.hint)
    try:
        await store.put("data/state", b"x" * 200_000)
    except NoSpace:
        print("NoSpace", await store.stat("data/state"), os.listdir(sys.argv[1] + "/.scratch"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        await store.begin("data/y")
    except NoSpace:
        print("NoSpace", os.listdir(sys.argv[1] + "/.uploads/object") == [upload])
    try:
        LocalStore(Path(sys.argv[1], "new"), "object", base=lambda: "")
    except NoSpace:
        print("NoSpace", [name for name in os.listdir(sys.argv[1] + "/new") if "secret" in name])
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    print(await stored_part(store, "data/x", upload, 2), await stored_part(store, "data/x", upload, 1) == one)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    two = send(upload, 2, 60_000, 60_000)
    print((await store.complete("data/x", upload, [one, two])).size)
    await store.close()

asyncio.run(work())
"""


def test_a_disk_that_is_full_loses_nothing(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root)], capture_output=True, text=True, timeout=60, check=True
    )
    refused = ["NoSpace True", "NoSpace True", "NoSpace None []", "NoSpace True", "NoSpace []"]
    assert done.stdout.splitlines() == [*refused, "None True", "120000"]
    assert (root / "object/data/x").read_bytes() == b"\1" * 60_000 + b"\2" * 60_000
