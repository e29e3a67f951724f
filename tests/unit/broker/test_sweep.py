"""Deletion of all objects under a prefix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from score.broker.sweep import sweep
from score.errors import Refused
from score.storage.base import ObjectStore
from score.storage.local import LocalStore

MANY = 2603


class Watched:
    """A store that notes how many deletions run at a time; ``broken``: one of them fails."""

    def __init__(self, store: ObjectStore, broken: str = "") -> None:
        self._store = store
        self._broken = broken
        self.most = self._now = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def delete(self, *keys: str) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            if self._broken in keys:
                raise Refused("The store answered 403.")
            await self._store.delete(*keys)
        finally:
            self._now -= 1


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[ObjectStore], Awaitable[None]]], None]:
    def go(test: Callable[[ObjectStore], Awaitable[None]]) -> None:
        async def main() -> None:
            store = LocalStore(tmp_path, "state", base=lambda: "http://x")
            for number in range(MANY):
                await asyncio.to_thread(_lay, tmp_path, f"upload/a/{number:05}")
            await store.put("upload/b", b"")
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(main())

    return go


def _lay(root: Path, key: str) -> None:
    path = root / "state" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


async def keys(store: ObjectStore) -> AsyncIterator[str]:
    async for entry in store.scan(""):
        yield entry.key


def test_all_pages_go_and_nothing_else(run: Callable[[Callable[[ObjectStore], Awaitable[None]]], None]) -> None:
    async def test(store: ObjectStore) -> None:
        watched = Watched(store)
        await sweep(cast("ObjectStore", watched), "upload/a/")
        assert [key async for key in keys(store)] == ["upload/b"]
        assert 1 < watched.most <= 8
        await sweep(cast("ObjectStore", watched), "upload/a/")

    run(test)


@pytest.mark.parametrize("number", [0, 1300, MANY - 1])
def test_a_failure_is_raised_and_the_rest_may_be_swept_again(
    run: Callable[[Callable[[ObjectStore], Awaitable[None]]], None], number: int
) -> None:
    async def test(store: ObjectStore) -> None:
        with pytest.raises(Refused):
            await sweep(cast("ObjectStore", Watched(store, f"upload/a/{number:05}")), "upload/a/")
        assert [key async for key in keys(store) if key == f"upload/a/{number:05}"]
        await sweep(store, "upload/a/")
        assert [key async for key in keys(store)] == ["upload/b"]

    run(test)
