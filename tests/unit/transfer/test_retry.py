"""When a failed call is made again, and after how long."""

from __future__ import annotations

import contextlib
import sys
import threading
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import (
    Cancelled,
    Conflict,
    Expired,
    Integrity,
    Invalid,
    NotFound,
    Refused,
    ScoreError,
    Unauthenticated,
    Unavailable,
)
from score.transfer.events import ENDLESS, Event, Waiting, ignore
from score.transfer.retry import LATER, LONGEST_WAIT, Damaged, Exhausted, Patience, Stop, persist

NOW = Patience(attempts=4, first_wait=0)


class Call:
    """Fails with the given errors, one after another, then answers."""

    def __init__(self, *errors: ScoreError) -> None:
        self.errors = list(errors)
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (5, 8, 16), (6, 15, 30), (100, 15, 30)]
)
def test_waits_double_up_to_the_longest(failures: int, least: float, most: float) -> None:
    patience = Patience()
    assert patience.wait(failures, 0.0) == least
    assert patience.wait(failures, 1.0) == most


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e9), st.floats(0, 100))
def test_no_wait_is_too_long_and_none_shorter_than_asked_for(
    failures: int, dice: float, asked: float | None, first: float
) -> None:
    patience = Patience(first_wait=first)
    wait = patience.wait(failures, dice, asked)
    assert 0 <= wait <= LONGEST_WAIT * 1.25
    assert wait >= min(asked or 0, LONGEST_WAIT)
    assert wait >= min(first, patience.longest) / 2


@pytest.mark.parametrize("asked", [None, 7.0, 1e9])
def test_those_that_failed_together_come_back_apart(asked: float | None) -> None:
    """Also where the server told all of them the same."""
    first, last = (Patience(first_wait=4).wait(1, dice, asked) for dice in (0.0, 0.999))
    assert last - first > min(asked or 4, LONGEST_WAIT) * 0.24


@pytest.mark.parametrize("error", [Unavailable("away"), Damaged("flipped")])
def test_what_may_pass_is_tried_again(error: ScoreError) -> None:
    call = Call(error, error, error)
    assert persist(call, "it", NOW, Stop(), ignore) == "done"
    assert call.made == 4


@pytest.mark.parametrize(
    "error",
    [
        Refused("no"),
        Invalid("no"),
        NotFound("no"),
        Conflict("no"),
        Expired("no"),
        Unauthenticated("no"),
        Integrity("no"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(error: ScoreError) -> None:
    call = Call(error)
    with pytest.raises(type(error)):
        persist(call, "it", NOW, Stop(), ignore)
    assert call.made == 1


def test_patience_ends() -> None:
    call = Call(*(Unavailable("The store is away", hint="Later.", retry_after=0) for _ in range(9)))
    with pytest.raises(Unavailable, match=r"The store is away \(gave up after 4 tries\) Later\.") as caught:
        persist(call, "it", NOW, Stop(), ignore)
    assert call.made == 4
    assert caught.value.retry_after == 0


def test_one_attempt_is_one_attempt() -> None:
    call = Call(Damaged("flipped"))
    with pytest.raises(Integrity, match=r"flipped \(tried once\)"):
        persist(call, "it", Patience(attempts=1), Stop(), ignore)
    assert call.made == 1


def test_patience_is_not_multiplied_by_calls_within_calls() -> None:
    inner = Call(*(Unavailable("away") for _ in range(99)))
    with pytest.raises(Exhausted) as caught:
        persist(lambda: persist(inner, "inner", NOW, Stop(), ignore), "outer", NOW, Stop(), ignore)
    assert inner.made == 4
    assert str(caught.value).count("gave up") == 1


def test_every_wait_is_told() -> None:
    events: list[Event] = []
    persist(Call(Unavailable("one"), Damaged("two")), "a.bam: part 3", NOW, Stop(), events.append)
    assert events == [Waiting("a.bam: part 3", "one", 0, 1, 4), Waiting("a.bam: part 3", "two", 0, 2, 4)]


def test_the_servers_word_on_waiting_is_kept_to() -> None:
    events: list[Event] = []
    stop = Stop()

    def listen(event: Event) -> None:
        events.append(event)
        stop.set()

    with pytest.raises(Cancelled):
        persist(Call(Unavailable("busy", retry_after=7)), "it", NOW, stop, listen)
    (event,) = events
    assert isinstance(event, Waiting)
    assert 7 <= event.seconds <= 7 * 1.25
    assert event == Waiting("it", "busy", event.seconds, 1, 4)


def test_a_wait_ends_when_the_user_asks_to_stop() -> None:
    stop = Stop()
    patience = Patience(attempts=2, first_wait=30)
    waiting = threading.Event()
    call = Call(Unavailable("away"), Unavailable("away"))
    ends: list[BaseException] = []

    def run() -> None:
        try:
            persist(call, "it", patience, stop, lambda event: waiting.set())
        except Cancelled as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert waiting.wait(30)
    stop.set()
    thread.join(14)  # the wait is of 15 to 30 seconds
    assert not thread.is_alive()
    assert len(ends) == 1
    assert call.made == 1


def test_a_handler_of_signals_may_ask_whatever_it_interrupts() -> None:
    """It runs between two lines of the thread that sleeps: here between any two, one after the other."""

    def sleep(asked_at: int) -> int:
        """The number of lines that were gone through."""
        stop, gone = Stop(), 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal gone
            gone += event == "line"
            if event == "line" and gone == asked_at:
                stop.set()
            return trace

        sys.settrace(trace)
        try:
            with contextlib.suppress(Cancelled):
                stop.sleep(0)
        finally:
            sys.settrace(None)
        return gone

    def run() -> None:
        for line in range(1, sleep(0)):
            sleep(line)
        ended.set()

    ended = threading.Event()
    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(20)


def test_nothing_is_begun_after_the_wish_to_stop() -> None:
    stop = Stop()
    stop.set()
    call = Call()
    with pytest.raises(Cancelled):
        persist(call, "it", NOW, stop, ignore)
    assert call.made == 0


def test_when_patience_ends_it_is_said_what_to_do() -> None:
    for error, hint in (
        (Unavailable("GET http://score/x: no connection"), LATER),
        (Unavailable("x", hint="Look there."), "Look there."),
    ):
        with pytest.raises(Exhausted) as caught:
            persist(Call(*[error] * NOW.attempts), "it", NOW, Stop(), ignore)
        assert caught.value.hint == hint


def test_a_wait_as_a_line_names_no_limit_where_there_is_none() -> None:
    assert str(Waiting("asking", "no connection.", 8, 1, 10)) == "asking: no connection. Once more in 8 s (1/10)."
    assert str(Waiting("asking", "no connection.", 8, 1, ENDLESS)) == "asking: no connection. Once more in 8 s (1)."
