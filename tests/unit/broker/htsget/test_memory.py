"""What is remembered of headers and indexes: so many bytes, read once however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from score.broker.htsget.memory import Memory
from score.errors import Unavailable


@dataclass
class Thing:
    name: str
    weight: int = 40


class Shop:
    """Gives things, and counts."""

    def __init__(self) -> None:
        self.gave: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.two = asyncio.Event()
        self.busy = 0
        self.busiest = 0

    def thing(self, name: str, weight: int = 40) -> Callable[[], Awaitable[Thing]]:
        async def give() -> Thing:
            self.gave.append(name)
            self.busy += 1
            if len(self.gave) == 2:
                self.two.set()
            self.busiest = max(self.busy, self.busiest)
            await self.open.wait()
            self.busy -= 1
            return Thing(name, weight)

        return give


def test_the_latest_used_are_kept() -> None:
    async def main() -> None:
        shop, memory = Shop(), Memory(100, 2)
        for name in ("a", "b", "a", "c", "a", "b"):
            assert (await memory.get(name, Thing, shop.thing(name))).name == name
        assert shop.gave == ["a", "b", "c", "b"]
        await memory.get("huge", Thing, shop.thing("huge", 101))
        await memory.get("b", Thing, shop.thing("b"))
        await memory.get("huge", Thing, shop.thing("huge", 101))
        assert shop.gave == ["a", "b", "c", "b", "huge", "huge"]

    asyncio.run(main())


def test_those_who_ask_at_once_wait_for_one_reading() -> None:
    async def main() -> None:
        shop, memory = Shop(), Memory(1000, 2)
        shop.open.clear()
        names = ["a"] * 5 + ["b"] * 5 + ["c"] * 5 + ["d"]
        asking = [asyncio.create_task(memory.get(name, Thing, shop.thing(name))) for name in names]
        await shop.two.wait()
        asking[0].cancel()  # the others get it all the same
        shop.open.set()
        found = await asyncio.gather(*asking[1:])
        assert [one.name for one in found] == names[1:]
        assert sorted(shop.gave) == ["a", "b", "c", "d"]
        assert shop.busiest == 2

    asyncio.run(main())


def test_a_failure_is_not_remembered() -> None:
    async def main() -> None:
        shop, memory = Shop(), Memory(1000, 1)

        async def fail() -> Thing:
            raise Unavailable("away")

        for _ in range(2):
            with pytest.raises(Unavailable):
                await memory.get("a", Thing, fail)
        assert (await memory.get("a", Thing, shop.thing("a"))).name == "a"

    asyncio.run(main())
