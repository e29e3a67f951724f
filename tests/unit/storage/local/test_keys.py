"""Keys, and the folder that they are kept below."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score.errors import Invalid, Misconfigured, NotFound, Refused, ScoreError
from score.storage.local import LocalStore

from .conftest import KEY, collect, opened, run

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
