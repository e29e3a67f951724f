"""Equal questions at the same time are asked once, and nobody gets an answer from before his question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from score.broker.together import Together


class Oracle:
    """Answers with the number of the question, once it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.gates: list[asyncio.Event] = []
        self.fault: Exception | None = None
        self._came = asyncio.Event()

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        gate = asyncio.Event()
        self.gates.append(gate)
        self._came.set()
        await gate.wait()
        if self.fault:
            raise self.fault
        return number

    async def reached(self, count: int) -> None:
        while len(self.gates) < count:
            self._came.clear()
            await self._came.wait()


def run(test: Callable[[Oracle, Together[str, int]], Awaitable[None]]) -> None:
    async def within() -> None:
        await test(Oracle(), Together())

    asyncio.run(within())


def test_who_comes_while_a_question_is_under_way_shares_the_next_one() -> None:
    async def test(oracle: Oracle, together: Together[str, int]) -> None:
        first = asyncio.create_task(together.ask("a", oracle.ask))
        await oracle.reached(1)
        later = [asyncio.create_task(together.ask("a", oracle.ask)) for _ in range(100)]
        await asyncio.sleep(0)
        assert oracle.asked == 1, "one of a key is under way at a time"
        oracle.gates[0].set()
        assert await first == 1
        await oracle.reached(2)
        oracle.gates[1].set()
        assert await asyncio.gather(*later) == [2] * 100
        assert oracle.asked == 2
        again = asyncio.create_task(together.ask("a", oracle.ask))
        await oracle.reached(3)
        oracle.gates[2].set()
        assert await again == 3, "no answer is kept"

    run(test)


def test_who_comes_back_first_waits_for_those_with_whom_he_came() -> None:
    async def within() -> None:
        oracle, together = Oracle(), Together[str, int](patience=1000)
        first = [asyncio.create_task(together.ask("a", oracle.ask)) for _ in range(2)]
        await oracle.reached(1)
        oracle.gates[0].set()
        assert await asyncio.gather(*first) == [1, 1]
        early = asyncio.create_task(together.ask("a", oracle.ask))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.create_task(together.ask("a", oracle.ask))
        await oracle.reached(2)
        oracle.gates[1].set()
        assert await asyncio.gather(early, late) == [2, 2]

    asyncio.run(within())


def test_who_came_alone_does_not_wait() -> None:
    async def within() -> None:
        oracle, together = Oracle(), Together[str, int](patience=1e9)
        for number in (1, 2):
            asked = asyncio.create_task(together.ask("a", oracle.ask))
            await oracle.reached(number)
            oracle.gates[number - 1].set()
            assert await asked == number

    asyncio.run(within())


def test_keys_do_not_wait_for_one_another() -> None:
    async def test(oracle: Oracle, together: Together[str, int]) -> None:
        both = [asyncio.create_task(together.ask(key, oracle.ask)) for key in "ab"]
        await oracle.reached(2)
        for gate in oracle.gates:
            gate.set()
        assert sorted(await asyncio.gather(*both)) == [1, 2]

    run(test)


def test_an_error_is_that_of_all_and_ends_nothing() -> None:
    async def test(oracle: Oracle, together: Together[str, int]) -> None:
        oracle.fault = ValueError("no")
        all_of_them = [asyncio.create_task(together.ask("a", oracle.ask)) for _ in range(3)]
        await oracle.reached(1)
        oracle.gates[0].set()
        results = await asyncio.gather(*all_of_them, return_exceptions=True)
        assert [type(one) for one in results] == [ValueError] * 3
        oracle.fault = None
        again = asyncio.create_task(together.ask("a", oracle.ask))
        await oracle.reached(2)
        oracle.gates[1].set()
        assert await again == 2

    run(test)


def test_one_who_hangs_up_takes_the_answer_from_nobody() -> None:
    async def test(oracle: Oracle, together: Together[str, int]) -> None:
        gone = asyncio.create_task(together.ask("a", oracle.ask))
        stays = asyncio.create_task(together.ask("a", oracle.ask))
        await oracle.reached(1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        oracle.gates[0].set()
        assert await stays == 1

    run(test)
