"""What is remembered of tokens, for how long, and that it is never more than it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from score.auth.base import Identity
from score.auth.cache import Remembered
from score.errors import Unauthenticated, Unavailable

NOW = 1_000_000.0


class Oracle:
    """An authorizer that says what the test told it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.expires: float | None = None
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def identify(self, token: str) -> Identity:
        self.asked.append(token)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Identity("someone", frozenset({token}), "", self.expires)

    async def probe(self) -> str:
        return f"probe {len(self.asked)}"

    async def close(self) -> None:
        self.asked.append("closed")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(test: Callable[[Oracle, Remembered, Clock], Awaitable[None]], seconds: float = 30) -> None:
    async def main() -> None:
        oracle, clock = Oracle(), Clock()
        await test(oracle, Remembered(oracle, seconds, clock, lambda: NOW + clock.now), clock)

    asyncio.run(main())


def test_an_answer_is_used_again_for_a_while() -> None:
    """Claim: a revocation is noticed after auth.cache.seconds at the latest."""

    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        for clock.now in (0, 10, 29.9):
            assert (await remembered.identify("a")).scopes == {"a"}
        assert oracle.asked == ["a"]
        oracle.error = Unauthenticated("revoked")
        clock.now = 30
        with pytest.raises(Unauthenticated):
            await remembered.identify("a")

    run(test)


def test_never_beyond_the_end_of_the_token() -> None:
    """Claim: a key or JWT that expires is refused from that moment on, whatever is remembered."""

    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        oracle.expires = NOW + 5
        for clock.now in (0, 4.9, 5, 5.1):
            await remembered.identify("a")
        assert oracle.asked == ["a"] * 3

    run(test)


def test_a_token_that_ended_while_the_machine_slept() -> None:
    """Claim: the end of a token counts by the time of day, also where the clock of the process stood still."""

    async def main() -> None:
        oracle, day = Oracle(), NOW
        oracle.expires = NOW + 20
        remembered = Remembered(oracle, 30, lambda: 0.0, lambda: day)
        await remembered.identify("a")
        day = NOW + 19.9
        await remembered.identify("a")
        assert oracle.asked == ["a"]
        day = NOW + 20
        await remembered.identify("a")
        assert oracle.asked == ["a", "a"]

    asyncio.run(main())


def test_the_time_begins_with_the_question() -> None:
    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        oracle.gate.clear()
        asking = asyncio.create_task(remembered.identify("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.now = 40
        oracle.gate.set()
        await asking
        await remembered.identify("a")
        assert oracle.asked == ["a", "a"]

    run(test)


@pytest.mark.parametrize("error", [Unauthenticated("no"), Unavailable("away")])
def test_refusals_and_failures_are_not_remembered(error: Exception) -> None:
    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        oracle.error = error
        for _ in range(2):
            with pytest.raises(type(error)):
                await remembered.identify("a")
        oracle.error = None
        assert (await remembered.identify("a")).scopes == {"a"}
        assert len(oracle.asked) == 3

    run(test)


def test_each_token_has_its_own_answer() -> None:
    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        for token in ("a", "A", "a ", "b", "a", "b"):
            assert (await remembered.identify(token)).scopes == {token}
        assert len(oracle.asked) == 4

    run(test)


def test_many_at_once_ask_once_and_one_that_leaves_harms_no_other() -> None:
    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        oracle.gate.clear()
        asking = [asyncio.create_task(remembered.identify("a")) for _ in range(10)]
        await asyncio.sleep(0)
        asking[0].cancel()
        oracle.gate.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(isinstance(answer, Identity) for answer in answers[1:])
        assert oracle.asked == ["a"]

    run(test)


def test_memory_holds_no_tokens_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim: tokens are remembered by their hash only."""
    monkeypatch.setattr("score.auth.cache._MOST", 3)

    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        for token in "abcda":
            await remembered.identify(token * 20)
        assert len(oracle.asked) == 5
        assert len(remembered._known) == 3
        assert all(isinstance(key, bytes) and len(key) == 32 for key in remembered._known)

    run(test)


def test_the_probe_is_never_remembered() -> None:
    async def test(oracle: Oracle, remembered: Remembered, clock: Clock) -> None:
        assert await remembered.probe() == "probe 0"
        await remembered.identify("a")
        assert await remembered.probe() == "probe 1"
        await remembered.close()
        assert oracle.asked[-1] == "closed"

    run(test)
