"""Work that outlives its callers."""

from __future__ import annotations

import asyncio

import pytest

from score.broker.work import Work
from score.errors import Conflict, Unavailable

KEY = ("object", "upload")


class Task:
    """A task that ends when told to, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.runs += 1
        await self.go.wait()
        if self.error:
            raise self.error


async def drain() -> None:
    """Let whatever can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_asks_too_long_is_told_to_ask_again_and_the_work_goes_on() -> None:
    async def test() -> None:
        work, task = Work(hold=0), Task()
        for _ in range(3):
            with pytest.raises(Unavailable, match="still under way") as refusal:
                await work.do(KEY, "The completion", task)
            assert refusal.value.retry_after
        task.go.set()
        await drain()
        assert task.runs == 1
        await work.do(KEY, "The completion", task)
        assert task.runs == 2, "it ended well, and the next call looks again"

    asyncio.run(test())


class Hours(asyncio.SelectorEventLoop):
    """A loop whose clock goes only when it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(("later", "held"), [(30.0, True), (59.0, False)])
def test_a_caller_is_held_so_long_that_clients_neither_give_up_nor_hang_up(later: float, held: bool) -> None:
    """They ask ten times and then give up, and hang up after 60 s: the hold in force is between."""

    async def test() -> None:
        work, task = Work(), Task()
        caller = asyncio.create_task(work.do(KEY, "The completion", task))
        await drain()
        loop.now = later
        await drain()
        assert caller.done() is not held
        if held:
            task.go.set()
            await caller
        else:
            with pytest.raises(Unavailable, match="still under way"):
                await caller
        assert task.runs == 1

    loop = Hours()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(test())


def test_all_callers_learn_of_the_end() -> None:
    async def test() -> None:
        work, task = Work(), Task()
        callers = [asyncio.create_task(work.do(KEY, "The completion", task)) for _ in range(5)]
        await drain()
        callers[0].cancel()
        task.error = Conflict("A part is missing.")
        task.go.set()
        ends = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(ends[0], asyncio.CancelledError)
        assert [str(end) for end in ends[1:]] == ["A part is missing."] * 4
        task.error = None
        await work.do(KEY, "The completion", task)
        assert task.runs == 2, "a failure that was told is not told again"

    asyncio.run(test())


@pytest.mark.parametrize(("later", "told"), [(59.0, True), (61.0, False)])
def test_a_failure_that_nobody_waited_for_reaches_the_next_caller(later: float, told: bool) -> None:
    async def test() -> None:
        now = [0.0]
        work, task = Work(hold=0, clock=lambda: now[0]), Task()
        with pytest.raises(Unavailable):
            await work.do(KEY, "The completion", task)
        task.error = Conflict("A part is missing.")
        task.go.set()
        await drain()
        now[0] = later
        task.go.clear()
        with pytest.raises(Conflict if told else Unavailable):
            await work.do(KEY, "The completion", task)
        assert task.runs == (1 if told else 2)

    asyncio.run(test())
