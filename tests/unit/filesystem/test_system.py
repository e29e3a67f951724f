"""``score://`` by fsspec: paths, listings, reading, refusals, other processes."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import pickle
import random
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fsspec
import pytest

from score.errors import Misconfigured
from score.filesystem import ScoreFile, ScoreFileSystem
from score.protocol.parts import Span
from score.testing.faults import Answer, Flip
from score.testing.score import FaultyScore
from score.testing.secrecy import secret
from score.testing.song import FakeSong

ANALYSIS = "1c1ad0e2-9d24-4e5c-8a2c-0d8f5b2a0001"
OTHER = "1c1ad0e2-9d24-4e5c-8a2c-0d8f5b2a0002"
DICE = random.Random(3)
DATA = DICE.randbytes(2_000_000)
TABLE = "sample,depth\n" + "".join(f"s{number},{number}\n" for number in range(1000))

Put = Callable[..., str]


@pytest.fixture(autouse=True)
def data(put: Put) -> str:
    """Three files of two analyses in two studies; gives the id of the first."""
    put("table.csv", TABLE.encode(), ANALYSIS)
    put("calls.vcf", b"x", OTHER, "OTHER-CA")
    return put("reads.bam", DATA, ANALYSIS)


def test_a_file_has_three_addresses(fs: ScoreFileSystem, data: str) -> None:
    for path in (f"score://{data}", f"score://{ANALYSIS}/reads.bam", f"score://TEST-CA/{ANALYSIS}/reads.bam"):
        assert fs.cat(path) == DATA
        info = fs.info(path)
        assert (info["name"], info["size"], info["type"]) == (path.removeprefix("score://"), len(DATA), "file")
        assert (info["object_id"], info["analysis"], info["study"]) == (data, ANALYSIS, "TEST-CA")
        with fsspec.open(path) as file:
            assert file.read() == DATA


def test_folders_are_listed_down_from_the_root(fs: ScoreFileSystem) -> None:
    assert fs.ls("score://", detail=False) == ["OTHER-CA", "TEST-CA"]
    assert fs.ls("TEST-CA") == [{"name": f"TEST-CA/{ANALYSIS}", "size": 0, "type": "directory"}]
    assert sorted(fs.ls(ANALYSIS, detail=False)) == [f"{ANALYSIS}/reads.bam", f"{ANALYSIS}/table.csv"]
    assert {one["name"]: one["size"] for one in fs.ls(f"TEST-CA/{ANALYSIS}")} == {
        f"TEST-CA/{ANALYSIS}/reads.bam": len(DATA),
        f"TEST-CA/{ANALYSIS}/table.csv": len(TABLE),
    }
    assert fs.ls(f"{ANALYSIS}/table.csv", detail=False) == [f"{ANALYSIS}/table.csv"]
    assert fs.glob("score://*/*/*.vcf") == [f"OTHER-CA/{OTHER}/calls.vcf"]
    assert len(fs.find("")) == 3
    assert fs.du(ANALYSIS) == len(DATA) + len(TABLE)
    assert [(folder, sorted(files)) for folder, _, files in fs.walk(ANALYSIS)] == [
        (ANALYSIS, ["reads.bam", "table.csv"])
    ]


def test_what_is_there_and_what_is_not(fs: ScoreFileSystem, data: str) -> None:
    for path in ("", "TEST-CA", ANALYSIS, f"TEST-CA/{ANALYSIS}"):
        assert fs.exists(path)
        assert fs.isdir(path)
        assert not fs.isfile(path)
    assert fs.isfile(data)
    for path in (
        str(uuid.uuid4()),
        "NONE-CA",
        f"{ANALYSIS}/none",
        f"OTHER-CA/{ANALYSIS}",
        f"OTHER-CA/{ANALYSIS}/reads.bam",
        "a/b/c/d",
    ):
        assert not fs.exists(path)
        assert not fs.isfile(path)
        assert not fs.isdir(path)
        for call in (fs.info, fs.ls, fs.open, fs.cat):
            with pytest.raises(FileNotFoundError):
                call(path)
    with pytest.raises(IsADirectoryError):
        fs.open(ANALYSIS)


def test_parts_of_files(fs: ScoreFileSystem) -> None:
    path = f"{ANALYSIS}/reads.bam"
    assert fs.cat_file(path, 10, 20) == DATA[10:20]
    assert fs.cat_file(path, -10) == DATA[-10:]
    assert fs.cat_file(path, 5, -1_999_000) == DATA[5:1000]
    assert fs.head(path, 7) == DATA[:7]
    assert fs.tail(path, 7) == DATA[-7:]
    assert fs.read_block(f"{ANALYSIS}/table.csv", 5, 20, b"\n") == TABLE.encode()[13:28]
    with fs.open(path) as file:
        assert isinstance(file, ScoreFile)
        assert file.size == len(DATA)
        file.seek(-3, os.SEEK_END)
        assert file.read() == DATA[-3:]
        assert file.info()["size"] == len(DATA)


def test_ranges_of_many_files_at_once(fs: ScoreFileSystem, site: FaultyScore, data: str) -> None:
    dice = random.Random(5)
    spans = [sorted(dice.sample(range(len(DATA) + 1), 2)) for _ in range(40)] + [[0, 0], [7, 7]]
    paths = [dice.choice([data, f"{ANALYSIS}/reads.bam"]) for _ in spans]
    found = fs.cat_ranges(paths, [start for start, _ in spans], [end for _, end in spans])
    assert found == [DATA[start:end] for start, end in spans]
    site.traffic.forget()
    near = [number * 2000 for number in range(50)]
    found = fs.cat_ranges([data] * 50, near, [start + 100 for start in near], max_gap=10_000)
    assert found == [DATA[start : start + 100] for start in near]
    assert len(site.traffic.seen(path="/store/")) == 1
    found = fs.cat_ranges([data, f"{ANALYSIS}/none"], 0, 5)
    assert found[0] == DATA[:5]
    assert isinstance(found[1], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([f"{ANALYSIS}/none"], 0, 5, on_error="raise")


def test_text_lines_and_compression(fs: ScoreFileSystem, put: Put) -> None:
    import gzip

    put("table.csv.gz", gzip.compress(TABLE.encode()), "packed")
    with fs.open(f"{ANALYSIS}/table.csv", "r") as file:
        assert file.readlines() == TABLE.splitlines(keepends=True)
    with fsspec.open("score://packed/table.csv.gz", "rt", compression="infer") as file:
        assert file.read() == TABLE
    with io.BufferedReader(fs.open(f"{ANALYSIS}/table.csv")) as file:
        assert list(file) == TABLE.encode().splitlines(keepends=True)


def test_files_are_fetched_to_the_disk(fs: ScoreFileSystem, tmp_path: Path) -> None:
    fs.get(ANALYSIS, f"{tmp_path}/here/", recursive=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()} == {
        "reads.bam": DATA,
        "table.csv": TABLE.encode(),
    }
    with fsspec.open(f"simplecache::score://{ANALYSIS}/reads.bam") as file:
        assert file.read() == DATA


def test_a_file_is_fetched_whole_or_not_at_all(fs: ScoreFileSystem, site: FaultyScore, tmp_path: Path) -> None:
    target = tmp_path / "here" / "reads.bam"
    site.traffic.inject(Flip(1_900_000), path="/store/")
    with pytest.raises(OSError, match="Part"):
        fs.get(f"{ANALYSIS}/reads.bam", str(target))
    assert list(target.parent.iterdir()) == []
    target.write_bytes(b"of before")
    site.traffic.inject(Answer.unavailable(), path="/store/", times=None)
    with pytest.raises(OSError, match="gave up"):
        fs.get(f"{ANALYSIS}/reads.bam", str(target))
    assert [path.read_bytes() for path in target.parent.iterdir()] == [b"of before"]
    site.traffic.heal()
    (tmp_path / "link").symlink_to(target)
    fs.get(f"{ANALYSIS}/reads.bam", str(tmp_path / "link"))
    assert target.read_bytes() == DATA
    with (tmp_path / "opened").open("wb") as file:
        fs.get_file(f"{ANALYSIS}/table.csv", str(target), outfile=file)
    assert ((tmp_path / "opened").read_text(), target.read_bytes()) == (TABLE, DATA)
    fs.get(f"{ANALYSIS}/table.csv", os.devnull)
    assert not os.path.isfile(os.devnull)


def test_equal_names_do_not_hide_one_another(fs: ScoreFileSystem, put: Put) -> None:
    ids = [str(uuid.UUID(int=number)) for number in (1, 2)]
    for number, one in enumerate(ids):
        put("twin.bam", b"%d" % number, "twins", object_id=one)
    assert sorted(fs.ls("twins", detail=False)) == [f"twins/{one}-twin.bam" for one in ids]
    assert [fs.cat(f"twins/{one}-twin.bam") for one in ids] == [b"0", b"1"]


def test_refusals_are_those_of_files(fs: ScoreFileSystem, site: FaultyScore, data: str) -> None:
    site.traffic.inject(Answer(403, b'{"message": "no scope"}'), path=f"/download/{data}", times=None)
    with pytest.raises(PermissionError, match="no scope"):
        fs.open(data)
    assert fs.info(data)["size"] == len(DATA)
    site.traffic.heal()
    site.traffic.inject(Answer.unavailable(), path="/store/", times=None)
    with fs.open(data) as file, pytest.raises(OSError, match="gave up"):
        file.read(10)


def test_ranges_that_are_damaged_on_their_way(fs: ScoreFileSystem, site: FaultyScore, data: str) -> None:
    site.traffic.inject(Flip(300_000), path="/store/")
    (found,) = fs.cat_ranges([data], 0, len(DATA))
    assert isinstance(found, OSError)
    assert "Part 2" in str(found)
    assert fs.cat_ranges([data], 0, len(DATA)) == [DATA]


@pytest.mark.parametrize(
    "read",
    [
        lambda file: file.read_at(1_900_000, 10),
        lambda file: file.seek(1_900_000) and file.read(10),
        lambda file: file.seek(1_900_000) and file.read1(10),
        lambda file: file.seek(1_900_000) and file.readinto(bytearray(10)),
        lambda file: file.seek(1_900_000) and file.readline(),
        lambda file: list(file.stream([Span(1_900_000, 10)], 0)),
    ],
    ids=["read_at", "read", "read1", "readinto", "readline", "stream"],
)
def test_a_replaced_object_is_told_and_can_be_opened_anew(
    read: Callable[[ScoreFile], object], fs: ScoreFileSystem, site: FaultyScore, data: str
) -> None:
    fresh = random.Random(4).randbytes(len(DATA))
    with fs.open(data) as file:
        assert file.read(10) == DATA[:10]
        site.fake.add(data, fresh)
        with pytest.raises(OSError, match="was replaced"):
            read(file)
        with fs.open(data) as again:
            assert again.read() == fresh
    assert fs.cat(data) == fresh


def test_ranges_of_a_replaced_object(fs: ScoreFileSystem, site: FaultyScore, data: str) -> None:
    fresh = random.Random(4).randbytes(len(DATA))
    with fs.open(data) as file:
        assert file.read(10) == DATA[:10]
        site.fake.add(data, fresh)
        (found,) = fs.cat_ranges([data], 1_900_000, 1_900_010)
        assert isinstance(found, OSError)
    assert fs.cat_ranges([data], 1_900_000, 1_900_010) == [fresh[1_900_000:1_900_010]]


def test_not_knowing_is_not_absence(fs: ScoreFileSystem, song: FakeSong, monkeypatch: pytest.MonkeyPatch) -> None:
    away = ScoreFileSystem(metadata_url="http://127.0.0.1:9")
    for call in (away.exists, away.isfile, away.isdir, away.ls):
        with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
            call(ANALYSIS)


def test_waits_are_logged(
    fs: ScoreFileSystem, site: FaultyScore, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For minutes nothing else would tell why nothing happens."""
    for path in ("^/download/", "^/store/"):
        site.traffic.inject(Answer.unavailable(), method="GET", path=path)
    assert fs.cat(data) == DATA
    assert [(one.name, "Once more in 0 s (1/2)" in one.getMessage()) for one in caplog.records] == [
        ("score.filesystem", True)
    ] * 2


def test_part_of_the_files_is_not_all_of_them(fs: ScoreFileSystem, song: FakeSong, tmp_path: Path) -> None:
    assert fs.find("TEST-CA/unknown") == []
    song.traffic.inject(Answer(503), path="/entities", query=f"gnosId={ANALYSIS}", times=None)
    for call in (
        lambda: fs.find("TEST-CA"),
        lambda: fs.glob("score://*/*/*.csv"),
        lambda: fs.du("TEST-CA"),
        lambda: list(fs.walk("")),
        lambda: fs.get("TEST-CA", str(tmp_path / "copy"), recursive=True),
    ):
        with pytest.raises(OSError, match="503"):
            call()


def test_nothing_is_written(fs: ScoreFileSystem, tmp_path: Path) -> None:
    path = f"{ANALYSIS}/new"
    (tmp_path / "new").write_text("x")
    for change in (
        lambda: fs.open(path, "wb"),
        lambda: fs.pipe(path, b"x"),
        lambda: fs.mkdir(path),
        lambda: fs.makedirs(path),
        lambda: fs.rm(f"{ANALYSIS}/reads.bam"),
        lambda: fs.cp_file(f"{ANALYSIS}/reads.bam", path),
        lambda: fs.mv(f"{ANALYSIS}/reads.bam", path),
        lambda: fs.put_file(str(tmp_path / "new"), path),
        lambda: fs.touch(path),
    ):
        with pytest.raises(OSError, match="read-only"):
            change()


def digest(file: ScoreFile) -> tuple[int, str]:
    """Runs in another process."""
    with file:
        return file.tell(), hashlib.md5(file.read()).hexdigest()


def test_open_files_go_to_other_processes(fs: ScoreFileSystem) -> None:
    with fs.open(f"{ANALYSIS}/reads.bam") as file:
        file.seek(1000)
        file.read(5)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(digest, file).result() == (1005, hashlib.md5(DATA[1005:]).hexdigest())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_by_threads_of_its_own(fs: ScoreFileSystem) -> None:
    assert fs.cat_file(f"{ANALYSIS}/reads.bam", 0, 9) == DATA[:9]
    child = os.fork()
    if child == 0:
        os._exit(0 if fs.cat_file(f"{ANALYSIS}/reads.bam", 1_000_000, 1_000_009) == DATA[1_000_000:1_000_009] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_tokens_stay_at_home_unless_asked(fs: ScoreFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    given, theirs = secret("7f0c1c57-55f6-4a84-8a3e-4b7e3a0d0001"), secret("7f0c1c57-55f6-4a84-8a3e-4b7e3a0d0002")
    held = ScoreFileSystem(token=given, settings={"accessToken": given, "transport.parallel": "3"})
    for form in (pickle.dumps(held), held.to_json().encode(), json.dumps(held.to_dict()).encode()):
        assert given.encode() not in form
    monkeypatch.setenv("ACCESSTOKEN", theirs)
    again = pickle.loads(pickle.dumps(held))
    assert again.session.settings.token == theirs
    assert again.session.settings.parallel == 3
    asked = pickle.loads(pickle.dumps(ScoreFileSystem(token=given, pickle_token=True)))
    assert asked.session.settings.token == given
    assert ScoreFileSystem.from_json(held.to_json()).session.settings.token == theirs


def test_addresses_go_along(fs: ScoreFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(fs)
    monkeypatch.setenv("STORAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("METADATA_URL", "http://127.0.0.1:9")
    again = pickle.loads(pickled)
    assert again.cat(f"{ANALYSIS}/table.csv") == TABLE.encode()


def test_threads_share_one_client(fs: ScoreFileSystem) -> None:
    found: list[ScoreFileSystem] = []
    threads = [threading.Thread(target=lambda: found.append(ScoreFileSystem())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(one.session) for one in [fs, *found]} == {id(fs.session)}
    assert ScoreFileSystem(token=secret("another-access-token")).session is not fs.session


def test_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_URL")
    with pytest.raises(Misconfigured, match="No address"):
        ScoreFileSystem()
