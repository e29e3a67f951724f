"""Finding the files of an analysis in a folder."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from score.client.analysis_files import find, require_files
from score.client.manifests import UploadEntry
from score.client.records import Record, read
from score.errors import Invalid, NotFound, Refused
from score.testing.privileges import unprivileged

ONE = "5c0eca11-0000-4000-8000-000000000001"
TWO = "5c0eca11-0000-4000-8000-000000000002"
MD5 = "781e5e245d69b566979b86e28d23f2c7"


def file(name: str, object_id: str = ONE, size: int | None = 3) -> Record:
    return Record(object_id, size, MD5, name)


def write(path: Path, data: bytes = b"abc") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_files_are_found_wherever_they_are_below(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.bam"), write(tmp_path / "run 1" / "lane" / "b.bam")
    write(tmp_path / ".hidden" / "a.bam")
    write(tmp_path / "other.txt")
    assert find([file("a.bam"), file("b.bam", TWO)], tmp_path) == [
        UploadEntry(ONE, one, MD5),
        UploadEntry(TWO, two, MD5),
    ]


def test_names_with_accents_are_found_however_they_are_written(tmp_path: Path) -> None:
    there = write(tmp_path / normalize("NFD", "größe.bam"))
    assert find([file(normalize("NFC", "größe.bam"))], tmp_path) == [UploadEntry(ONE, there, MD5)]


def test_of_several_the_one_of_the_right_size_is_meant(tmp_path: Path) -> None:
    write(tmp_path / "old" / "a.bam", b"other")
    there = write(tmp_path / "new" / "a.bam")
    assert find([file("a.bam")], tmp_path) == [UploadEntry(ONE, there, MD5)]


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "x" / "a.bam")
    write(tmp_path / "y" / "a.bam")
    write(tmp_path / "b.bam", b"another size")
    with pytest.raises(Invalid) as caught:
        find([file("a.bam"), file("b.bam", TWO), file("c.bam")], tmp_path)
    assert "a.bam is there 2 times" in caught.value.message
    assert f"{tmp_path / 'b.bam'} has 12 bytes, but 3 are registered" in caught.value.message
    assert "missing: c.bam" in caught.value.message


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"does not hold a\.bam, b\.bam"):
        find([file("a.bam"), file("b.bam", TWO)], tmp_path)
    with pytest.raises(NotFound, match="and 10 more"):
        find([file(f"{number}.bam") for number in range(30)], tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        find([file("a.bam")], tmp_path / "missing")


def test_a_folder_within_one_that_may_not_be_searched(tmp_path: Path) -> None:
    (tmp_path / "shut" / "in").mkdir(parents=True)
    (tmp_path / "shut").chmod(0)
    with pytest.raises(Refused, match="shut/in: Permission denied"):
        unprivileged(lambda: find([file("a.bam")], tmp_path / "shut" / "in"))
    (tmp_path / "shut").chmod(0o700)


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.bam").symlink_to(tmp_path / "missing")
    with pytest.raises(Invalid, match="bytes, but 3 are registered"):
        find([file("a.bam")], tmp_path)


def test_records_of_song() -> None:
    record = {"objectId": ONE, "fileName": "a.bam", "fileSize": 3, "fileMd5sum": MD5.upper(), "other": 1}
    assert require_files([read(record)], "a") == [file("a.bam")]
    assert require_files([read({"objectId": ONE, "fileName": "a.bam"})], "a") == [Record(ONE, name="a.bam")]
    with pytest.raises(NotFound, match="has no files"):
        require_files([], "a")
    for bad in ({}, {"objectId": "x", "fileName": "a"}, {"objectId": ONE, "fileName": ""}, {"objectId": ONE}):
        with pytest.raises(Refused, match="makes no sense"):
            require_files([read(bad)], "a")
