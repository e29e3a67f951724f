"""The local store beyond the contract of all stores: its folder, its faults, its writers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score.errors import (
    Conflict,
    Expired,
    Forbidden,
    Integrity,
    Invalid,
    Misconfigured,
    NotFound,
    Refused,
    ScoreError,
    Unavailable,
)
from score.protocol.parts import Span
from score.storage.base import PlannedPart, Prefix, StoredPart, UploadId, stored_part
from score.storage.local import LocalStore
from score.storage.local.uploads import PartWriter

T = TypeVar("T")
KEY = "data/00000000-0000-4000-8000-000000000001"
HOUR = timedelta(hours=1)
BAD_KEYS = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "data/../../x",
    "data/./x",
    "data//x",
    "data/",
    "data/\0x",
    "x" * 256,
    "x/" * 512 + "x",
    "\ud800",
]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@contextmanager
def opened(root: Path, bucket: str = "object", **options: Any) -> Iterator[LocalStore]:
    store = LocalStore(root, bucket, base=lambda: "http://localhost:8087", **options)
    try:
        yield store
    finally:
        run(store.close())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> Iterator[LocalStore]:
    with opened(root) as store:
        yield store


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalStore]]:
    """A store for many examples, and the folder above its root."""
    outside = tmp_path_factory.mktemp("shared")
    with opened(outside / "root") as store:
        yield outside, store


async def collect(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def writer(store: LocalStore, upload: UploadId, number: int, span: Span, key: str = KEY) -> PartWriter:
    """A writer of a part, by way of its signed URL."""
    (url,) = store.sign_parts(key, upload, [PlannedPart(number, span)], HOUR)
    return store.open_part(store.check_url("PUT", key, url.partition("?")[2]))


def send(store: LocalStore, upload: UploadId, number: int, offset: int, data: bytes, key: str = KEY) -> StoredPart:
    part = writer(store, upload, number, Span(offset, len(data)), key)
    try:
        part.write([data])
        return part.finish()
    finally:
        store.close_part(part)


def send_all(store: LocalStore, upload: UploadId, *bodies: bytes) -> list[StoredPart]:
    offsets = [sum(map(len, bodies[:number])) for number in range(len(bodies))]
    return [
        send(store, upload, number, offset, body)
        for number, (offset, body) in enumerate(zip(offsets, bodies, strict=True), 1)
    ]


# Keys and the root


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_that_are_no_paths_are_refused(store: LocalStore, key: str) -> None:
    calls = [store.stat(key), store.get(key), store.put(key, b"x"), store.delete(key), store.begin(key)]
    for call in calls:
        with pytest.raises(Invalid):
            run(call)
    assert run(collect(store.scan(key + "/"))) == []


@given(key=st.text(st.characters(codec=None) | st.sampled_from("./\\\0%"), max_size=30))
@settings(deadline=None)
def test_no_key_leaves_the_bucket(shared: tuple[Path, LocalStore], key: str) -> None:
    outside, store = shared

    def files() -> set[Path]:
        return {path for path in outside.rglob("*") if path.is_file()}

    before = files()
    try:
        run(store.put(key, b"x"))
    except ScoreError:
        assert files() == before
    else:
        (made,) = files() - before
        assert outside / "root/object" in made.parents
        assert run(store.get(key)) == b"x"
        run(store.delete(key))
        assert files() == before


@pytest.mark.parametrize("bucket", ["", ".", "..", ".uploads", "a/b", "a\0", "../x", "x" * 300])
def test_names_that_cannot_be_buckets(root: Path, bucket: str) -> None:
    with pytest.raises(Misconfigured):
        LocalStore(root, bucket, base=lambda: "")


def test_links_are_not_followed(root: Path, store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "object/data").mkdir()
    (root / "object/data/file").symlink_to(outside / "secret")
    (root / "object/folder").symlink_to(outside)
    for key in ("data/file", "folder/secret"):
        for call in (store.get(key), store.stat(key), store.put(key, b"x"), store.begin(key), store.delete(key)):
            with pytest.raises(Refused):
                run(call)
    assert run(collect(store.scan(""))) == []
    assert run(collect(store.scan("folder/"))) == []
    assert (outside / "secret").read_bytes() == b"secret"
    assert list(outside.iterdir()) == [outside / "secret"]


def test_a_root_that_is_a_link_is_the_operators_business(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    with opened(tmp_path / "root") as store:
        run(store.put(KEY, b"x"))
        assert run(store.get(KEY)) == b"x"
    assert (tmp_path / "disk/object" / KEY).read_bytes() == b"x"


def test_a_file_where_a_folder_is_needed(store: LocalStore) -> None:
    run(store.put("data", b"x"))
    assert run(store.stat("data/below")) is None
    for call in (store.put("data/below", b"x"), store.put("data/below/further", b"x")):
        with pytest.raises(Refused):
            run(call)
    run(store.put("up/below", b"x"))
    with pytest.raises(Refused):
        run(store.put("up", b"x"))
    assert run(store.get("data")) == run(store.get("up/below")) == b"x"


def test_folders_that_become_empty_go(root: Path, store: LocalStore) -> None:
    run(store.put("upload/a/1", b"x"))
    run(store.put("upload/a/2", b"x"))
    run(store.delete("upload/a/1"))
    assert (root / "object/upload/a").is_dir()
    run(store.delete("upload/a/2", "upload/b/none"))
    assert list((root / "object").iterdir()) == []


def test_deletions_beside_writes_lose_nothing(store: LocalStore) -> None:
    async def work() -> None:
        for number in range(60):
            await asyncio.gather(
                store.put(f"upload/x/{number}", b"x"),
                store.delete(f"upload/x/{number - 1}"),
                store.delete("upload/x/-"),
            )
            assert await store.get(f"upload/x/{number}") == b"x"

    run(work())


def test_a_bucket_that_vanishes_is_not_made_again(root: Path, store: LocalStore) -> None:
    (root / "object").rename(root / "elsewhere")
    calls = [store.put(KEY, b"x"), store.begin(KEY), store.stat(KEY), store.get(KEY), collect(store.scan(""))]
    for call in calls:
        with pytest.raises(NotFound, match="object"):
            run(call)
    probe = run(store.probe())
    assert not probe.ok
    assert "object" in probe.problem
    assert not (root / "object").exists()


def test_a_scratch_folder_that_vanishes_is_found_by_the_probe(root: Path, store: LocalStore) -> None:
    (root / ".scratch").rmdir()
    probe = run(store.probe())
    assert (probe.ok, bool(probe.problem)) == (False, True)


# Listings

KEYS = st.lists(
    st.lists(st.text("a-./0é", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join), max_size=12
).map(lambda keys: [key for key in keys if all(name not in ("", ".", "..") for name in key.split("/"))])


def listing(keys: list[str], prefix: str, delimiter: str) -> list[str]:
    """What S3 lists."""
    found = []
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            if name not in found:
                found.append(name)
    return found


@settings(deadline=None, max_examples=60)
@given(KEYS, st.text("a-./0é", max_size=3), st.sampled_from(["", "/", "-", "0"]))
def test_listings_are_those_of_s3(keys: list[str], prefix: str, delimiter: str) -> None:
    # A file system cannot hold both a and a/b.
    keys = [key for key in set(keys) if not any(other.startswith(f"{key}/") for other in keys)]
    with TemporaryDirectory() as folder, opened(Path(folder)) as store:
        for key in [*keys, "empty/folder/.keep"]:
            path = Path(folder, "object", key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        path.unlink()
        found = run(collect(store.scan(prefix, delimiter=delimiter)))
    assert [item.key for item in found] == listing(keys, prefix, delimiter)
    for item in found:
        cut = item.key.find(delimiter, len(prefix)) if delimiter else -1
        assert isinstance(item, Prefix) == (cut >= 0)


# URLs


def test_the_secret_is_made_once_and_for_the_owner_only(root: Path, store: LocalStore) -> None:
    secret = root / ".secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    (url,) = store.sign_gets(KEY, [None], HOUR)
    with opened(root) as again:
        assert again.check_url("GET", KEY, url.partition("?")[2]).key == KEY
    assert [path.name for path in root.iterdir() if "secret" in path.name] == [".secret"]


def test_stores_that_start_together_agree_on_the_secret(root: Path) -> None:
    together = threading.Barrier(8)

    def start() -> LocalStore:
        together.wait()
        return LocalStore(root, "object", base=lambda: "http://localhost")

    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: start(), range(8)))
    for store in stores:
        (url,) = store.sign_gets(KEY, [None], HOUR)
        assert stores[0].check_url("GET", KEY, url.partition("?")[2])
        run(store.close())


def test_a_secret_that_is_none(root: Path) -> None:
    with opened(root):
        pass
    (root / ".secret").write_text("short")
    with pytest.raises(Misconfigured, match=r"\.secret"):
        LocalStore(root, "object", base=lambda: "")


def test_a_url_says_what_it_is_for(root: Path) -> None:
    with opened(root, clock=lambda: 1_000_000.0) as store:
        (part,) = store.sign_parts(KEY, UploadId("f" * 32), [PlannedPart(7, Span(60, 10))], HOUR)
        start = f"http://localhost:8087/store/object/{KEY}?"
        wanted = f"uploadId={'f' * 32}&partNumber=7&offset=60&size=10&expires=1003600&signature="
        assert part.startswith(start + wanted)
        whole, span = store.sign_gets(KEY, [None, Span(5, 6)], timedelta(days=30))
        assert whole.startswith(f"{start}expires={1_000_000 + 7 * 24 * 3600}&signature=")
        assert span.startswith(f"{start}offset=5&size=6&expires=")


@given(data=st.data())
@settings(deadline=None)
def test_a_url_changed_anywhere_is_refused(shared: tuple[Path, LocalStore], data: st.DataObject) -> None:
    _, store = shared
    urls = [
        *store.sign_gets(KEY, [None, Span(0, 5)], HOUR),
        *store.sign_parts(KEY, UploadId("a" * 32), [PlannedPart(1, Span(0, 5))], HOUR),
    ]
    query = data.draw(st.sampled_from(urls)).partition("?")[2]
    method = "PUT" if "uploadId" in query else "GET"
    assert store.check_url(method, KEY, query).key == KEY
    at = data.draw(st.integers(0, len(query) - 1))
    other = data.draw(st.sampled_from("0123456789abcdef&=é\n"))
    before, after = query[:at], query[at + 1 :]
    for changed in {before + after, before + other + after, before + other + query[at] + after} - {query}:
        with pytest.raises(Forbidden):
            store.check_url(method, KEY, changed)
    for wrong in ("", "signature=", "&signature=", f"{query}&x=1"):
        with pytest.raises(Forbidden):
            store.check_url(method, KEY, wrong)
    with pytest.raises(Forbidden):
        store.check_url({"PUT": "GET", "GET": "PUT"}[method], KEY, query)
    with pytest.raises(Forbidden):
        store.check_url(method, KEY + "x", query)


def test_a_url_of_another_bucket_is_refused(root: Path, store: LocalStore) -> None:
    (url,) = store.sign_gets(KEY, [None], HOUR)
    with opened(root, "state") as state, pytest.raises(Forbidden):
        state.check_url("GET", KEY, url.partition("?")[2])


def test_a_url_is_good_until_its_time(root: Path) -> None:
    now = 1_000_000.0
    with opened(root, clock=lambda: now) as store:
        (url,) = store.sign_gets(KEY, [None], timedelta(seconds=10))
        query = url.partition("?")[2]
        now += 9.9
        store.check_url("GET", KEY, query)
        now += 0.1
        with pytest.raises(Expired, match="Request has expired"):
            store.check_url("GET", KEY, query)
        with pytest.raises(Forbidden):
            store.check_url("GET", KEY, query.replace("expires=1", "expires=2"))


# Uploads


def test_completion_moves_the_bytes(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    bodies = [b"a" * 1000, b"b" * 1000, b"c"]
    parts = send_all(store, upload, *bodies)
    (data,) = root.glob(".uploads/object/*/data")
    node = data.stat().st_ino
    done = run(store.complete(KEY, upload, parts))
    path = root / "object" / KEY
    assert path.stat().st_ino == node
    assert path.read_bytes() == b"".join(bodies)
    digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
    assert done.etag == f"{digest}-3"
    assert list((root / ".uploads/object").iterdir()) == []


def test_an_upload_goes_on_after_a_restart(root: Path) -> None:
    with opened(root) as store:
        upload = run(store.begin(KEY))
        send(store, upload, 2, 5, b"world")
    with opened(root) as store:
        assert run(stored_part(store, KEY, upload, 2)) == StoredPart(2, 5, md5(b"world"))
        assert run(stored_part(store, KEY, upload, 1)) is None
        send(store, upload, 1, 0, b"hello")
    with opened(root) as store:
        parts = run(collect(store.stored_parts(KEY, upload)))
        first = run(store.complete(KEY, upload, parts))
    with opened(root) as store:
        assert run(store.complete(KEY, upload, parts)) == first
        assert run(store.stat(KEY)) == first
        assert run(store.get(KEY)) == b"helloworld"


def test_parts_that_do_not_join(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    one = send(store, upload, 1, 0, b"hello")
    three = send(store, upload, 3, 10, b"world")
    with pytest.raises(Conflict, match="part 3"):
        run(store.complete(KEY, upload, [one, three]))
    with pytest.raises(Conflict):
        run(store.complete(KEY, upload, [three]))
    with pytest.raises(Conflict):
        run(store.complete(KEY, upload, []))
    with pytest.raises(Conflict):
        run(store.complete(KEY, upload, [one, one]))
    two = send(store, upload, 2, 5, b", my ")
    run(store.complete(KEY, upload, [one, two, three]))
    assert run(store.get(KEY)) == b"hello, my world"


def test_parts_that_are_not_named_are_left_out(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    one, _, _ = send_all(store, upload, b"hello", b"world", b"!")
    done = run(store.complete(KEY, upload, [one]))
    assert done.size == 5
    assert run(store.get(KEY)) == b"hello"


def test_a_torn_record_counts_for_nothing(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    part = send(store, upload, 1, 0, b"hello")
    (record,) = root.glob(".uploads/object/*/part-*")
    whole = record.read_bytes()
    for torn in (b"", whole[:-1], b"\0" * len(whole), b"{}", b"[]"):
        record.write_bytes(torn)
        assert run(stored_part(store, KEY, upload, 1)) is None
        assert run(collect(store.stored_parts(KEY, upload))) == []
        with pytest.raises(Conflict):
            run(store.complete(KEY, upload, [part]))
    assert send(store, upload, 1, 0, b"hello") == part
    run(store.complete(KEY, upload, [part]))


def test_lost_bytes_are_noticed_at_completion(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    part = send(store, upload, 1, 0, b"hello")
    (data,) = root.glob(".uploads/object/*/data")
    os.truncate(data, 4)
    with pytest.raises(Integrity):
        run(store.complete(KEY, upload, [part]))
    assert run(store.stat(KEY)) is None


def test_an_upload_belongs_to_its_key(store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    part = send(store, upload, 1, 0, b"hello")
    with pytest.raises(NotFound):
        run(store.complete("data/other", upload, [part]))
    run(store.abort("data/other", upload))
    with pytest.raises(NotFound):
        run(stored_part(store, "data/other", upload, 1))
    assert run(stored_part(store, KEY, upload, 1)) == part


@pytest.mark.parametrize("upload", ["", "..", "../object", "a/b", "\0", "F" * 32, "f" * 33])
def test_upload_ids_of_others(store: LocalStore, upload: str) -> None:
    given = UploadId(upload)
    run(store.abort(KEY, given))
    with pytest.raises(NotFound):
        run(stored_part(store, KEY, given, 1))
    with pytest.raises(NotFound):
        run(store.complete(KEY, given, [StoredPart(1, 1, "no md5")]))


def test_what_a_crash_left_is_freed(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    uploads = root / ".uploads/object"
    (uploads / upload).rename(uploads / f".gone-{upload}")
    old, new = root / ".scratch/old", root / ".scratch/new"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert run(collect(store.open_uploads())) == []
    assert list(uploads.iterdir()) == []
    assert (old.exists(), new.exists()) == (False, True)


# Writers of parts


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
    assert done.stdout.splitlines() == ["NoSpace True", "NoSpace True", "NoSpace None []", "None True", "120000"]
    assert (root / "object/data/x").read_bytes() == b"\1" * 60_000 + b"\2" * 60_000


# Objects of others


def test_etags_of_files_put_there_by_hand(root: Path, store: LocalStore) -> None:
    path = root / "object" / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(b"by hand")
    first = run(store.stat(KEY))
    assert first is not None
    assert first.etag
    assert run(store.stat(KEY)) == first
    path.write_bytes(b"by hand, longer")
    second = run(store.stat(KEY))
    assert second is not None
    assert second.etag != first.etag


def test_the_etag_of_an_upload_is_not_that_of_what_replaced_it(root: Path, store: LocalStore) -> None:
    upload = run(store.begin(KEY))
    parts = send_all(store, upload, b"hello")
    done = run(store.complete(KEY, upload, parts))
    (listed,) = run(collect(store.scan("data/")))
    assert listed == done
    (root / "object" / KEY).write_bytes(b"HELLO")
    replaced = run(store.stat(KEY))
    assert replaced is not None
    assert replaced.etag != done.etag
    with pytest.raises(NotFound):
        run(store.complete(KEY, upload, parts))


def test_a_root_copied_elsewhere_is_the_same_store(root: Path, store: LocalStore, tmp_path: Path) -> None:
    upload = run(store.begin(KEY))
    done = run(store.complete(KEY, upload, send_all(store, upload, b"hello")))
    subprocess.run(["cp", "-a", str(root), str(tmp_path / "copy")], check=True, timeout=60)
    with opened(tmp_path / "copy") as copy:
        assert run(copy.stat(KEY)) == done
        assert run(copy.get(KEY)) == b"hello"


def test_an_object_open_for_reading_stays_one_version(root: Path, store: LocalStore) -> None:
    run(store.put(KEY, b"first version"))
    file = store.open_object(KEY)
    run(store.put(KEY, b"second"))
    assert file.read(0, 13) == b"first version"
    run(store.delete(KEY))
    assert file.read(6, 7) == b"version"
    with pytest.raises(Integrity):
        file.read(10, 10)
    file.close()
    file.close()
    with pytest.raises(NotFound):
        store.open_object(KEY)
