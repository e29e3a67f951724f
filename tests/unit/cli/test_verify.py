"""``verify``: what it finds, what it repairs, and what it fetches for that."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from .conftest import ANALYSIS, CLIENT, DATA, MD5, OBJECT, OTHER, PART, Run

ONE = ("verify", "--output-dir", "out", "--object-id", OBJECT)


@pytest.fixture
def path(folder: Path, registered: None) -> Path:
    """The downloaded file."""
    (folder / "out").mkdir()
    path = folder / "out" / "a.bam"
    path.write_bytes(DATA)
    return path


def damage(path: Path, *offsets: int) -> None:
    """Other bytes at these places, one at each."""
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 255
    path.write_bytes(data)


def snapshot(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestFinding:
    def test_a_good_file(self, run: Run, path: Path, site: FaultyScore) -> None:
        before = snapshot(path.parent)
        status, out, err = run(*ONE)
        assert (status, out) == (0, "")
        assert "1 file: 1 verified." in err
        assert site.gets == []
        assert snapshot(path.parent) == before

    def test_in_each_layout(self, run: Run, folder: Path, path: Path) -> None:
        for layout, name in (("bundle", f"{ANALYSIS}/a.bam"), ("id", OBJECT)):
            place = folder / layout / name
            place.parent.mkdir(parents=True)
            place.write_bytes(DATA)
            words = ("verify", "--output-dir", layout, "--object-id", OBJECT, "--output-layout", layout)
            assert run(*words)[0] == 0
            damage(place, 3)
            assert run(*words)[0] == 8
            assert run(*words, "--repair")[0] == 0
            assert place.read_bytes() == DATA
            assert snapshot(folder / layout).keys() == {name}

    @pytest.mark.parametrize(
        "words",
        [
            ("--analysis-id", ANALYSIS, "--study-id", "TEST-CA"),
            ("--manifest", "download.tsv"),
            ("--manifest", "upload.tsv"),
            ("--object-id", OBJECT, OTHER),
        ],
    )
    def test_however_objects_are_named(self, run: Run, folder: Path, path: Path, words: tuple[str, ...]) -> None:
        (folder / "out" / "b.bam").write_bytes(b"other")
        (folder / "download.tsv").write_text(f"object_id\n{OBJECT}\n{OTHER}\n")
        (folder / "upload.tsv").write_text(f"{ANALYSIS}\t\t\n{OBJECT}\ta\t{MD5}\n{OTHER}\tb\t{MD5}\n")
        status, _, err = run("verify", "--output-dir", "out", *words)
        assert status == 0, err
        assert "2 files: 2 verified" in err

    def test_damage_is_told_by_parts(self, run: Run, path: Path, site: FaultyScore) -> None:
        damage(path, PART + 5, 3 * PART)
        before = snapshot(path.parent)
        status, _, err = run(*ONE)
        assert status == 8
        assert "out/a.bam is not the object: 2 of 6 parts (131,072 bytes, from byte 65,536) differ." in err
        assert "--repair" in err
        assert snapshot(path.parent) == before
        assert site.gets == []

    @pytest.mark.parametrize("size", [0, 10, PART, len(DATA) - 1])
    def test_a_file_that_is_cut(self, run: Run, path: Path, size: int) -> None:
        path.write_bytes(DATA[:size])
        status, _, err = run(*ONE)
        assert status == 8
        assert f"it has {size:,} bytes instead of 328,680" in err

    def test_a_file_that_is_longer(self, run: Run, path: Path) -> None:
        path.write_bytes(DATA + b"more")
        status, _, err = run(*ONE)
        assert status == 8
        assert "it has 328,684 bytes instead of 328,680." in err

    def test_a_file_that_is_missing(self, run: Run, path: Path) -> None:
        path.unlink()
        status, _, err = run(*ONE)
        assert status == 4
        assert "out/a.bam: No such file. " in err.replace("\n", " ")

    def test_an_index_comes_along(self, run: Run, path: Path, song: FakeSong, site: FaultyScore) -> None:
        song.register("a.bam.bai", analysis=ANALYSIS, object_id=ANALYSIS, size=5)
        site.fake.add(ANALYSIS, b"index")
        assert run(*ONE)[0] == 3
        assert run(*ONE, "--index", "false")[0] == 0
        (path.parent / "a.bam.bai").write_bytes(b"index")
        assert "2 files: 2 verified" in run(*ONE)[2]

    def test_registry_and_store_disagree(self, run: Run, path: Path, song: FakeSong) -> None:
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA), md5="0" * 32)
        status, _, err = run(*ONE, "--repair")
        assert status == 8
        assert f"MD5 {'0' * 32} is registered, but the store's object has {MD5}" in err
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=5, md5=MD5)
        assert "5 bytes are registered, but the store holds 328,680" in run(*ONE, "--repair")[2]

    def test_parts_are_the_proof_where_no_whole_md5_is_known(
        self, run: Run, path: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA))
        site.fake.add(OBJECT, DATA, whole_md5=False)
        assert run(*ONE)[0] == 0
        damage(path, 7)
        assert run(*ONE)[0] == 8

    def test_without_any_checksum_nothing_is_called_verified(
        self, run: Run, path: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA))
        site.fake.add(OBJECT, DATA, whole_md5=False, part_md5s=False)
        status, _, err = run(*ONE)
        assert status == 3
        assert "the server knows no checksum to compare it with" in err

    def test_a_download_that_is_not_finished(
        self, run: Run, folder: Path, registered: None, site: FaultyScore
    ) -> None:
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=3)
        words = [*CLIENT, "download", "--output-dir", "out", "--object-id", OBJECT]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL) as client:
            gate.wait_for_arrival()
            client.kill()
        site.traffic.heal()
        status, _, err = run(*ONE)
        assert status == 3
        assert "its download is not finished" in err
        assert run(*ONE, "--repair")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_registry_and_store_must_answer(self, run: Run, path: Path, song: FakeSong) -> None:
        song.traffic.inject(Answer(503), path="/studies/", times=None)
        assert run(*ONE)[0] == 5


class TestSharedOptions:
    """What verify has in common with downloads."""

    def test_a_share_each_and_a_report(self, run: Run, folder: Path, path: Path) -> None:
        (folder / "out" / "b.bam").write_bytes(b"OTHER")
        told: dict[str, str] = {}
        for number in (1, 2):
            status, _, _ = run(*ONE, OTHER, "--shard", f"{number}/2", "--report", "r.tsv")
            (line,) = (folder / "r.tsv").read_text().splitlines()[1:]
            object_id, _, state, *_ = line.split("\t")
            assert status == (0 if state == "verified" else 8)
            told[object_id] = state
        assert told == {OBJECT: "verified", OTHER: "failed"}

    @pytest.mark.parametrize(("retries", "status"), [(0, 5), (1, 0)])
    def test_as_often_as_it_is_told(self, run: Run, path: Path, site: FaultyScore, retries: int, status: int) -> None:
        site.traffic.inject(Answer.unavailable(0), path=f"^/download/{OBJECT}")
        assert run(*ONE, "--retries", retries)[0] == status
        assert len(site.traffic.seen(path=f"^/download/{OBJECT}")) == retries + 1


class TestRepair:
    def test_only_what_is_damaged_is_fetched(self, run: Run, path: Path, site: FaultyScore) -> None:
        damage(path, PART + 5, 3 * PART)
        status, _, err = run(*ONE, "--repair")
        assert status == 0, err
        assert "1 file: 1 repaired (128.0 KiB moved" in err
        assert path.read_bytes() == DATA
        assert site.gets == [f"bytes={PART}-{2 * PART - 1}", f"bytes={3 * PART}-{4 * PART - 1}"]
        assert snapshot(path.parent).keys() == {"a.bam"}

    @pytest.mark.parametrize("data", [DATA[: 2 * PART], DATA[: 2 * PART + 7], DATA + b"more", b""])
    def test_a_wrong_length(self, run: Run, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        assert run(*ONE, "--repair")[0] == 0
        assert path.read_bytes() == DATA

    def test_a_missing_file(self, run: Run, path: Path) -> None:
        path.unlink()
        assert run(*ONE, "--repair")[0] == 0
        assert path.read_bytes() == DATA

    def test_a_folder_that_is_missing_is_as_any_new_one(self, run: Run, folder: Path, path: Path) -> None:
        status, _, _ = run("verify", "--object-id", OBJECT, "--output-dir", "new/out", "--repair")
        assert status == 0
        assert stat.S_IMODE((folder / "new" / "out").stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode)

    def test_a_good_file_is_left_alone(self, run: Run, path: Path, site: FaultyScore) -> None:
        before = path.stat()
        assert run(*ONE, "--repair")[0] == 0
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert site.gets == []

    def test_one_that_is_killed_goes_on_and_loses_nothing(
        self, run: Run, folder: Path, path: Path, site: FaultyScore
    ) -> None:
        damage(path, PART + 5, 3 * PART)
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=1)
        with subprocess.Popen([*CLIENT, *ONE, "--repair"], cwd=folder, stderr=subprocess.DEVNULL) as client:
            gate.wait_for_arrival()
            client.kill()
        site.traffic.heal()
        assert not path.exists(), "what is damaged is not at its place"
        site.traffic.forget()
        assert run(*ONE, "--repair")[0] == 0
        assert path.read_bytes() == DATA
        assert len(site.gets) <= 2

    def test_one_that_cannot_fetch_keeps_the_bytes(self, run: Run, path: Path, site: FaultyScore) -> None:
        damage(path, 5)
        site.traffic.inject(Answer.failure(), path="/store/", times=None)
        assert run(*ONE, "--repair", "--verify-connection", "false")[0] == 5
        assert len((path.parent / OBJECT).read_bytes()) == len(DATA)
        site.traffic.heal()
        site.traffic.forget()
        assert run(*ONE, "--repair")[0] == 0
        assert site.gets == [f"bytes=0-{PART - 1}"]

    def test_it_keeps_to_the_limits_of_rate_and_time(self, run: Run, folder: Path, path: Path) -> None:
        damage(path, 5)
        words = [*CLIENT, *ONE, "--repair", "--bwlimit", "off:1b", "--max-duration", "1s"]
        ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 130
        assert "The time for this run is over" in ended.stderr
        assert not path.exists()
        assert run(*ONE, "--repair", "--bwlimit", "1b:off")[0] == 0
        assert path.read_bytes() == DATA

    def test_a_link_is_not_repaired(self, run: Run, folder: Path, path: Path) -> None:
        real = folder / "archive.bam"
        os.replace(path, real)
        damage(real, 5)
        path.symlink_to(real)
        status, _, err = run(*ONE, "--repair")
        assert status == 3
        assert "out/a.bam is a link, which is not repaired" in err
        assert path.is_symlink()

    def test_nothing_in_the_way_is_lost(self, run: Run, path: Path) -> None:
        damage(path, 5)
        (path.parent / OBJECT).write_bytes(b"precious")
        status, _, err = run(*ONE, "--repair")
        assert status == 3
        assert "is in the way" in err
        assert (path.parent / OBJECT).read_bytes() == b"precious"

    def test_two_objects_of_one_name_do_not_repair_each_other(
        self, run: Run, path: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, object_id=OTHER, size=5)
        status, _, err = run(*ONE, OTHER, "--repair")
        assert status == 3
        assert "would be written by two objects" in err
        assert path.read_bytes() in (DATA, b"other")
