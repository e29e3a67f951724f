"""The whole MD5, computed while parts move in any order."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import Cancelled, Integrity, ScoreError
from score.protocol.parts import MIB, Span, cut
from score.protocol.wire import Part
from score.transfer.verify import AHEAD, Follower, Prefix, Processors, Stale, in_step

DATA = random.Random(1).randbytes(3 * MIB + 17)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "a.bam"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def follower(path: Path) -> Iterator[Follower]:
    follower = Follower(FileIO(path))
    yield follower
    follower.stop()


@given(st.integers(0, 200), st.integers(1, 60), st.randoms(use_true_random=False))
def test_a_prefix_ends_where_the_first_gap_begins(total: int, size: int, dice: random.Random) -> None:
    spans = cut(Span(0, total), size)
    order = list(spans)
    dice.shuffle(order)
    prefix = Prefix(list(spans))
    done: set[Span] = set()
    for span in order:
        end = prefix.finish(span)
        done.add(span)
        missing = [other.offset for other in spans if other not in done]
        assert end == prefix.end == min(missing, default=total)


@given(size=st.integers(1, 2 * MIB), dice=st.randoms(use_true_random=False))
def test_the_md5_is_the_files_in_whatever_order_its_parts_finish(path: Path, size: int, dice: random.Random) -> None:
    spans = cut(Span(0, len(DATA)), max(size, len(DATA) // 50))
    prefix = Prefix(list(spans))
    dice.shuffle(spans)
    follower = Follower(FileIO(path))
    for span in spans:
        follower.allow(prefix.finish(span))
    assert follower.finish(len(DATA)) == hashlib.md5(DATA).hexdigest()
    follower.stop()


def test_nothing_is_read_that_was_not_allowed(tmp_path: Path) -> None:
    """The file is filled behind the follower's back: what it read too early it would have hashed as zeros."""
    path = tmp_path / "data"
    with path.open("wb") as made:
        made.truncate(len(DATA))
    follower = Follower(FileIO(path))
    with path.open("r+b") as file:
        for span in cut(Span(0, len(DATA)), 100_000):
            file.write(DATA[span.offset : span.end])
            file.flush()
            follower.allow(span.end)
    assert follower.finish(len(DATA)) == hashlib.md5(DATA).hexdigest()
    follower.stop()


def test_what_is_allowed_is_never_taken_back(follower: Follower) -> None:
    follower.allow(len(DATA))
    follower.allow(5)
    assert follower.finish(len(DATA)) == hashlib.md5(DATA).hexdigest()


def test_an_empty_file_has_an_md5(follower: Follower) -> None:
    assert follower.finish(0) == hashlib.md5(b"").hexdigest()


def test_a_file_that_shrinks_is_found(follower: Follower) -> None:
    with pytest.raises(Integrity, match=f"ends at byte {len(DATA)}, but it was longer"):
        follower.finish(len(DATA) + 1)


def test_it_can_be_given_up_and_the_file_is_closed(path: Path) -> None:
    file = FileIO(path)
    follower = Follower(file)
    follower.allow(5)
    follower.stop()
    assert file.closed
    with pytest.raises(Cancelled):
        follower.finish(len(DATA))


def test_how_far_it_is_is_told(path: Path) -> None:
    told: list[int] = []
    follower = Follower(FileIO(path), chunk=1000)
    follower.finish(len(DATA), told.append)
    follower.stop()
    assert told == sorted(told)
    assert all(0 <= read <= len(DATA) for read in told)


class TestComparing:
    """Parts that were finished before are compared on the way."""

    @staticmethod
    def parts(size: int, chosen: Callable[[int], bool] = lambda number: True) -> list[Part]:
        spans = enumerate(cut(Span(0, len(DATA)), size), 1)
        return [
            Part(
                part_number=number,
                part_size=span.length,
                offset=span.offset,
                source_md5=hashlib.md5(DATA[span.offset : span.end]).hexdigest(),
            )
            for number, span in spans
            if chosen(number)
        ]

    @given(size=st.integers(50_000, 2 * MIB), chunk=st.integers(1, 5).map(lambda n: n * 99_991), dice=st.randoms())
    def test_whichever_were_finished(self, path: Path, size: int, chunk: int, dice: random.Random) -> None:
        parts = self.parts(size, lambda number: dice.random() < 0.5)
        dice.shuffle(parts)
        follower = Follower(FileIO(path), chunk, parts)
        assert follower.finish(len(DATA)) == hashlib.md5(DATA).hexdigest()
        follower.stop()
        if parts:
            wrong = dice.randrange(len(parts))
            parts[wrong] = parts[wrong].changed(source_md5="0" * 32)
            follower = Follower(FileIO(path), chunk, parts)
            with pytest.raises(Stale, match=f"Part {parts[wrong].part_number} does not hold"):
                follower.finish(len(DATA))
            follower.stop()

    def test_who_is_about_to_move_more_is_told(self, path: Path) -> None:
        wrong = [part.changed(source_md5="0" * 32) for part in self.parts(MIB)]
        follower = Follower(FileIO(path), finished=wrong)
        follower.allow(MIB)
        with pytest.raises(Stale):
            follower.wait_for(len(DATA), lambda: None)
        follower.stop()


class TestProcessors:
    """Whether there is time to spare."""

    def test_who_is_left_alone_takes_no_longer_than_it_computes(self) -> None:
        processors = Processors()
        processors.tell(wall=9.0, cpu=0.1)
        assert processors.to_spare, "too little was seen"
        processors.tell(wall=0.1, cpu=0.1)
        assert not processors.to_spare
        processors.tell(wall=0.21, cpu=0.2)
        assert processors.to_spare

    def test_hashing_is_seen(self, path: Path) -> None:
        seen = []
        follower = Follower(FileIO(path), MIB, timed=lambda *times: seen.append(times))
        follower.finish(len(DATA))
        follower.stop()
        assert len(seen) == -(-len(DATA) // MIB)
        assert all(wall > 0 and cpu >= 0 for wall, cpu in seen)


class TestWaiting:
    """Who is far ahead waits for it."""

    def test_until_it_has_read_so_far(self, follower: Follower) -> None:
        assert not follower.wait_for(0, pytest.fail)
        assert not follower.wait_for(-MIB, pytest.fail)
        follower.allow(2 * MIB)
        follower.wait_for(MIB, lambda: None)
        assert follower.keeps_up(MIB)

    def test_but_not_for_what_nobody_brings(self, follower: Follower) -> None:
        """A part that hangs must not stop all others."""
        follower.allow(MIB)
        assert follower.wait_for(2 * MIB, lambda: None)

    def test_nor_when_it_is_given_up(self, path: Path) -> None:
        follower = Follower(FileIO(path))
        follower.allow(MIB)
        follower.stop()
        assert not follower.wait_for(2 * MIB, pytest.fail)

    def test_the_wish_to_stop_is_heard(self, tmp_path: Path) -> None:
        """While it reads from a file that gives nothing."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = os.open(pipe, os.O_RDWR)

        class Endless(FileIO):
            def seek(self, *_: object) -> int:
                return 0

        follower = Follower(Endless(pipe))
        try:
            follower.allow(MIB)

            def stop() -> None:
                raise Cancelled("Stopped.")

            with pytest.raises(Cancelled):
                follower.wait_for(MIB, stop)
        finally:
            os.write(writer, b"x")
            os.close(writer)
            with contextlib.suppress(ScoreError):
                follower.stop()


def parts(size: int, count: int, *, at: int = 0) -> list[Part]:
    """``count`` parts of ``size`` bytes from byte ``at`` of a file on."""
    return [Part(part_number=number + 1, part_size=size, offset=at + number * size) for number in range(count)]


class TestStep:
    """How far the whole MD5 has to be before a part is begun."""

    def test_is_a_bounded_way_behind_what_was_moved(self) -> None:
        wanted = parts(20 * MIB, 50)
        assert list(in_step(wanted, 6)) == [(part, part.offset - AHEAD) for part in wanted]

    def test_is_not_hindered_by_what_was_there_before(self) -> None:
        """The rest of a file of a terabyte does not wait until a terabyte has been read."""
        wanted = parts(20 * MIB, 50, at=2**40)
        assert [place for _, place in in_step(wanted, 6)] == [place for _, place in in_step(parts(20 * MIB, 50), 6)]

    @pytest.mark.parametrize("size", [MIB, 20 * MIB, 1024 * MIB])
    def test_never_keeps_the_first_parts_waiting(self, size: int) -> None:
        places = [place for _, place in in_step(parts(size, 20), 6)]
        assert max(places[:7]) <= 0
        assert places == sorted(places)

    def test_of_nothing(self) -> None:
        assert list(in_step([], 6)) == []
