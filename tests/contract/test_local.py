"""The local disk as an object store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from score.server.plane import data_plane
from score.storage.base import ObjectStore
from score.storage.local import LocalStore
from score.testing.serving import Serving
from score.testing.store_contract import Aside, Run, StoreContract


class Folder:
    """The bucket's files, by the file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key: str) -> bytes | None:
        path = self._folder / key
        return path.read_bytes() if path.is_file() else None

    def delete(self, key: str) -> None:
        (self._folder / key).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> list[str]:
        found = (path.relative_to(self._folder) for path in self._folder.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if str(path).startswith(prefix))


class TestLocalStore(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("store")

    @pytest.fixture(scope="class")
    @classmethod
    def serving(cls, root: Path) -> Iterator[Serving]:
        serving = Serving()
        served = LocalStore(root, "object", base=lambda: serving.url)
        serving.app = Starlette(routes=data_plane(served))
        with serving:
            yield serving

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, root: Path, serving: Serving, run: Run) -> Iterator[ObjectStore]:
        store = LocalStore(root, "object", base=lambda: serving.url)
        yield store
        run(store.close())

    @pytest.fixture(scope="class")
    @classmethod
    def late_store(cls, root: Path, serving: Serving, run: Run) -> Iterator[ObjectStore]:
        store = LocalStore(root, "object", base=lambda: serving.url, clock=lambda: time.time() - 600)
        yield store
        run(store.close())

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, root: Path) -> Aside:
        return Folder(root / "object")
