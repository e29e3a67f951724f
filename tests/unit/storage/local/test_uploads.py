"""Uploads: what is completed, and what restarts, crashes and foreign ids leave of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from score.errors import Conflict, Integrity, NotFound
from score.storage.base import StoredPart, UploadId, stored_part
from score.storage.local import LocalStore

from .conftest import KEY, collect, md5, opened, run, send, send_all


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


def test_a_crash_just_after_the_bytes_were_moved(root: Path, store: LocalStore) -> None:
    """The upload is over from that moment on, to whoever asks."""
    upload = run(store.begin(KEY))
    part = send(store, upload, 1, 0, b"hello")
    folder, saved = root / ".uploads/object" / upload, root / "saved"
    shutil.copytree(folder, saved)
    (saved / "data").unlink()
    done = run(store.complete(KEY, upload, [part]))
    shutil.copytree(saved, folder)
    with pytest.raises(NotFound):
        run(collect(store.stored_parts(KEY, upload)))
    with pytest.raises(NotFound):
        send(store, upload, 1, 0, b"hello")
    assert run(store.complete(KEY, upload, [part])) == done
    assert not folder.exists()
    shutil.copytree(saved, folder)
    assert run(collect(store.open_uploads())) == []
    assert not folder.exists(), "and the cleanup frees what is left"
    assert run(store.get(KEY)) == b"hello"


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
