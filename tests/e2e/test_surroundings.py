"""What surrounds a run: networks that go and come, signals, clocks, locales, terminals, closed pipes, slow disks.

Whatever it is: finished parts stay, the exit status tells the truth, the message what to do; no traceback is shown.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.testing.clients import ClientProcess
from score.testing.faults import Gate
from score.testing.minio import running_minio
from score.testing.processes import clean_environment, program
from score.testing.site import Registered, Site, local_site, md5_of, s3_site
from score.transfer.retry import Patience

PART = 5 * MIB
PARTS = 3
INTERRUPTED, LATER, USAGE, SOME_FAILED = 130, 5, 2, 3

Maker = Callable[[str, int], Path]
locally = pytest.mark.parametrize("site", ["local"], indirect=True)


class Job:
    """An upload or a download of one file of three parts, that can be held in its second part."""

    def __init__(self, site: Site, files: Registered, command: str, out: Path) -> None:
        self.site = site
        self.files = files
        self.out = out
        self.source = files.paths[0]
        self._command = command

    @property
    def words(self) -> list[str | Path]:
        """The command."""
        if self._command == "upload":
            return ["upload", "--manifest", self.files.manifest]
        return ["download", "--object-id", self.files.id, "--output-dir", self.out]

    def hold(self, after: int | None = 1000) -> Gate:
        """Hold its parts in the middle, or before the store hears of them, all but the first."""
        method = "PUT" if self._command == "upload" else "GET"
        return self.site.store.hold(method=method, path=self.site.path_of(self.files.id), skip=1, after=after)

    @property
    def kept(self) -> bool:
        """Whether a part is finished for good: a connection that breaks now does not concern it."""
        if self._command == "upload":
            return bool(self.site.finished(self.files.id))
        return any((self.out / f".{self.files.id}").glob("part-*"))

    @property
    def moved(self) -> list[str]:
        """The parts that passed as a whole."""
        seen = self.site.sent(self.files.id) if self._command == "upload" else self.site.fetched(self.files.id)
        return sorted(str(call.part or call.range) for call in seen if call.end == "answered" and call.status != 503)

    def check(self) -> None:
        """It is there as a whole."""
        if self._command == "upload":
            self.site.publish(self.files)
        else:
            assert md5_of(self.out / self.source.name) == md5_of(self.source)
            assert [path.name for path in self.out.iterdir()] == [self.source.name]


def make_job(site: Site, make_file: Maker, command: str, tmp_path: Path, name: str = "reads.bam") -> Job:
    """A job at hand; what it downloads is in the store."""
    files = site.register([make_file(name, PART * (PARTS - 1) + 100_000)])
    if command == "download":
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        site.score.forget()
        site.store.forget()
    return Job(site, files, command, tmp_path / "out")


@pytest.fixture(params=["upload", "download"])
def job(request: pytest.FixtureRequest, site: Site, make_file: Maker, tmp_path: Path) -> Job:
    """Either way."""
    return make_job(site, make_file, request.param, tmp_path)


def complains(client: ClientProcess) -> bool:
    """Whether a client has said that it tries again."""
    return re.search(r"(?i)again|retry", client.stderr) is not None


class TestNetwork:
    def test_a_minute_without_it_is_waited_for(self) -> None:
        """By the settings that nobody has changed, however the dice fall."""
        patience = Patience()
        assert sum(patience.wait(failures, 0.0) for failures in range(1, patience.attempts)) > 60

    @locally
    def test_it_goes_and_comes_back_in_the_middle(self, job: Job) -> None:
        gate = job.hold()
        with job.site.start(*job.words, storage_retryNumber="30") as client:
            gate.wait_for_arrival()
            client.wait_until(lambda: job.kept)
            job.site.score_proxy.shut()
            job.site.store.heal()
            client.wait_until(lambda: complains(client))
            job.site.score_proxy.open()
            client.conclude()
        assert len(job.moved) == len(set(job.moved)) == PARTS
        job.check()

    @locally
    def test_it_goes_for_good(self, job: Job) -> None:
        gate = job.hold()
        with job.site.start(*job.words, storage_retryNumber="3") as client:
            gate.wait_for_arrival()
            client.wait_until(lambda: job.kept)
            job.site.score_proxy.shut()
            result = client.conclude(LATER)
        assert "reads.bam" in result.stderr
        before = len(job.moved)
        job.site.heal()
        job.site.run(*job.words)
        assert len(job.moved) == PARTS - before
        job.check()

    @locally
    def test_names_are_not_found(self, site: Site, tmp_path: Path) -> None:
        words = ["download", "--object-id", "5c0eca11-0000-4000-8000-000000000001", "--output-dir", tmp_path]
        result = site.run(*words, status=LATER, storage_url="http://score.invalid:8087")
        assert "score.invalid:8087" in result.stderr
        assert re.search(r"name or service not known|temporary failure in name resolution", result.stderr)

    @pytest.mark.needs("minio")
    @pytest.mark.parametrize("command", ["upload", "download"])
    def test_the_store_is_restarted(self, make_file: Maker, tmp_path: Path, command: str) -> None:
        with running_minio() as minio, s3_site(tmp_path / "site", minio) as site:
            job = make_job(site, make_file, command, tmp_path)
            gate = job.hold(after=None)
            with site.start(*job.words, storage_retryNumber="30") as client:
                gate.wait_for_arrival()
                minio.kill()
                site.store.heal()
                client.wait_until(lambda: complains(client))
                minio.restart()
                client.conclude()
            job.check()


class TestSignals:
    @locally
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
    def test_it_ends_and_says_how_to_go_on(self, job: Job, number: signal.Signals) -> None:
        gate = job.hold()
        with job.site.start(*job.words) as client:
            gate.wait_for_arrival()
            os.kill(client.pid, number)
            result = client.conclude(INTERRUPTED)
        assert "Run the same command again" in result.stderr
        before = len(job.moved)
        job.site.heal()
        job.site.run(*job.words)
        assert len(job.moved) >= PARTS - before - 1
        job.check()

    @locally
    def test_a_terminal_that_hangs_up_does_not_end_what_runs_under_nohup(self, job: Job) -> None:
        gate = job.hold()
        with job.site.start(*job.words, prefix=["nohup"]) as client:
            gate.wait_for_arrival()
            os.kill(client.pid, signal.SIGHUP)
            job.site.store.heal()
            client.conclude()
        job.check()


def begin_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every program in Python that is started from now on begin with ``code``, which is kept in a new folder."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


SHIFTED = """
import datetime, os, time
real, Time = time.time, datetime.datetime
def shift():
    return float(os.environ["CLOCK_SHIFT"]) if os.path.exists(os.environ["CLOCK_FLAG"]) else 0.0
class Shifted(Time):
    @classmethod
    def now(cls, tz=None):
        return Time.now(tz) + datetime.timedelta(seconds=shift())
time.time = lambda: real() + shift()
datetime.datetime = Shifted
"""
"""A clock that somebody sets in the middle of a run: once the file ``CLOCK_FLAG`` is there."""


@locally
@pytest.mark.parametrize("days", [-2, 400])
def test_a_clock_that_is_set_in_the_middle(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    begin_with(SHIFTED, tmp_path / "clock", monkeypatch)
    flag = tmp_path / "set"
    monkeypatch.setenv("CLOCK_FLAG", str(flag))
    monkeypatch.setenv("CLOCK_SHIFT", str(days * 86400))
    gate = job.hold()
    with job.site.start(*job.words) as client:
        gate.wait_for_arrival()
        flag.touch()
        job.site.store.heal()
        client.conclude()
    assert len(job.moved) == PARTS
    job.check()


SLOW = """
import os, time
real = os.fsync
def fsync(descriptor):
    while os.path.exists(os.environ["SLOW_FLAG"]):
        open(os.environ["SLOW_FLAG"] + ".met", "a").close()
        time.sleep(0.01)
    real(descriptor)
os.fsync = os.fdatasync = fsync
"""
"""A disk that does not come to an end with ``fsync`` while the file ``SLOW_FLAG`` is there, as NFS at a bad hour."""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that makes a disk slow, for programs that are started from now on. It is not there yet; one beside it
    that ends in ``.met`` tells that somebody waits for the disk."""
    begin_with(SLOW, tmp_path / "slow", monkeypatch)
    flag = tmp_path / "flag"
    monkeypatch.setenv("SLOW_FLAG", str(flag))
    return flag


def test_a_server_whose_disk_is_slow_to_sync_answers_others_meanwhile(
    make_file: Maker, tmp_path: Path, slow: Path
) -> None:
    with local_site(tmp_path / "site") as site:
        there = make_job(site, make_file, "download", tmp_path)
        files = site.register([make_file("slow.bam", PART + 1)])
        slow.touch()
        with site.start("upload", "--manifest", files.manifest) as client:
            site.score.wait(lambda seen: any(call.path == f"/upload/{files.id}/begin" for call in seen))
            site.run(*there.words)
            there.check()
            assert site.finished(files.id) == set()
            slow.unlink()
            client.conclude()
        site.publish(files)


@locally
@pytest.mark.parametrize("end", ["interrupt", "kill"])
def test_a_client_whose_disk_is_slow_to_sync_waits_for_it_neither_to_move_bytes_nor_to_end(
    job: Job, slow: Path, end: str
) -> None:
    slow.touch()
    gate = job.hold()
    with job.site.start(*job.words) as client:
        gate.wait_for_arrival()
        client.wait_until(lambda: job.kept and slow.with_name("flag.met").exists())
        if end == "kill":
            client.kill()
        else:
            client.interrupt()
            client.conclude(INTERRUPTED)
    job.site.heal()
    job.site.run(*job.words)
    assert len(job.moved) == PARTS - 1, "what was finished is kept, although no disk was waited for"
    job.check()


LOCALES = pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["C", "nothing but ASCII"],
)


class TestNames:
    """Names that are no UTF-8, and locales that know nothing but ASCII."""

    @locally
    @LOCALES
    @pytest.mark.parametrize("name", [b"reads \xe9\xff.bam", "Prüfling-β.bam".encode()], ids=["bytes", "utf-8"])
    def test_a_file_of_that_name_is_sent(
        self, site: Site, make_file: Maker, tmp_path: Path, name: bytes, locale: dict[str, str]
    ) -> None:
        files = site.register([make_file("reads.bam", 1000)])
        odd = os.path.join(os.fsencode(tmp_path), name)
        os.rename(files.paths[0], odd)
        files.paths[0].unlink(missing_ok=True)
        environment = clean_environment(tmp_path, {"storage.url": site.url}) | locale | {"SCORE_DEBUG": "1"}
        command: list[str | bytes] = [program("score-client"), "upload", "--object-id", files.id, "--file", odd]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        site.publish(files)
        command[-1] = odd + b"-absent"
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert done.returncode == 4, done.stderr
        assert b"No such file" in done.stderr
        assert b"Traceback" not in done.stderr

    @locally
    def test_names_of_the_registry_are_written_as_they_are(
        self, site: Site, make_file: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LC_ALL", "C")
        job = make_job(site, make_file, "download", tmp_path, "Prüfling-β.vcf")
        site.run(*job.words)
        assert os.listdir(os.fsencode(job.out)) == ["Prüfling-β.vcf".encode()]

    @locally
    def test_a_name_that_the_locale_does_not_have_is_told_and_the_others_go_on(
        self, site: Site, make_file: Maker, tmp_path: Path
    ) -> None:
        files = site.register([make_file("Prüfling-β.vcf", 1000), make_file("plain.vcf", 1000)])
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        words = ("--study-id", files.study, "--analysis-id", files.analysis, "--output-dir", tmp_path / "out")
        site.run("download", *words)
        ascii_only = ("env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0")
        for command, state in (("download", "already there"), ("verify", "verified")):
            with site.start(command, *words, prefix=ascii_only) as client:
                told = client.conclude(SOME_FAILED).stderr
            assert f"plain.vcf: {state}" in told
            assert "cannot be written in this locale (ascii)" in told
            assert "LC_ALL=C.UTF-8" in told


FIPS = """\
openssl_conf = start
[start]
providers = providers
alg_section = algorithms
[providers]
default = standard
[standard]
activate = 1
[algorithms]
default_properties = fips=yes
"""


class TestFipsMode:
    """Systems where OpenSSL has MD5 only for who says that it guards nothing."""

    @locally
    def test_files_are_moved_and_verified(self, job: Job, tmp_path: Path) -> None:
        (tmp_path / "openssl.cnf").write_text(FIPS)
        fips = ("env", f"OPENSSL_CONF={tmp_path / 'openssl.cnf'}")
        bare = subprocess.run([*fips, sys.executable, "-c", "import hashlib; hashlib.md5()"], capture_output=True)
        assert b"unsupported" in bare.stderr
        with job.site.start(*job.words, prefix=fips) as client:
            client.conclude()
        job.check()


class TestTerminals:
    @locally
    @pytest.mark.parametrize("kind", ["xterm-256color", "dumb"])
    def test_one_of_20_columns(self, job: Job, kind: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
        shown = bytearray()

        def read() -> None:
            try:
                while data := os.read(ours, 65536):
                    shown.extend(data)
            except OSError:  # how a terminal ends
                pass

        reader = threading.Thread(target=read)
        environment = clean_environment(job.out.parent, {"storage.url": job.site.url}) | {"TERM": kind}
        command = [program("score-client"), *map(str, job.words)]
        gate = job.hold()
        with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as client:
            os.close(theirs)
            reader.start()
            gate.wait_for_arrival()
            job.site.store.heal()
            assert client.wait(60) == 0, shown
        reader.join()
        os.close(ours)
        assert b"Traceback" not in shown
        assert b"1 file: 1 " in shown.replace(b"\r\n", b"")
        job.check()

    @locally
    def test_output_that_nobody_reads_any_more(self, job: Job) -> None:
        """``score-client ... 2>&1 | head -1``: the files are moved all the same."""
        environment = clean_environment(job.out.parent, {"storage.url": job.site.url})
        read, write = os.pipe()
        os.close(read)
        command = [program("score-client"), *map(str, job.words)]
        done = subprocess.run(command, env=environment, stdout=write, stderr=write, check=False, timeout=60)
        os.close(write)
        assert done.returncode == 0
        job.check()

    @locally
    @pytest.mark.parametrize("words", [["url"], ["version"], ["--help"], ["help", "upload"]], ids=" ".join)
    def test_answers_that_nobody_reads_any_more(
        self, site: Site, make_file: Maker, tmp_path: Path, words: list[str]
    ) -> None:
        if words == ["url"]:
            words = ["url", "--object-id", make_job(site, make_file, "download", tmp_path).files.id]
        environment = clean_environment(tmp_path, {"storage.url": site.url})
        read, write = os.pipe()
        os.close(read)
        command = [program("score-client"), *words]
        done = subprocess.run(command, env=environment, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60)
        os.close(write)
        assert done.stderr == b""
        assert done.returncode == INTERRUPTED


class TestHomes:
    @locally
    @pytest.mark.parametrize("home", ["/proc/none", "/dev/null"])
    def test_a_user_without_a_folder(self, job: Job, home: str) -> None:
        with job.site.start(*job.words, prefix=["env", f"HOME={home}"]) as client:
            client.conclude()
        job.check()

    @locally
    @pytest.mark.needs("mounts")
    def test_a_user_whom_the_system_does_not_know(self, job: Job) -> None:
        """As in containers and namespaces that come with a number only."""
        unknown = ["env", "-u", "HOME", "unshare", "--user", "--map-user=54321"]
        with job.site.start(*job.words, prefix=unknown) as client:
            client.conclude()
        job.check()

    @locally
    def test_a_token_file_that_is_not_there(self, site: Site, tmp_path: Path) -> None:
        absent = tmp_path / "token"
        result = site.run("url", "--object-id", "x", status=USAGE, accessTokenFile=str(absent))
        assert f"accessTokenFile: {absent} cannot be read" in result.stderr
