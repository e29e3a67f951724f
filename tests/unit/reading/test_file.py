"""A remote object as a file of Python, next to the same bytes in a local one."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from score.errors import NotFound
from score.reading import RemoteFile, RemoteObject
from score.testing.score import FaultyScore

OBJECT = "9a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"
DICE = random.Random(21)
LINES = b"".join(DICE.randbytes(DICE.randrange(300)).replace(b"\n", b" ") + b"\n" for _ in range(500)) + b"no end"


@pytest.fixture
def file(site: FaultyScore, open_object: Callable[..., RemoteObject]) -> Iterator[RemoteFile]:
    site.fake.add(OBJECT, LINES)
    with RemoteFile(open_object()) as file:
        yield file


def test_one_that_cannot_be_opened_is_closed_without_a_word(open_object: Callable[..., RemoteObject]) -> None:
    """Python closes it when it is let go of, and tells of what goes wrong then."""
    file = RemoteFile.__new__(RemoteFile)
    with pytest.raises(NotFound):
        RemoteFile.__init__(file, open_object())
    file.close()


SIZES = st.integers(-1, 2000)
STEPS = st.one_of(
    st.tuples(st.just("read"), SIZES),
    st.tuples(st.just("readline"), SIZES),
    st.tuples(st.just("readinto"), st.integers(0, 2000)),
    st.tuples(st.just("seek"), st.integers(0, len(LINES) + 50)),
    st.tuples(st.just("skip"), st.integers(0, 500)),
    st.tuples(st.just("from_end"), st.integers(-500, 5)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(steps=st.lists(STEPS, max_size=15))
def test_it_does_what_a_local_file_does(file: RemoteFile, steps: list[tuple[str, int]]) -> None:
    local = io.BytesIO(LINES)
    for other in (file, local):
        other.seek(0)
    for name, number in steps:
        answers = []
        for other in (file, local):
            match name:
                case "readinto":
                    buffer = bytearray(number)
                    answers.append((other.readinto(buffer), bytes(buffer)))
                case "skip":
                    answers.append(other.seek(number, os.SEEK_CUR))
                case "from_end":
                    answers.append(other.seek(number, os.SEEK_END))
                case _:
                    answers.append(getattr(other, name)(number))
            answers.append(other.tell())
        assert answers[:2] == answers[2:], name


def test_lines_and_buffers(file: RemoteFile) -> None:
    assert list(file) == io.BytesIO(LINES).readlines()
    file.seek(0)
    assert io.BufferedReader(file, 1000).read() == LINES


def test_readers_of_other_libraries(site: FaultyScore, open_object: Callable[..., RemoteObject]) -> None:
    site.fake.add(OBJECT, gzip.compress(LINES))
    with RemoteFile(open_object()) as file, gzip.open(file) as unpacked:
        assert unpacked.read() == LINES


def test_read_at_leaves_the_position(file: RemoteFile) -> None:
    file.seek(10)
    assert file.read_at(100, 20) == LINES[100:120]
    assert file.tell() == 10


def test_what_it_says_of_itself(file: RemoteFile) -> None:
    assert (file.name, file.size, file.object_id, file.mode) == ("reads.bam", len(LINES), OBJECT, "rb")
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    assert repr(file) == f"<RemoteFile reads.bam, {len(LINES):,} bytes>"


def test_places_before_the_start_are_refused(file: RemoteFile) -> None:
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)
    with pytest.raises(ValueError, match="whence"):
        file.seek(0, 7)


def test_a_closed_file_reads_nothing(file: RemoteFile) -> None:
    file.close()
    file.close()
    assert file.closed
    for use in (file.read, file.tell, file.readline, lambda: file.seek(0), lambda: file.read_at(0, 1)):
        with pytest.raises(ValueError, match="closed"):
            use()
