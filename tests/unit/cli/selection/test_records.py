"""``--json`` on standard output."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest

from score.testing.faults import Answer, Reset
from score.testing.score import FaultyScore

from ..conftest import ANALYSIS, CLIENT, DATA, MD5, OBJECT, OTHER, Run
from .conftest import ANALYSED, DOWNLOAD, records

SIGNALLED = """
import io, os, signal, sys
from score.cli.main import main

class Out(io.TextIOWrapper):
    def flush(self):
        super().flush()
        if self.told:
            os.kill(os.getpid(), signal.SIGTERM)

    def write(self, text):
        self.told = '"record": "end"' in text
        return super().write(text)

    told = False

sys.stdout = Out(sys.stdout.buffer, encoding="utf-8")
main()
"""
"""The client, to which a signal comes when it has written its last record, and at each flush from then on."""


def waiting_in(pipe: IO[str]) -> int:
    """Bytes that were written and not read."""
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


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

    def test_a_full_disk_ends_no_transfer_but_is_told_as_one(self, folder: Path, registered: None) -> None:
        words = [*CLIENT, *DOWNLOAD, "--object-id", OBJECT, "--json"]
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(
                words, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
            )
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        assert ended.returncode == 10
        said = "Error: Standard output: No space left on device; records of this run were lost.\nFree some space"
        assert said in ended.stderr

    @pytest.mark.parametrize(("asked", "status"), [(OBJECT, 0), (ANALYSIS, 4)])
    def test_a_signal_after_the_end_does_not_change_what_it_told(
        self, folder: Path, registered: None, asked: str, status: int
    ) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", SIGNALLED, *DOWNLOAD, "--object-id", asked, "--json"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert records(ended.stdout)[-1]["exit"] == ended.returncode == status
        assert "Interrupted" not in ended.stderr

    def test_a_url(self, folder: Path, registered: None, capfd: pytest.CaptureFixture[str]) -> None:
        from score.cli.main import main

        with pytest.raises(SystemExit):
            main(["url", "--object-id", OBJECT, "--json"])
        first, end = records(capfd.readouterr().out)
        assert str(first["url"]).startswith("http://")
        assert end["exit"] == 0
