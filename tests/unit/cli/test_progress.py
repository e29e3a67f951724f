"""What a person, or a log, sees of a transfer."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from score.cli.progress import Live, Screen, make
from score.client.outcome import Outcome, State
from score.client.settings import Display
from score.errors import Cancelled, NoSpace, NotFound, Refused, Unavailable
from score.transfer.events import Ended, Moved, Note, PartDone, Planned, Verifying, Waiting


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


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
    error = Refused("No.") if state == State.FAILED else None
    screen.ended(Outcome("one", State(state), Path(item), 3 * 1024, error=error))


def test_plain_lines(out: io.StringIO) -> None:
    with Screen(out) as screen:
        tell(screen)
    assert out.getvalue().splitlines() == [
        "out/a.bam: going on, 1 of 3 parts (1.0 KiB) are finished",
        "out/a.bam: part 2: retry 1/9 in 1.5 s: GET http://store/x: the store answered 503",
        "out/a.bam: something",
        "out/a.bam: downloaded, 3.0 KiB",
    ]


def test_an_error_that_ends_the_rest_is_told_once(out: io.StringIO) -> None:
    away = Unavailable("not begun: http://score is away.", hint="Later.")
    with Screen(out) as screen:
        screen.ended(Outcome("one", State.FAILED, Path("a.bam"), error=Unavailable("No answer.")))
        for number in range(1001):
            screen.ended(Outcome(str(number), State.FAILED, Path(f"{number}.bam"), error=away))
        screen.conclude()
    assert out.getvalue().splitlines() == [
        "a.bam: failed: No answer.",
        "0.bam: failed: not begun: http://score is away.",
        "Error: a.bam: No answer.",
        "Error: 1,001 files: not begun: http://score is away.",
        "  Later.",
        "1002 files: 1002 failed.",
    ]


def test_an_error_of_one_file_that_ends_the_rest_names_that_file(out: io.StringIO) -> None:
    full = NoSpace("0.bam: No space left on device.", hint="Free some space.")
    with Screen(out, progress=False) as screen:
        for number in range(1001):
            screen.ended(Outcome(str(number), State.FAILED, Path(f"{number}.bam"), error=full))
        screen.conclude()
    assert out.getvalue().splitlines() == [
        "Error: 0.bam: No space left on device.",
        "  It stands for 1,000 more files.",
        "  Free some space.",
        "1001 files: 1001 failed.",
    ]


def test_what_is_not_finished_takes_no_line_each(out: io.StringIO) -> None:
    with Screen(out) as screen:
        for number in range(3):
            screen.ended(Outcome(str(number), State.UNFINISHED, error=Cancelled("Interrupted.")))
    assert out.getvalue() == ""


def test_silence_is_silent_but_for_failures(out: io.StringIO) -> None:
    screen = make(Display(silent=True), out)
    tell(screen)
    screen.conclude()
    assert out.getvalue() == ""
    screen.ended(Outcome("one", State.FAILED, error=NotFound("one: not there.", hint="Look elsewhere.")))
    screen.conclude()
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
        screen.conclude()
    assert "out/a.bam: downloaded" in out.getvalue()
    assert "[bold].bam: downloaded" in out.getvalue().replace("\n", "")
    assert "3 files: 2 downloaded, 1 failed" in out.getvalue()


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
    screen = make(Display(quiet=True), out)
    for outcome in (
        Outcome("one", State.UPLOADED, Path("a.bam"), 5),
        Outcome("two", State.FAILED, Path("b.bam"), error=NotFound("b.bam: No such file.")),
        Outcome("three", State.FAILED, Path("c.bam"), error=Refused("The server said no.", hint="Ask.")),
        Outcome("four", State.FAILED, error=NotFound("No such object.")),
    ):
        screen.ended(outcome)
    screen.conclude()
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
    screen.conclude()
    closed = io.StringIO()
    closed.close()
    tell(Screen(closed))


def test_a_failure_is_told_when_it_happens(out: io.StringIO) -> None:
    screen = Screen(out)
    screen.ended(Outcome("two", State.FAILED, Path("b.bam"), error=NotFound("b.bam: No such file.")))
    screen.ended(Outcome("four", State.FAILED, error=NotFound("No such object.")))
    assert out.getvalue() == "Failed: b.bam: No such file.\nfour: failed: No such object.\n"


def test_quiet_tells_notes_and_the_sum_only(out: io.StringIO) -> None:
    screen = make(Display(quiet=True), out)
    tell(screen)
    screen.conclude()
    lines = out.getvalue().splitlines()
    assert lines[0] == "out/a.bam: something"
    assert lines[1].startswith("1 file: 1 downloaded")
    assert len(lines) == 2


def test_a_log_gets_a_line_now_and_then_also_while_everything_waits() -> None:
    class Log(io.StringIO):
        def write(self, text: str) -> int:
            if "waiting" in text:
                came.set()
            return super().write(text)

    came = Event()
    log = Log()
    with Screen(log, every=0.01) as screen:
        screen.expect(3, 9 * 1024)
        screen(Planned("out/a.bam", 3 * 1024, 3))
        screen(Waiting("out/a.bam: part 2", "the store answered 503.", 100, 1, 10))
        assert came.wait(60)
    assert "0/3 files, 0 B of 9.0 KiB, 0 B/s; 1 waiting: retry 1/9 in " in log.getvalue()


def test_many_waits_at_once_are_no_flood(out: io.StringIO) -> None:
    screen = Screen(out)
    for part in range(100):
        screen(Waiting(f"out/a.bam: part {part}", "the store answered 503.", 1.5, 1, 10))
    assert out.getvalue().count("retry") < 10
