"""What a person, or a log, sees of a transfer."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from score.cli.progress import Live, Screen, duration, make, size
from score.client.outcome import Outcome, State
from score.client.settings import Display
from score.errors import NotFound, Refused
from score.transfer.events import Ended, Moved, Note, PartDone, Planned, Verifying, Waiting


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (5 * 2**40, "5.00 TiB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (9.4, "0:09"), (309, "5:09"), (7509, "2:05:09")])
def test_times_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def tell(screen: Screen, item: str = "out/a.bam", state: str = State.DOWNLOADED) -> None:
    """All events of one file."""
    for event in (
        Planned(item, 3 * 1024, 3, 1024, 1),
        Moved(item, 1024),
        Moved(item, -1024),
        Waiting(f"{item}: part 2", "GET http://store/x: the store answered 503.", 1.5, 1, 10),
        Moved(item, 2048),
        PartDone(item, 2),
        PartDone(item, 3),
        Note(item, "something"),
        Verifying(item),
        Ended(item, state, "why"),
    ):
        screen(event)


def test_plain_lines(out: io.StringIO) -> None:
    with Screen(out) as screen:
        tell(screen)
    assert out.getvalue().splitlines() == [
        "out/a.bam: going on, 1 of 3 parts (1.0 KiB) are finished",
        "out/a.bam: part 2: GET http://store/x: the store answered 503; trying again in 1.5 s (1 of 9)",
        "out/a.bam: something",
        "out/a.bam: downloaded, 3.0 KiB",
    ]


def test_silence_is_silent_but_for_failures(out: io.StringIO) -> None:
    screen = make(Display(silent=True), out)
    tell(screen)
    screen.conclude([Outcome("one", State.DOWNLOADED)])
    assert out.getvalue() == ""
    screen.conclude([Outcome("one", State.FAILED, error=NotFound("one: not there.", hint="Look elsewhere."))])
    assert out.getvalue().splitlines()[:2] == ["Error: one: not there.", "  Look elsewhere."]


@pytest.mark.parametrize(
    ("display", "terminal", "moving"),
    [
        (Display(), True, True),
        (Display(), False, False),
        (Display(ansi=True), False, True),
        (Display(ansi=False), True, False),
        (Display(quiet=True), True, False),
        (Display(silent=True, ansi=True), True, False),
    ],
)
def test_the_display_fits_the_terminal_and_the_settings(display: Display, terminal: bool, moving: bool) -> None:
    assert isinstance(make(display, Terminal() if terminal else io.StringIO()), Live) is moving


def test_a_moving_display_takes_every_event() -> None:
    out = Terminal()
    with Live(out) as screen:
        tell(screen)
        tell(screen, "out/" + "x" * 100 + "[bold].bam")
        tell(screen, "out/b.bam", State.FAILED)
        screen(Moved("never planned", 5))
        screen.conclude([Outcome("one", State.DOWNLOADED, Path("out/a.bam"), 3072)])
    assert "out/a.bam: downloaded" in out.getvalue()
    assert "[bold].bam: downloaded" in out.getvalue().replace("\n", "")
    assert "1 file: 1 downloaded" in out.getvalue()


@pytest.mark.parametrize("live", [False, True])
def test_events_may_come_from_many_threads(live: bool) -> None:
    out = Terminal()
    with Live(out) if live else Screen(out) as screen:
        screen(Planned("a.bam", 10**9, 1000))

        def work(number: int) -> None:
            for _ in range(100):
                screen(Moved("a.bam", 7))
                screen(Moved("a.bam", -3))
            screen(PartDone("a.bam", number))
            tell(screen, f"{number}.bam")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(50)))
        screen(Ended("a.bam", State.DOWNLOADED))
    text = out.getvalue()
    assert all(f"{number}.bam: downloaded" in text for number in range(50))


def test_failures_are_named_in_the_end_with_what_to_do(out: io.StringIO) -> None:
    screen = Screen(out)
    screen.conclude(
        [
            Outcome("one", State.UPLOADED, Path("a.bam"), 5),
            Outcome("two", State.FAILED, Path("b.bam"), error=NotFound("b.bam: No such file.")),
            Outcome("three", State.FAILED, Path("c.bam"), error=Refused("The server said no.", hint="Ask.")),
            Outcome("four", State.FAILED, error=NotFound("No such object.")),
        ]
    )
    lines = out.getvalue().splitlines()
    assert lines[:4] == [
        "Error: b.bam: No such file.",
        "Error: c.bam: The server said no.",
        "  Ask.",
        "Error: four: No such object.",
    ]
    assert lines[4].startswith("4 files: 1 uploaded")
    assert "3 failed" in lines[4]


def test_a_terminal_that_goes_away_ends_no_transfer() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = Screen(Gone())
    tell(screen)
    screen.conclude([Outcome("four", State.FAILED, error=NotFound("No such object."))])
    closed = io.StringIO()
    closed.close()
    tell(Screen(closed))
