"""Local files at both ends of a transfer."""

from __future__ import annotations

import errno
import hashlib
import os
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import Cancelled, Conflict, Integrity, Invalid, NoSpace, NotFound, Refused, ScoreError
from score.protocol.parts import MIB, Span
from score.transfer.files import (
    CHUNK,
    Source,
    Target,
    allocated,
    check_space,
    is_there,
    md5_of_span,
    read_span,
    translate,
    write_all,
)

DATA = bytes(range(256)) * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bam"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.ENOENT, NotFound),
        (errno.ENOTDIR, NotFound),
        (errno.EACCES, Refused),
        (errno.EROFS, Refused),
        (errno.EIO, Refused),
    ],
)
def test_a_failed_call_names_the_file_and_the_reason(number: int, kind: type[ScoreError]) -> None:
    error = translate(OSError(number, "x"), "/data/a.bam")
    assert type(error) is kind
    assert error.message == f"/data/a.bam: {os.strerror(number)}."


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EIO, "The disk fails"),
        (errno.ESTALE, "The disk fails"),
        (errno.EROFS, "look after its disk"),
        (errno.ENOSPC, "df -i"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENAMETOOLONG, "--output-layout id"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EACCES, "who may read and write there"),
    ],
)
def test_what_to_do_depends_on_the_reason(number: int, hint: str) -> None:
    """Nobody is sent to look at permissions because a disk fails."""
    assert hint in translate(OSError(number, "x"), "/data/a.bam").hint


def test_a_span_is_read_in_chunks(path: Path) -> None:
    with FileIO(path) as file:
        assert b"".join(bytes(chunk) for chunk in read_span(file, Span(100, 1000))) == DATA[100:1100]
        assert list(read_span(file, Span(5, 0))) == []
        with pytest.raises(Integrity, match="ends at byte 16384, but it was longer"):
            list(read_span(file, Span(len(DATA) - 5, 6)))


def test_large_spans_are_read_through_one_small_buffer(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as made:
        made.truncate(64 * MIB)
    with FileIO(path) as file:
        buffers = {id(chunk.obj): len(chunk.obj) for chunk in read_span(file, Span(3, 40 * MIB))}
    assert list(buffers.values()) == [CHUNK]
    assert CHUNK <= MIB


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_the_md5_of_a_span_is_that_of_its_bytes(tmp_path_factory: pytest.TempPathFactory, one: int, two: int) -> None:
    path = tmp_path_factory.getbasetemp() / "span"
    path.write_bytes(DATA)
    first, last = sorted((one, two))
    with FileIO(path) as file:
        assert md5_of_span(file, Span(first, last - first)) == hashlib.md5(DATA[first:last]).hexdigest()


def test_hashing_can_be_stopped(path: Path) -> None:
    def stop() -> None:
        raise Cancelled("Stopped.")

    with FileIO(path) as file, pytest.raises(Cancelled):
        md5_of_span(file, Span(0, len(DATA)), stop)


class TestSource:
    def test_a_file_that_stays_as_it_is(self, path: Path) -> None:
        source = Source(path)
        assert source.size == len(DATA)
        with source.open() as file:
            assert file.read() == DATA
        source.check()

    def test_a_link_is_followed(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(path)
        assert Source(tmp_path / "link").size == len(DATA)

    def test_a_file_that_grew(self, path: Path) -> None:
        source = Source(path)
        with path.open("ab") as file:
            file.write(b"x")
        with pytest.raises(Integrity, match=r"a\.bam was changed"):
            source.check()

    def test_a_file_that_shrank(self, path: Path) -> None:
        source = Source(path)
        os.truncate(path, 5)
        with pytest.raises(Integrity, match="was changed"):
            source.open()

    def test_a_file_that_was_written_to(self, path: Path) -> None:
        source = Source(path)
        found = path.stat()
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
        with pytest.raises(Integrity, match="was changed"):
            source.check()

    def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time(self, path: Path, tmp_path: Path) -> None:
        source = Source(path)
        found = path.stat()
        other = tmp_path / "other"
        other.write_bytes(DATA)
        os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
        other.replace(path)
        with pytest.raises(Integrity, match="replaced"):
            source.check()

    def test_a_file_that_was_removed(self, path: Path) -> None:
        """Not NotFound, which would be told as an upload that somebody cancelled."""
        source = Source(path)
        path.unlink()
        with pytest.raises(Integrity, match="removed while it was being read"):
            source.check()

    def test_a_file_on_a_disk_that_went_away(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = Source(path)
        fstat, inode = os.fstat, path.stat().st_ino

        def stale(descriptor: int) -> os.stat_result:
            found = fstat(descriptor)
            if found.st_ino == inode:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return found

        monkeypatch.setattr(os, "fstat", stale)
        with pytest.raises(Refused, match=r"a\.bam: Stale file handle"):
            source.check()

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(NotFound, match="No such file"):
            Source(tmp_path / "missing")
        with pytest.raises(Invalid, match="is a folder"):
            Source(tmp_path)
        with pytest.raises(Invalid, match="no regular file"):
            Source(tmp_path / "pipe")
        with pytest.raises(Invalid, match="no regular file"):
            Source(Path("/dev/null"))
        with pytest.raises(Refused, match=r"(?i)too many levels of symbolic links"):
            Source(tmp_path / "loop")
        with pytest.raises(Refused, match=r"(?i)file name too long"):
            Source(tmp_path / ("x" * 300))
        with pytest.raises(Invalid, match="cannot be the name of a file"):
            Source(tmp_path / "a\x00b")


class TestTarget:
    def test_a_file_is_put_together_in_any_order(self, tmp_path: Path) -> None:
        target = Target(tmp_path / "data", len(DATA))
        target.prepare()
        for offset in (8192, 0, 4096, 12288):
            with target.open() as file:
                file.seek(offset)
                write_all(file, DATA[offset : offset + 4096])
        target.settle(tmp_path / "bundle" / "a.bam", replace=False)
        assert (tmp_path / "bundle" / "a.bam").read_bytes() == DATA
        assert not is_there(target.path)

    @pytest.mark.parametrize("before", [0, 5, len(DATA), len(DATA) + 5])
    def test_what_is_there_stays_and_gets_the_right_length(self, tmp_path: Path, before: int) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"x" * before)
        Target(path, len(DATA)).prepare()
        assert path.stat().st_size == len(DATA)
        assert path.read_bytes().startswith(b"x" * min(before, len(DATA)))

    @pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
    def test_what_appeared_meanwhile_is_not_replaced(self, tmp_path: Path, kind: str) -> None:
        place = tmp_path / "a.bam"
        target = Target(tmp_path / "data", 3)
        target.prepare()
        match kind:
            case "file":
                place.write_bytes(b"precious")
            case "folder":
                place.mkdir()
            case _:
                place.symlink_to("nowhere")
        with pytest.raises(Conflict, match=r"a\.bam appeared while"):
            target.settle(place, replace=False)
        assert is_there(target.path)
        assert is_there(place)

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
    def test_where_files_have_one_name_only_they_are_moved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """As on FAT."""

        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refuse)
        place = tmp_path / "a.bam"
        target = Target(tmp_path / "data", 3)
        target.prepare()
        place.write_bytes(b"precious")
        with pytest.raises(Conflict, match=r"a\.bam appeared while"):
            target.settle(place, replace=False)
        assert place.read_bytes() == b"precious"
        place.unlink()
        target.settle(place, replace=False)
        assert list(tmp_path.iterdir()) == [place]

    def test_a_file_is_replaced_where_that_was_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(b"real")
        place = tmp_path / "a.bam"
        place.symlink_to("real")
        target = Target(tmp_path / "data", 3)
        target.prepare()
        target.settle(place, replace=True)
        assert place.read_bytes() == b"\0\0\0"
        assert (tmp_path / "real").read_bytes() == b"real"

    def test_a_file_may_be_at_its_place_already(self, tmp_path: Path) -> None:
        target = Target(tmp_path / "data", 3)
        target.prepare()
        target.settle(tmp_path / "data", replace=False)
        assert is_there(tmp_path / "data")

    def test_failures_name_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="missing/data: No such file"):
            Target(tmp_path / "missing" / "data", 3).prepare()
        with pytest.raises(NotFound, match="data: No such file"):
            Target(tmp_path / "data", 3).open()
        (tmp_path / "file").touch()
        target = Target(tmp_path / "data", 3)
        target.prepare()
        with pytest.raises(ScoreError, match="file/a"):
            target.settle(tmp_path / "file" / "a", replace=False)
        with pytest.raises(Refused, match=r"(?i)file name too long"):
            target.settle(tmp_path / ("x" * 300), replace=False)


def test_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert is_there(tmp_path / "file")
    assert is_there(tmp_path / "link")
    assert not is_there(tmp_path / "missing")
    assert not is_there(tmp_path / "file" / "below")
    with pytest.raises(Refused, match=r"(?i)file name too long"):
        is_there(tmp_path / ("x" * 300))


def test_a_disk_that_is_too_small_is_seen_before_a_byte_moves(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    check_space(tmp_path, -5)
    with pytest.raises(NoSpace, match=r"1,\d{3},\d{3},.* bytes are needed and .* are free") as caught:
        check_space(tmp_path, 10**18 + 10**15)
    assert "--output-dir" in caught.value.hint
    with pytest.raises(NotFound):
        check_space(tmp_path / "missing", 1)


def test_the_holes_of_a_file_take_no_space(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    assert allocated(path) < MIB
    path.write_bytes(DATA)
    assert 0 < allocated(path) <= len(DATA)
    assert allocated(tmp_path / "missing") == 0
