"""The parts of a mount that need no FUSE: options, the list of mounts, the list of files, what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from score.client.records import Record, records
from score.errors import Conflict, Invalid, Misconfigured, NotFound
from score.mount import fuse
from score.mount.index import File, Index
from score.protocol.wire import Entity

MOUNTS = """\
22 1 0:20 / /proc rw,nosuid - proc proc rw
36 25 0:32 / /data rw,relatime shared:1 - ext4 /dev/sda1 rw
90 25 0:55 / /data/my\\040files ro,nosuid - fuse.score score:localhost:8087 ro,user_id=0
91 25 0:56 / /data/other ro - fuse.sshfs host: ro
"""


def entity(number: int, name: str = "", analysis: str = "a") -> Entity:
    return Entity(id=f"id-{number}", gnos_id=analysis, file_name=name or f"file-{number}", project_code="S")


def test_options_of_fuse() -> None:
    assert fuse.parse_options(["allow_other,uid=1000", " entry_timeout=5.5 , "]) == {
        "allow_other": True,
        "uid": "1000",
        "entry_timeout": "5.5",
    }
    for wrong in ("rw", "max_read=4096", "uid=", "=x", "-o", "a b"):
        with pytest.raises(Invalid, match="--options"):
            fuse.parse_options([wrong])


def test_the_list_of_mounts() -> None:
    assert fuse.mounted(Path("/data/my files"), MOUNTS) == fuse.Mounted("fuse.score", "score:localhost:8087", "0:55")
    assert fuse.mounted(Path("/data"), MOUNTS) == fuse.Mounted("ext4", "/dev/sda1", "0:32")
    assert fuse.mounted(Path("/data/none"), MOUNTS) is None


@pytest.mark.parametrize(("before", "after"), [("128", "512"), ("4096", "4096")])
def test_the_kernel_reads_whole_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    mounts, ahead = tmp_path / "mountinfo", tmp_path / "0:55" / "read_ahead_kb"
    mounts.write_text(MOUNTS)
    ahead.parent.mkdir()
    ahead.write_text(f"{before}\n")
    monkeypatch.setattr(fuse, "MOUNTS", mounts)
    monkeypatch.setattr(fuse, "DEVICES", tmp_path)
    fuse.read_far_ahead(Path("/data/my files"))
    assert ahead.read_text().strip() == after


def test_without_the_right_to_it_the_kernel_reads_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "DEVICES", tmp_path)
    fuse.read_far_ahead(Path("/"))
    fuse.read_far_ahead(tmp_path / "not mounted")


def test_folders(tmp_path: Path) -> None:
    said: list[str] = []
    fuse.check_point(tmp_path, said.append)
    assert said == []
    (tmp_path / "file").write_text("x")
    fuse.check_point(tmp_path, said.append, nonempty=True)
    with pytest.raises(Invalid, match="not empty"):
        fuse.check_point(tmp_path, said.append)
    with pytest.raises(NotFound, match="does not exist"):
        fuse.check_point(tmp_path / "none", said.append)
    with pytest.raises(Invalid, match="Not a directory"):
        fuse.check_point(tmp_path / "file", said.append)


def test_what_somebody_else_mounted_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"91 25 0:56 / {tmp_path / 'point'} ro - fuse.sshfs host: ro\n")
    monkeypatch.setattr(fuse, "MOUNTS", mounts)
    (tmp_path / "point").mkdir()
    with pytest.raises(Conflict, match=r"fuse\.sshfs"):
        fuse.check_point(tmp_path / "point", lambda text: None)


def test_without_the_device(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="has no FUSE") as caught:
        fuse.check_device(tmp_path / "fuse")
    assert "modprobe fuse" in caught.value.hint


def test_without_mfusepy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    monkeypatch.setenv("FUSE_LIBRARY_PATH", "libfuse3.so.3")
    with pytest.raises(Misconfigured) as caught:
        fuse.load()
    assert "pip install mfusepy" in caught.value.hint


def test_without_libfuse3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSE_LIBRARY_PATH", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(Misconfigured, match="libfuse3") as caught:
        fuse.load()
    assert "apt-get install fuse3" in caught.value.hint


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Index]]:
    """Opens the kept list."""
    opened: list[Index] = []

    def again() -> Index:
        opened.append(Index(tmp_path / "kept.sqlite"))
        return opened[-1]

    yield again
    for one in opened:
        one.close()


def test_a_list_is_filled_page_by_page(make: Callable[[], Index]) -> None:
    index = make()
    run = index.begin()
    assert not index.complete
    index.add([entity(1, "x"), entity(2, "y", "b")], run)
    index.add([entity(2, "y", "b"), entity(3, "x")], run)
    index.finish(run)
    assert index.complete
    assert index.count == 3
    assert [file.object_id for file in index.bundle("a")] == ["id-1", "id-3"]
    assert [analysis for _, analysis in index.bundles(0, 10)] == ["a", "b"]
    assert index.bundles(index.place("a"), 10) == [(index.place("b"), "b")]
    first, *rest = index.after(0, 2)
    assert index.after(rest[-1].seq, 10) == [File(3, "id-3", "a", "x", "S")]
    assert index.object("id-2") == rest[0]
    assert index.object("id-9") is None
    assert first.size is None


def test_what_is_gone_leaves_a_kept_list_and_sizes_stay(make: Callable[[], Index]) -> None:
    index = make()
    run = index.begin()
    index.add([entity(1), entity(2, analysis="b")], run)
    index.learn([Record("id-1", 7, modified=12.5), Record("id-9", 1)])
    index.finish(run)
    index.close()
    again = make()
    assert again.complete
    run = again.begin()
    again.add([entity(1, "other name")], run)
    again.finish(run)
    assert again.bundles(0, 10) == [(1, "a")]
    assert again.bundle("a") == [File(1, "id-1", "a", "other name", "S", 7, 12.5)]


def test_two_mounts_that_list_at_the_same_time_lose_nothing(make: Callable[[], Index]) -> None:
    one, other = make(), make()
    first, second = one.begin(), other.begin()
    other.add([entity(1), entity(2, analysis="b")], second)
    one.add([entity(1), entity(2, analysis="b")], first)
    other.finish(second)
    assert other.count == 2
    assert len(other.bundles(0, 10)) == 2


def test_a_list_that_is_damaged_meanwhile_is_told_of(make: Callable[[], Index], tmp_path: Path) -> None:
    index = make()
    run = index.begin()
    (tmp_path / "kept.sqlite").write_bytes(b"something else" * 1000)
    for use in (lambda: index.count, lambda: index.add([entity(1)], run), lambda: index.bundle("a")):
        with pytest.raises(Conflict, match=r"The list of files cannot be kept in .*kept\.sqlite: .*Is the disk full"):
            use()


def test_a_file_that_is_no_list_is_replaced(make: Callable[[], Index], tmp_path: Path) -> None:
    (tmp_path / "kept.sqlite").write_bytes(b"something else" * 100)
    index = make()
    index.add([entity(1)], index.begin())
    assert index.count == 1


def test_records_of_an_analysis() -> None:
    document = {
        "publishedAt": None,
        "updatedAt": "2026-11-22T01:50:35.500000",
        "createdAt": "2020-01-01T00:00:00Z",
        "files": [
            {"objectId": "one", "fileSize": 5, "fileMd5sum": "0" * 31 + "A"},
            {"objectId": "two", "fileSize": "5"},
            {"fileSize": 5},
            "three",
        ],
    }
    assert records(document) == [Record("one", 5, "0" * 31 + "a", modified=1795312235.5)]
    assert records({}) == []
    assert records({"files": {"objectId": "one"}, "publishedAt": "yesterday"}) == []
