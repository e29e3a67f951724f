"""How far a run is, in lines of a given width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.cli.tally import Tally, cells, duration, fit, size
from score.transfer.events import ENDLESS, Checked, Ended, Event, Moved, PartDone, Planned, Verifying, Waiting

MIB = 1024 * 1024
GIB = 1024 * MIB


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


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("sample_17_R1.fastq.gz", 30, "sample_17_R1.fastq.gz"),
        ("sample_17_R1.fastq.gz", 11, "sampl…tq.gz"),
        ("試料試料試料", 7, "試料…料"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
    ],
)
def test_names_are_cut_in_the_middle(text: str, width: int, shown: str) -> None:
    assert fit(text, width) == shown


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40), st.integers(0, 30))
def test_no_name_is_wider_than_its_room(text: str, width: int) -> None:
    assert cells(fit(text, width)) <= width


def after(*events: tuple[float, Event], files: int | None = None, total: int | None = None) -> Tally:
    tally = Tally(0.0)
    tally.files, tally.size = files, total
    for now, event in events:
        tally.take(event, now)
    return tally


class TestChecking:
    """Reading that moves nothing: MD5s before an upload, finished parts, files that are there."""

    READING = (
        (0.0, Planned("a.bam", 4 * GIB, 1)),
        (1.0, Checked("a.bam", GIB)),
        (2.0, Checked("a.bam", GIB)),
    )

    def test_what_is_done_and_how_fast(self) -> None:
        tally = after(*self.READING, files=1, total=4 * GIB)
        assert tally.summary(2.0) == "0/1 file, checking 2.0 GiB of 4.0 GiB, 1.0 GiB/s, 0:02 left"
        assert tally.lines(70, 10, 2.0)[0].split() == ["a.bam", "█████·····", "50%", "4.0", "GiB", "checking"]
        assert tally.moved == 0

    def test_when_it_moves_after_that_it_begins_at_nothing(self) -> None:
        tally = after(*self.READING, (3.0, Planned("a.bam", 4 * GIB, 4)), files=1, total=4 * GIB)
        assert tally.summary(3.0).startswith("0/1 file, 0 B of 4.0 GiB")
        tally.take(Moved("a.bam", GIB), 4.0)
        assert tally.summary(4.0).startswith("0/1 file, 1.0 GiB of 4.0 GiB")
        assert "0/4 parts" in tally.lines(70, 10, 4.0)[0]

    def test_what_need_not_move_then_counts_once(self) -> None:
        tally = after(*self.READING, (3.0, Ended("a.bam", "already there")), files=1, total=4 * GIB)
        tally.skip(4 * GIB)
        assert tally.done == 4 * GIB


BUSY = (
    (0.0, Planned("out/a.bam", 10 * GIB, 100, 2 * GIB, 20)),
    (0.0, Planned("out/b.bam", GIB, 10)),
    (5.0, Moved("out/a.bam", 500 * MIB)),
    (10.0, Moved("out/a.bam", 500 * MIB)),
    (10.0, PartDone("out/a.bam", 21)),
    (10.0, Verifying("out/b.bam")),
)


def test_the_whole_run_in_one_line() -> None:
    tally = after(*BUSY, files=20, total=50 * GIB)
    assert tally.summary(10.0) == "0/20 files, 3.0 GiB of 50.0 GiB, 100.0 MiB/s, 8:02 left"


def test_without_the_number_of_files_there_is_no_end() -> None:
    assert after(*BUSY).summary(10.0) == "0 files, 3.0 GiB, 100.0 MiB/s"


def test_once_all_files_have_begun_the_end_is_known() -> None:
    assert after(*BUSY, files=2).total == 11 * GIB


def test_the_rate_is_that_of_late() -> None:
    tally = after((0.0, Planned("a", GIB, 1)), (1.0, Moved("a", 500 * MIB)))
    for second in range(2, 100):
        tally.take(Moved("a", MIB), second)
    assert 0.5 * MIB < tally.rate(99.0) < 2 * MIB


def test_what_is_there_already_counts_as_done_but_not_as_moved() -> None:
    tally = after(files=2, total=3 * GIB)
    tally.take(Ended("a", "already there"), 1.0)
    tally.skip(GIB)
    assert (tally.done, tally.moved, tally.ended) == (GIB, 0, 1)


def test_bytes_that_are_checked_do_not_move() -> None:
    tally = after((0.0, Planned("a", GIB, 1)), (1.0, Checked("a", GIB)))
    assert (tally.done, tally.moved) == (GIB, 0)
    assert tally.rate(1.0) > 0
    tally.take(Checked("a", GIB), 2.0)
    assert tally.done == GIB, "read twice, to find what is damaged"


def test_how_far_the_md5_of_the_whole_file_is() -> None:
    tally = after((0.0, Planned("a", GIB, 10, GIB - 1, 9)), (1.0, Moved("a", 1)), (2.0, Verifying("a", GIB // 4)))
    (row, whole) = tally.lines(79, 24, 2.0)
    assert (" 25% " in row, "checking MD5" in row) == (True, True)
    assert "checking 1.0 GiB" in whole


def test_the_display_of_a_wide_terminal() -> None:
    tally = after(*BUSY, files=20, total=50 * GIB)
    tally.take(Waiting("out/a.bam: part 9", "503 from the store.", 8, 3, 10), 10.0)
    tally.take(Waiting("out/a.bam: part 10", "503 from the store.", 5, 1, 10), 10.0)
    assert tally.lines(79, 24, 10.0) == [
        "out/a.bam                                ██········  29%  10.0 GiB 21/100 parts",
        "out/b.bam                                ··········   0%   1.0 GiB checking MD5",
        "retry 3/9 in 8.0 s: 503 from the store (and 1 more)",
        "0/20 files, 3.0 GiB of 50.0 GiB, 100.0 MiB/s, 8:02 left",
    ]
    assert len(tally.lines(79, 24, 30.0)) == 3, "a wait is over when its time is"


def test_the_display_of_20_columns() -> None:
    tally = after(*BUSY, files=20, total=50 * GIB)
    why = "GET http://store/objects/x: the store answered 503 SlowDown."
    tally.take(Waiting("out/a.bam: part 9", why, 8, 3, 10), 10.0)
    assert tally.lines(60, 10, 10.0)[2] == "retry 3/9 in 8.0 s: the store answered 503 SlowDown"
    assert tally.lines(20, 10, 10.0) == [
        "out/a.bam        29%",
        "out/b.bam         0%",
        "8.0 s: 503 SlowDown",
        "0/20, 5%, 8:02",
    ]


def test_before_anything_is_known() -> None:
    tally = after()
    assert tally.lines(79, 24, 0.5) == []
    assert tally.lines(79, 24, 5.0) == ["waiting for an answer"]
    tally.take(Waiting("asking", "GET http://score: no connection.", 8, 1, 10), 5.0)
    assert tally.lines(79, 24, 5.0) == ["retry 1/9 in 8.0 s: GET http://score: no connection"]
    tally.take(Waiting("asking", "GET http://score: no connection.", 8, 1, ENDLESS), 5.0)
    assert tally.lines(79, 24, 5.0) == ["retry 1 in 8.0 s: GET http://score: no connection"]
    tally.files = 3
    assert tally.lines(79, 24, 15.0) == ["0/3 files, 0 B, 0 B/s"]


def test_more_files_than_rows() -> None:
    tally = after(*((0.0, Planned(f"out/{number}.bam", GIB, 1)) for number in range(30)))
    lines = tally.lines(60, 8, 1.0)
    assert len(lines) == 7
    assert lines[-2] == "… and 25 more files"


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 30), st.booleans())
def test_it_never_leaves_its_place(width: int, height: int, count: int, waits: bool) -> None:
    tally = after(*((0.0, Planned(f"out/試料{number}.bam", GIB, 1)) for number in range(count)), files=40, total=GIB)
    if waits:
        tally.take(Waiting("x", "why " * 100, 8, 3, 10), 0.0)
    lines = tally.lines(width, height, 1.0)
    assert len(lines) <= max(height - 1, 1)
    assert all(cells(line) <= width for line in lines)
