"""What a command works on: analyses and folders, standard input, shares of a job array; and what it tells of it."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from score.cli.options import Duration
from score.testing.faults import Answer, Reset
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

ANALYSIS = "a11aca11-0000-4000-8000-000000000020"
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
OTHER = "5c0eca11-0000-4000-8000-000000000021"
PART = 64 * 1024
DATA = random.Random(3).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()
OTHER_MD5 = hashlib.md5(b"other").hexdigest()
Run = Callable[..., tuple[int, str, str]]
CLIENT = [sys.executable, "-W", "error", "-m", "score.cli.main"]
DOWNLOAD = ("download", "--output-dir", "out")
ANALYSED = ("--analysis-id", ANALYSIS, "--study-id", "TEST-CA")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes into standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


@pytest.fixture
def files(folder: Path, song: FakeSong) -> Path:
    """Two files of one analysis in a folder, not uploaded yet."""
    song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA), md5=MD5)
    song.register("b.bam", analysis=ANALYSIS, object_id=OTHER, size=5, md5=OTHER_MD5)
    (folder / "in" / "lane").mkdir(parents=True)
    (folder / "in" / "a.bam").write_bytes(DATA)
    (folder / "in" / "lane" / "b.bam").write_bytes(b"other")
    return folder / "in"


def records(out: str) -> list[dict[str, object]]:
    """The documents on standard output, which holds nothing else."""
    return [json.loads(line) for line in out.splitlines()]


def waiting_in(pipe: IO[str]) -> int:
    """Bytes that were written and not read."""
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


class TestAnalysis:
    def test_its_files_are_found_and_sent(self, run: Run, files: Path, site: FaultyScore) -> None:
        status, out, err = run("upload", *ANALYSED, "--dir", "in")
        assert (status, out) == (0, "")
        assert "2 files: 2 uploaded" in err
        assert site.fake.objects[OBJECT].data == DATA
        assert site.fake.objects[OTHER].data == b"other"

    def test_nothing_is_sent_while_one_is_missing(self, run: Run, files: Path, site: FaultyScore) -> None:
        (files / "lane" / "b.bam").unlink()
        status, _, err = run("upload", *ANALYSED, "--dir", "in")
        assert status == 4
        assert "in does not hold b.bam." in err
        assert "Nothing was sent." in err
        assert site.traffic.seen() == []

    def test_nothing_is_sent_while_one_is_there_twice(self, run: Run, files: Path, site: FaultyScore) -> None:
        (files / "b.bam").write_bytes(b"other")
        status, _, err = run("upload", *ANALYSED, "--dir", "in")
        assert status == 2
        assert "b.bam is there 2 times" in err
        assert site.traffic.seen() == []

    def test_an_analysis_that_nobody_knows(self, run: Run, files: Path) -> None:
        status, _, err = run("upload", "--analysis-id", OTHER, "--study-id", "TEST-CA", "--dir", "in")
        assert status == 4
        assert f"has no analysis {OTHER}" in err

    @pytest.mark.parametrize(
        "words", [["--analysis-id", "a"], ["--dir", "in"], ["--analysis-id", "a", "--study-id", "s"]]
    )
    def test_what_belongs_together(self, run: Run, folder: Path, words: list[str]) -> None:
        status, _, err = run("upload", *words)
        assert status == 2
        assert "--analysis-id, --study-id and --dir belong together" in err


class TestStandardInput:
    def test_ids(self, run: Run, folder: Path, registered: None, stdin: Callable[[bytes], None]) -> None:
        stdin(f"{OBJECT}\n\n# a comment\r\n  {OTHER} # another\n{OBJECT}\n".encode())
        status, _, err = run(*DOWNLOAD, "--object-id", "-")
        assert status == 0
        assert "2 files: 2 downloaded" in err

    @pytest.mark.parametrize(("data", "says"), [(b"", "holds no object ids"), (b"x y\n", "'x' is not an object id")])
    def test_no_ids(
        self, run: Run, folder: Path, stdin: Callable[[bytes], None], data: bytes, says: str, site: FaultyScore
    ) -> None:
        stdin(data)
        status, _, err = run(*DOWNLOAD, "--object-id", "-")
        assert status == 2
        assert says in err
        assert site.traffic.seen() == []

    def test_a_download_manifest(
        self, run: Run, folder: Path, registered: None, stdin: Callable[[bytes], None]
    ) -> None:
        stdin(f"object_id\n{OBJECT}\n".encode())
        assert run(*DOWNLOAD, "--manifest", "-")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_an_upload_manifest(
        self, run: Run, files: Path, site: FaultyScore, stdin: Callable[[bytes], None]
    ) -> None:
        stdin(f"{ANALYSIS}\t\t\n{OBJECT}\tin/a.bam\t{MD5}\n".encode())
        assert run("upload", "--manifest", "-")[0] == 0
        assert site.fake.objects[OBJECT].data == DATA

    def test_a_real_pipe(self, folder: Path, registered: None) -> None:
        ended = subprocess.run(
            [*CLIENT, *DOWNLOAD, "--object-id", "-"],
            cwd=folder,
            input=f"{OBJECT}\n".encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert (folder / "out" / "a.bam").read_bytes() == DATA


class TestShards:
    @pytest.mark.parametrize("source", ["analysis", "manifest", "ids"])
    def test_all_shares_together_are_the_whole(
        self, run: Run, folder: Path, song: FakeSong, site: FaultyScore, source: str
    ) -> None:
        ids = [f"5c0eca11-0000-4000-8000-0000000000{number:02}" for number in range(30, 37)]
        lines = ["object_id\tfile_size"]
        for number, object_id in enumerate(ids):
            data = b"x" * (number * 1000)
            song.register(f"{number}.bam", analysis=ANALYSIS, object_id=object_id, size=len(data))
            site.fake.add(object_id, data)
            lines.append(f"{object_id}\t{len(data)}")
        (folder / "m.tsv").write_text("\n".join(lines) + "\n")
        words = {"analysis": ANALYSED, "manifest": ("--manifest", "m.tsv"), "ids": ("--object-id", *ids)}[source]
        done: list[str] = []
        for number in (1, 2, 3):
            status, out, _ = run(*DOWNLOAD, *words, "--shard", f"{number}/3", "--json")
            assert status == 0
            mine = [str(one["object_id"]) for one in records(out) if one["record"] == "object"]
            assert mine
            done += mine
        assert sorted(done) == sorted(ids)

    def test_uploads_too(self, run: Run, files: Path, site: FaultyScore) -> None:
        for number, name in ((1, OBJECT), (2, OTHER)):
            assert run("upload", *ANALYSED, "--dir", "in", "--shard", f"{number}/2")[0] == 0
            assert name in site.fake.objects

    def test_an_index_of_another_share_is_left_to_it(
        self, run: Run, folder: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        """Two tasks of one array never write the same file."""
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA))
        song.register("a.bam.bai", analysis=ANALYSIS, object_id=OTHER, size=5)
        site.fake.add(OBJECT, DATA)
        site.fake.add(OTHER, b"other")
        assert run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--shard", "1/2")[0] == 0
        assert os.listdir(folder / "out") == ["a.bam"]
        assert run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--shard", "2/2")[0] == 0
        assert sorted(os.listdir(folder / "out")) == ["a.bam", "a.bam.bai"]
        assert run("download", "--output-dir", "alone", "--object-id", OBJECT, "--shard", "1/1")[0] == 0
        assert sorted(os.listdir(folder / "alone")) == ["a.bam", "a.bam.bai"]

    def test_a_share_without_items_is_no_failure(self, run: Run, folder: Path, registered: None) -> None:
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--shard", "2/2")
        assert status == 0
        assert "0 files: nothing to do." in err

    @pytest.mark.parametrize("value", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
    def test_nonsense(self, run: Run, folder: Path, value: str) -> None:
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--shard", value)
        assert status == 2
        assert "is not I/N with I from 1 to N" in err


class TestRehearsal:
    def test_of_an_upload(self, run: Run, files: Path, site: FaultyScore) -> None:
        site.fake.add(OTHER, b"other")
        status, out, err = run("upload", *ANALYSED, "--dir", "in", "--dry-run")
        assert (status, out) == (0, "")
        assert "in/a.bam: would move, 321.0 KiB" in err
        assert "in/lane/b.bam: already there, 5 B" in err
        assert "2 files: 1 already there, 1 would move; nothing was moved." in err
        assert site.traffic.seen(method="POST") == []
        assert site.puts == []
        assert sorted(os.listdir(files)) == ["a.bam", "lane"]

    def test_of_an_upload_that_would_fail(self, run: Run, files: Path, site: FaultyScore) -> None:
        site.fake.add(OBJECT, b"something else")
        status, _, err = run("upload", "--object-id", OBJECT, "--file", "in/a.bam", "--dry-run")
        assert status == 3
        assert "with 14 bytes instead of" in err
        status, _, err = run("upload", "--object-id", OTHER, "--file", "in/a.bam", "--dry-run")
        assert status == 8
        assert "but 5 are registered" in err

    @pytest.mark.parametrize("given", [[], ["--md5", MD5]], ids=["", "md5"])
    def test_of_an_upload_that_nobody_registered(
        self, run: Run, files: Path, site: FaultyScore, song: FakeSong, given: list[str]
    ) -> None:
        """The server asks its registry when the upload is started."""
        unknown = "dead0000-0000-4000-8000-000000000001"
        words = ["upload", "--object-id", unknown, "--file", "in/a.bam", *given]
        status, _, err = run(*words, "--dry-run")
        assert f"in/a.bam: object {unknown} is not registered." in err
        site.traffic.inject(Answer(404, b'{"message":"Song does not know it."}'), path="/uploads")
        assert run(*words)[0] == status == 4
        song.traffic.inject(Answer(404), path="/entities", times=None)  # by one that knows no object at all
        song.traffic.inject(Answer(404), path="/studies", times=None)
        status, _, err = run(*words, "--dry-run")
        assert (status, "1 would move" in err) == (0, True)
        song.traffic.heal()
        song.traffic.inject(Reset(), times=None)
        assert run(*words, "--dry-run")[0] == 0, "the server may ask another one"

    def test_of_a_download(self, run: Run, folder: Path, registered: None, site: FaultyScore) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "b.bam").write_bytes(b"other")
        status, _, err = run(*DOWNLOAD, *ANALYSED, "--dry-run")
        assert status == 0
        assert "out/a.bam: would move, 321.0 KiB" in err
        assert "out/b.bam: already there, 5 B" in err
        assert site.gets == []
        assert os.listdir(folder / "out") == ["b.bam"]

    def test_of_a_download_into_a_new_folder(self, run: Run, folder: Path, registered: None) -> None:
        assert run(*DOWNLOAD, *ANALYSED, "--dry-run")[0] == 0
        assert not (folder / "out").exists()

    @pytest.mark.parametrize("rehearsal", [["--dry-run"], []], ids=["rehearsed", "done"])
    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_of_a_download_into_a_file(
        self, run: Run, folder: Path, registered: None, place: str, rehearsal: list[str]
    ) -> None:
        (folder / "file").touch()
        status, _, err = run("download", "--output-dir", place, "--object-id", OTHER, *rehearsal)
        assert status == 2
        assert f"{place} cannot be the output folder: file is no folder." in err

    def test_of_a_download_into_a_folder_that_nobody_may_write_to(
        self, run: Run, folder: Path, registered: None
    ) -> None:
        (folder / "shut").mkdir(mode=0o555)
        for place in ("shut", "shut/below/it"):
            words = ("download", "--output-dir", place, "--object-id", OTHER, "--dry-run")
            status, _, err = unprivileged(lambda words=words: run(*words))
            assert status == 3
            assert f"{place}: nothing can be written in shut." in err

    def test_of_a_download_from_a_folder_that_is_gone(self, run: Run, folder: Path, registered: None) -> None:
        settings = [f"--{line}" for line in (folder / "application.properties").read_text().splitlines()]
        (folder / "gone").mkdir()
        os.chdir(folder / "gone")
        (folder / "gone").rmdir()
        assert run("download", "--output-dir", "out", "--object-id", OTHER, "--dry-run", *settings)[0] in (0, 3, 4)

    def test_of_a_download_that_would_fail(self, run: Run, folder: Path, registered: None) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "b.bam").write_bytes(b"OTHER")
        status, _, err = run(*DOWNLOAD, "--object-id", OTHER, "--dry-run")
        assert status == 3
        assert "with other contents" in err
        assert run(*DOWNLOAD, "--object-id", OTHER, "--dry-run", "--force")[0] == 0
        assert (folder / "out" / "b.bam").read_bytes() == b"OTHER"

    def test_of_a_download_whose_bytes_would_be_in_the_way(self, run: Run, folder: Path, registered: None) -> None:
        (folder / "out").mkdir()
        (folder / "out" / OTHER).write_bytes(b"OTHER")
        for rehearsal in (["--dry-run"], []):
            status, _, err = run(*DOWNLOAD, "--object-id", OTHER, *rehearsal)
            assert status == 3
            assert f"{OTHER} is in the way" in err
        assert (folder / "out" / OTHER).read_bytes() == b"OTHER"
        assert run(*DOWNLOAD, "--object-id", OTHER, "--dry-run", "--force")[0] == 0

    @pytest.mark.parametrize("there", [True, False], ids=["a folder that is there", "a new folder"])
    def test_of_a_download_that_the_disk_has_no_room_for(
        self, run: Run, folder: Path, registered: None, site: FaultyScore, there: bool
    ) -> None:
        part = {"partNumber": 1, "partSize": 10**18, "offset": 0, "url": "http://x/", "md5": None}
        found = {"objectKey": "k", "objectId": OTHER, "uploadId": "u", "objectSize": 10**18, "parts": [part]}
        site.traffic.inject(Answer(200, json.dumps(found).encode()), path=f"/download/{OTHER}", times=None)
        if there:
            (folder / "out").mkdir()
        for rehearsal in (["--dry-run"], []):
            status, _, err = run(*DOWNLOAD, "--object-id", OTHER, *rehearsal)
            assert status == 10
            assert "bytes are needed and" in err
            assert (folder / "out").exists() == (there or not rehearsal)


class TestRecords:
    def test_an_object_each_and_the_end(self, run: Run, files: Path, site: FaultyScore) -> None:
        status, out, err = run("upload", *ANALYSED, "--dir", "in", "--json")
        assert status == 0
        found = records(out)
        assert all(one["v"] == 1 and one["command"] == "upload" for one in found)
        by_id = {one["object_id"]: one for one in found[:-1]}
        one = by_id[OBJECT]
        assert (one["record"], one["path"], one["state"]) == ("object", "in/a.bam", "uploaded")
        assert (one["bytes"], one["md5"], one["error"]) == (len(DATA), MD5, None)
        assert isinstance(one["seconds"], float)
        assert found[-1]["record"] == "end"
        assert [found[-1][name] for name in ("exit", "objects", "failed", "error")] == [0, 2, 0, None]
        assert "2 files: 2 uploaded" in err

    def test_failures(self, run: Run, folder: Path, registered: None) -> None:
        status, out, _ = run(*DOWNLOAD, "--object-id", OBJECT, ANALYSIS, "--json")
        assert status == 3
        *objects, end = records(out)
        (bad,) = [one for one in objects if one["state"] == "failed"]
        error = bad["error"]
        assert isinstance(error, dict)
        assert (bad["object_id"], error["kind"], error["exit"]) == (ANALYSIS, "NotFound", 4)
        assert (end["exit"], end["objects"], end["failed"]) == (3, 2, 1)

    def test_what_ends_the_whole_command(self, run: Run, folder: Path, site: FaultyScore) -> None:
        site.traffic.inject(Answer(503), times=None)
        status, out, _ = run(*DOWNLOAD, "--object-id", OBJECT, "--json")
        assert status == 5
        (end,) = records(out)
        assert (end["record"], end["exit"]) == ("end", 5)
        assert isinstance(end["error"], dict)
        assert end["error"]["kind"] == "Unavailable"

    @pytest.mark.parametrize(("more", "status"), [((), 5), ((ANALYSIS,), 3)])
    def test_what_may_pass(
        self, run: Run, folder: Path, registered: None, site: FaultyScore, more: tuple[str, ...], status: int
    ) -> None:
        site.traffic.inject(Answer(503), path=f"^/download/{OBJECT}", times=None)
        found, out, _ = run(*DOWNLOAD, "--object-id", OBJECT, OTHER, *more, "--json")
        assert found == status
        *objects, end = records(out)
        assert sorted(one["state"] for one in objects) == sorted(["downloaded", "failed", *["failed" for _ in more]])
        assert end["exit"] == status

    def test_a_defect(
        self, run: Run, folder: Path, registered: None, site: FaultyScore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("score.cli.inputs.shard_objects", lambda *_: {}["secret"])
        status, out, err = run(*DOWNLOAD, "--object-id", OBJECT, "--json")
        assert status == 1
        (end,) = records(out)
        assert (end["record"], end["exit"], end["command"], end["objects"]) == ("end", 1, "download", 0)
        assert isinstance(end["error"], dict)
        assert (end["error"]["kind"], end["error"]["exit"]) == ("Defect", 1)
        assert "a defect of this program: KeyError" in end["error"]["message"]
        assert "SCORE_DEBUG" in end["error"]["hint"]
        assert end["error"]["message"] in err
        assert "secret" not in out

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--json",), "--output-dir"),
            (("--shard", "3/2", "--output-dir", "out", "--object-id", OBJECT, "--json"), "is not I/N"),
            (("--output-dir", "out", "--json"), "Give one of --manifest"),
        ],
    )
    def test_wrong_use(self, run: Run, folder: Path, words: tuple[str, ...], says: str) -> None:
        status, out, err = run("download", *words)
        assert status == 2
        (end,) = records(out)
        assert (end["record"], end["exit"], end["command"]) == ("end", 2, "download")
        assert isinstance(end["error"], dict)
        assert (end["error"]["kind"], end["error"]["exit"]) == ("Invalid", 2)
        assert says in end["error"]["message"]
        assert says in err

    def test_wrong_use_of_what_writes_no_records(self, run: Run, folder: Path) -> None:
        status, out, _ = run("info", "--json", "--verbose", "--", "what")
        assert (status, out) == (2, "")

    def test_a_report_that_cannot_be_finished(self, folder: Path, registered: None) -> None:
        limited = (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY)); "
            "from score.cli.main import main; main()"
        )
        words = [*DOWNLOAD, "--object-id", OBJECT, "--dry-run", "--report", "r.tsv", "--json"]
        ended = subprocess.run(
            [sys.executable, "-c", limited, *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 3
        assert "r.tsv: File too large" in ended.stderr
        *_, end = records(ended.stdout)
        assert (end["record"], end["exit"], end["objects"]) == ("end", 3, 1)

    def test_an_interruption(self, folder: Path, site: FaultyScore, registered: None) -> None:
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
        words = [*CLIENT, *DOWNLOAD, "--object-id", OBJECT, "--json"]
        with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            gate.wait_for_arrival()
            client.terminate()
            out, _ = client.communicate(timeout=60)
        assert client.returncode == 130
        one, end = records(out)
        assert (one["record"], one["object_id"], one["state"]) == ("object", OBJECT, "not finished")
        assert (end["exit"], end["objects"], end["failed"]) == (130, 1, 1)
        assert end["error"] == one["error"]

    def test_an_interruption_while_nobody_reads(self, folder: Path, site: FaultyScore, registered: None) -> None:
        """It comes while a record is written, and those of what is under way are still to come."""
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
        others = [f"5c0eca11-0000-4000-8000-{number:012}" for number in range(1000, 1100)]
        (folder / "ids").write_text("\n".join([OBJECT, *others]))
        words = [*CLIENT, *DOWNLOAD, "--object-id", "-", "--json"]
        with (
            (folder / "ids").open() as ids,
            subprocess.Popen(
                words, cwd=folder, stdin=ids, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as client,
        ):
            assert client.stdout is not None
            room = fcntl.fcntl(client.stdout, fcntl.F_SETPIPE_SZ, 4096)
            gate.wait_for_arrival()
            while waiting_in(client.stdout) < room - 500:
                pass
            client.terminate()
            told = records(client.stdout.read())
        assert client.returncode == 130
        *objects, end = told
        assert [one["state"] for one in objects if one["object_id"] == OBJECT] == ["not finished"]
        assert (end["exit"], end["objects"]) == (130, len(objects))

    def test_a_server_that_goes_away_takes_a_record_for_each_and_one_line_for_all(
        self, run: Run, folder: Path, site: FaultyScore
    ) -> None:
        (folder / "a.bam").write_bytes(DATA)
        ids = [f"5c0eca11-0000-4000-8000-{number:012}" for number in range(500)]
        (folder / "m.tsv").write_text(f"{ANALYSIS}\t\t\n" + "".join(f"{one}\ta.bam\t{MD5}\n" for one in ids))
        site.traffic.inject(Reset(), path="^/upload/", times=None)
        status, out, err = run(
            "upload", "--manifest", "m.tsv", "--json", "--report", "r.tsv", "--transport.parallel=1"
        )
        assert status == 5
        *objects, end = records(out)
        assert [one["object_id"] for one in sorted(objects, key=lambda one: one["object_id"])] == ids
        assert {one["state"] for one in objects} == {"failed"}
        assert (end["exit"], end["objects"], end["failed"]) == (5, 500, 500)
        rows = [line.split("\t") for line in (folder / "r.tsv").read_text().splitlines()[1:]]
        assert sorted(row[0] for row in rows) == ids
        left = sum("not begun: " in row[6] for row in rows)
        assert f"Error: {left} files: not begun: {site.url} is away, 3 files in a row got no answer of it.\n" in err
        assert err.count("Error: ") == 500 - left + 1
        assert err.count("\n") < 100

    def test_a_reader_that_goes_away_ends_no_transfer_but_is_told(self, folder: Path, registered: None) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        words = [*CLIENT, *DOWNLOAD, "--object-id", OBJECT, "--json"]
        with os.fdopen(writing, "wb") as nobody:
            ended = subprocess.run(
                words, cwd=folder, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=120, check=False
            )
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        assert ended.returncode == 3
        assert "records of this run were lost" in ended.stderr

    def test_a_url(self, folder: Path, registered: None, capfd: pytest.CaptureFixture[str]) -> None:
        from score.cli.main import main

        with pytest.raises(SystemExit):
            main(["url", "--object-id", OBJECT, "--json"])
        first, end = records(capfd.readouterr().out)
        assert str(first["url"]).startswith("http://")
        assert end["exit"] == 0


class TestLimits:
    """A limit of a byte a second lets nothing through but the first piece; the other way it is of no account."""

    @pytest.mark.parametrize(("limit", "status"), [("off:1b", 130), ("1b:off", 0)])
    def test_of_a_download(self, folder: Path, registered: None, limit: str, status: int) -> None:
        words = [*DOWNLOAD, "--object-id", OBJECT, "--bwlimit", limit, *(["--max-duration", "1s"] if status else [])]
        ended = subprocess.run(
            [*CLIENT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == status, ended.stderr
        assert (folder / "out" / "a.bam").exists() == (status == 0)

    @pytest.mark.parametrize(("limit", "status"), [("1b:off", 130), ("off:1b", 0)])
    def test_of_an_upload(self, folder: Path, site: FaultyScore, limit: str, status: int) -> None:
        (folder / "a.bam").write_bytes(DATA)
        words = ["upload", "--object-id", OBJECT, "--file", "a.bam", "--bwlimit", limit]
        words += ["--max-duration", "1s"] if status else []
        ended = subprocess.run(
            [*CLIENT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == status, ended.stderr
        assert (OBJECT in site.fake.objects) == (status == 0)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("5", 5), ("2m", 120), ("3h", 10_800), ("1d", 86_400), ("2h30m", 9_000), ("1d2h3m4s", 93_784)],
    )
    def test_a_time(self, text: str, seconds: float) -> None:
        assert Duration().convert(text, None, None) == seconds

    def test_when_the_time_is_over_the_same_command_goes_on_later(
        self, run: Run, folder: Path, site: FaultyScore, registered: None
    ) -> None:
        gate = site.traffic.hold(path=f"^/store/{OBJECT}", skip=2)
        words = [*DOWNLOAD, "--object-id", OBJECT, "--transport.parallel=1"]
        ended = subprocess.run(
            [*CLIENT, *words, "--max-duration", "3s", "--report", "r.tsv"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 130
        assert "The time for this run is over" in ended.stderr
        assert "Run the same command again to go on from there." in ended.stderr
        assert len(list((folder / "out" / f".{OBJECT}").glob("part-*"))) == 2
        (row,) = [line.split("\t") for line in (folder / "r.tsv").read_text().splitlines()[1:]]
        assert row[:4] == [OBJECT, "", "not finished", "0"]
        assert row[6].startswith("The time for this run is over: 1 of 1 files remain, 1 are begun;")
        gate.open()
        site.traffic.heal()
        site.traffic.forget()
        assert run(*words, "--max-duration", "1d")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        assert len(site.gets) == 4


class TestReport:
    def test_a_line_for_each_object(self, run: Run, folder: Path, registered: None) -> None:
        status, _, _ = run(*DOWNLOAD, "--object-id", OBJECT, ANALYSIS, "--report", "r.tsv")
        assert status == 3
        header, *lines = [line.split("\t") for line in (folder / "r.tsv").read_text().splitlines()]
        assert header == ["object_id", "path", "state", "bytes", "seconds", "md5", "error"]
        found = {line[0]: line for line in lines}
        assert found[OBJECT][1:4] == ["out/a.bam", "downloaded", str(len(DATA))]
        assert found[OBJECT][5:] == [MD5, ""]
        assert found[ANALYSIS][2] == "failed"
        assert "does not exist" in found[ANALYSIS][6]

    def test_it_is_readable_after_a_crash(self, folder: Path, site: FaultyScore, registered: None) -> None:
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=1)
        words = [*CLIENT, *DOWNLOAD, "--object-id", OTHER, OBJECT, "--report", "r.tsv", "--json"]
        with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
            gate.wait_for_arrival()
            assert client.stdout is not None
            client.stdout.readline()  # OTHER has ended
            client.kill()
        lines = (folder / "r.tsv").read_text().splitlines()
        assert len(lines) == 2
        assert lines[1].startswith(f"{OTHER}\tout/b.bam\tdownloaded\t5\t")

    def test_nothing_else_is_overwritten(self, run: Run, folder: Path, registered: None, site: FaultyScore) -> None:
        (folder / "a.bam").write_bytes(b"precious")
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--report", "a.bam")
        assert status == 2
        assert "a.bam is there already, and is no report" in err
        assert (folder / "a.bam").read_bytes() == b"precious"
        assert site.traffic.seen() == []
        for _ in range(2):
            assert run(*DOWNLOAD, "--object-id", OBJECT, "--report", "r.tsv")[0] == 0
        assert "already there" in (folder / "r.tsv").read_text()

    def test_a_folder_that_is_not_there(self, run: Run, folder: Path, registered: None, site: FaultyScore) -> None:
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--report", "missing/r.tsv")
        assert status == 4
        assert "missing/r.tsv: No such file or directory" in err
        assert site.traffic.seen() == []

    def test_odd_names_stay_in_their_cells(self, run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
        name = os.fsdecode(b"a\tb\\\n\xff.bam")
        (folder / name).write_bytes(b"x")
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=1)
        assert run("upload", "--object-id", OBJECT, "--file", name, "--report", "r.tsv")[0] == 0
        cells = (folder / "r.tsv").read_bytes().splitlines()[1].split(b"\t")
        assert cells[1] == b"a\\tb\\\\\\n\xff.bam"


class TestSettingsAsOptions:
    def test_nothing_to_do_is_told_where_it_is_asked_for(self, run: Run, folder: Path, registered: None) -> None:
        words = (*DOWNLOAD, "--object-id", OBJECT, "--error-on-no-transfer")
        assert run(*words)[0] == 0
        assert run(*words)[0] == 9
        assert run(*words[:-1])[0] == 0
        assert run(*words, "--force")[0] == 0
        assert run(*words, "--dry-run")[0] == 9

    @pytest.mark.parametrize(("retries", "calls"), [(0, 1), (2, 3)])
    def test_retries(self, run: Run, folder: Path, site: FaultyScore, retries: int, calls: int) -> None:
        site.traffic.inject(Answer(503), path="/profile", times=None)
        assert run(*DOWNLOAD, "--object-id", OBJECT, "--retries", retries)[0] == 5
        assert len(site.traffic.seen(path="/profile")) == calls

    def test_the_folder_of_the_state(self, folder: Path, files: Path, site: FaultyScore) -> None:
        gate = site.traffic.hold(method="PUT", skip=2)
        words = [*CLIENT, "upload", "--object-id", OBJECT, "--file", "in/a.bam", "--state-dir", "state"]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE) as client:
            gate.wait_for_arrival()
            client.kill()
        assert (folder / "state" / f".{OBJECT}" / "uploadId").is_file()
        assert not (files / f".{OBJECT}").exists()


def test_without_validation_nothing_is_called_verified(run: Run, folder: Path, registered: None) -> None:
    status, out, _ = run(*DOWNLOAD, "--object-id", OBJECT, "--validate", "false", "--json")
    assert status == 0
    assert records(out)[0]["state"] == "downloaded, not verified"
    assert (folder / "out" / "a.bam").read_bytes() == DATA


class TestEqualNames:
    """Two objects of one name: none overwrites the other, and none is dropped without a word."""

    @pytest.fixture(autouse=True)
    def twins(self, song: FakeSong, site: FaultyScore) -> None:
        for object_id, analysis in ((OBJECT, ANALYSIS), (OTHER, ANALYSIS)):
            song.register("a.bam", analysis=analysis, object_id=object_id)
        site.fake.add(OBJECT, DATA)
        site.fake.add(OTHER, b"other")

    @pytest.mark.parametrize("layout", ["filename", "bundle"])
    @pytest.mark.parametrize("force", [(), ("--force",)])
    def test_in_one_run(self, run: Run, folder: Path, layout: str, force: tuple[str, ...]) -> None:
        status, out, err = run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--output-layout", layout, "--json", *force)
        assert status == 3
        states = {one["object_id"]: one["state"] for one in records(out)[:-1]}
        assert sorted(map(str, states.values())) == ["downloaded", "failed"]
        assert f"would be written by two objects, {OBJECT} and {OTHER}" in err.replace(
            f"{OTHER} and {OBJECT}", f"{OBJECT} and {OTHER}"
        )
        path = folder / "out" / ("a.bam" if layout == "filename" else f"{ANALYSIS}/a.bam")
        kept = next(one for one, state in states.items() if state == "downloaded")
        assert path.read_bytes() == (DATA if kept == OBJECT else b"other")

    def test_one_run_after_the_other(self, run: Run, folder: Path) -> None:
        assert run(*DOWNLOAD, "--object-id", OBJECT)[0] == 0
        status, _, err = run(*DOWNLOAD, "--object-id", OTHER)
        assert status == 3
        assert "is there already, with 328,680 bytes instead of 5" in err
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_in_two_shares(self, run: Run, folder: Path, site: FaultyScore) -> None:
        words = (*DOWNLOAD, "--object-id", OBJECT, OTHER)
        assert run(*words, "--shard", "1/2")[0] == 0
        status, _, err = run(*words, "--shard", "2/2")
        assert status == 3
        assert "is there already" in err
        site.traffic.forget()
        status, _, err = run(*words, "--shard", "2/2", "--force")
        assert status == 2
        assert "Add --output-layout bundle or id." in err
        assert site.traffic.seen() == []
        assert run(*words, "--shard", "2/2", "--force", "--output-layout", "id")[0] == 0

    def test_by_id_both_come(self, run: Run, folder: Path) -> None:
        assert run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--output-layout", "id")[0] == 0
        assert sorted(os.listdir(folder / "out")) == [OBJECT, OTHER]


class TestLocales:
    @pytest.mark.parametrize(
        "variables",
        [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}],
    )
    def test_odd_names_in_every_locale(
        self, folder: Path, song: FakeSong, site: FaultyScore, variables: dict[str, str]
    ) -> None:
        name = "größe".encode() + b"\xff \xe2\x82.bam"
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=1)
        words = [*CLIENT, "upload", "--object-id", OBJECT, "--file", name, "--json", "--report", "r.tsv"]
        ended = subprocess.run(
            words, cwd=folder, env={**os.environ, **variables}, capture_output=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert b".bam: uploaded, 1 B" in ended.stderr
        first, _ = records(ended.stdout.decode("ascii"))
        assert str(first["path"]).encode("utf-8", "surrogateescape") == name
        assert name in (folder / "r.tsv").read_bytes()
