"""Objects that others wrote, copied or replaced."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from score.errors import Integrity, NotFound
from score.storage.local import LocalStore

from .conftest import KEY, collect, opened, run, send_all


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
