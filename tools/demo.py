"""``make demo``: real genomics files go up through a Score server, are published, come down again and are verified.

The commands are those that a user types, run as real processes, on loopback and in a temporary folder. The exit
status is 0 only if everything was verified; whatever happens, the server is ended and the folder removed.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pysam
import specimens
from specimens import REGION, Counts

from score.testing.processes import clean_environment, program
from score.testing.proxy import FaultProxy

STUDY = "DEMO-CA"
FASTQ = 150_000_000
"""Bytes of each of the two large files."""
START = 30.0
"""Seconds that the server may take to answer."""
KEPT = 3
"""Parts that the interrupted upload may finish."""
MIB = 1024 * 1024


class Failed(Exception):
    """Something is not as it must be."""


class Stage:
    """What the audience sees: headlines, commands, checks; colours on a terminal only."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._colours = self.terminal and "NO_COLOR" not in os.environ
        self._number = 0
        self.steps: list[tuple[str, float, int]] = []
        self.checks = 0

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text

    def say(self, text: str = "") -> None:
        """A line."""
        print(text, flush=True)

    @contextmanager
    def step(self, title: str, size: int = 0) -> Iterator[None]:
        """A numbered step; its time is shown at its end, and its rate where it moves ``size`` bytes."""
        self._number += 1
        self.say("\n" + self._paint("1;36", f"{self._number}. {title}"))
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        self.steps.append((title, seconds, size))
        self.say(self._paint("2", f"   {took(seconds, size)}"))

    def command(self, text: str) -> None:
        """A command line, as it is typed."""
        self.say(self._paint("1", f"   $ {text}"))

    def check(self, good: bool, text: str) -> None:
        """Something that must be so. Failed where it is not."""
        if not good:
            raise Failed(f"This is not so: {text}")
        self.checks += 1
        self.say(f"   {self._paint('32', 'ok')}  {text}")

    def summary(self) -> None:
        """All steps as a table."""
        width = max(len(title) for title, _, _ in self.steps)
        self.say("\n" + self._paint("1;36", "Summary"))
        for title, seconds, size in self.steps:
            rate = f"{size / 1e6:8.1f} MB  {size / 1e6 / seconds:7.0f} MB/s" if size else ""
            self.say(f"   {title:{width}}  {seconds:6.2f} s  {rate}".rstrip())


def took(seconds: float, size: int) -> str:
    """A time, and the rate for that many bytes."""
    return f"{seconds:.2f} s" + (f", {size / 1e6:.1f} MB, {size / 1e6 / seconds:.0f} MB/s" if size else "")


@dataclass
class Demo:
    """The folder in which everything happens, and the programs that run in it."""

    stage: Stage
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    server: subprocess.Popen[str] | None = None
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def start_server(self) -> str:
        """Start score-server on a free port; gives its address, as soon as it says it."""
        words = ["score-server", "--local.directory=server-data", "--server.port=0"]
        self.stage.command(shlex.join(words))
        with open(self.folder / "server.log", "w") as log:
            self.server = self.start(words, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        url = self._listen(self.server)
        self.environment |= {"STORAGE_URL": url}
        self.stage.command(f"export STORAGE_URL={url}")
        return url

    def _listen(self, server: subprocess.Popen[str]) -> str:
        """Show what the server says on its start; its address."""
        assert server.stdout is not None
        stdout = server.stdout
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()

        def read() -> None:
            for line in stdout:
                lines.put(line.rstrip())
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        url = ""
        until = time.monotonic() + START
        for _ in range(3):
            try:
                line = lines.get(timeout=max(until - time.monotonic(), 0.01))
            except queue.Empty:
                line = ""
            if not line:
                raise Failed(f"The server did not start:\n{(self.folder / 'server.log').read_text()[-2000:]}")
            self.stage.say(f"   {line}")
            url = line.split()[-1] if line.startswith("URL") else url
        return url

    def start(self, words: Sequence[str], **how: object) -> subprocess.Popen[str]:
        """Start one of the two programs in the folder."""
        command = [program(words[0]), *words[1:]]
        started: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, text=True, **how
        )
        self.begun.append(started)
        return started

    def client(self, *words: str, into: str = "", status: int = 0) -> str:
        """Run score-client as a user does, its messages shown; gives its standard output.

        ``into`` is the shell variable that the user would keep the output in. Failed unless it ends with ``status``.
        """
        shown = shlex.join(["score-client", *words])
        self.stage.command(f"{into}=$({shown})" if into else shown)
        # A terminal is left to the client, for its moving display.
        messages = sys.stdout.fileno() if self.stage.terminal else subprocess.PIPE
        client = self.start(["score-client", *words], stdout=subprocess.PIPE, stderr=messages)
        output, said = client.communicate()
        for line in (said or "").splitlines():
            self.stage.say(f"   {line}")
        if into:
            self.stage.command(f"echo ${into}")
            self.stage.say(f"   {output.rstrip()}")
        if client.returncode != status:
            raise Failed(f"score-client {words[0]} ended with status {client.returncode} instead of {status}.")
        return output.strip()

    def close(self) -> None:
        """End every program that still runs, and remove the folder."""
        for running in reversed(self.begun):
            if running.poll() is None:
                running.terminate()
                try:
                    running.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def md5_of(path: Path) -> str:
    """MD5 of a file, in hex; nothing of Score's takes part."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def make_files(demo: Demo) -> tuple[Counts, Counts]:
    """The files of a sequenced sample. Gives what the BAM and the VCF hold."""
    files = demo.folder / "files"
    files.mkdir()
    specimens.write_fastq(files / "sample_R1.fastq", FASTQ, seed=1, mate=1)
    specimens.write_fastq(files / "sample_R2.fastq", FASTQ, seed=2, mate=2)
    specimens.write_fastq(files / "panel.fastq.gz", 12_000_000, seed=3)
    reads = specimens.write_bam(files / "sample.bam", 60_000, seed=4)
    variants = specimens.write_vcf(files / "sample.vcf.gz", 60_000, seed=5)
    for path in sorted(files.iterdir()):
        demo.stage.say(f"   {path.stat().st_size:>13,} bytes  {path.name}")
    return reads, variants


def verify(demo: Demo, reads: Counts, variants: Counts) -> None:
    """Look at what came down, without Score: compare every byte, and use the files as a scientist would."""
    files, downloads = demo.folder / "files", demo.folder / "downloads"
    names = sorted(path.name for path in files.iterdir())
    demo.stage.check(sorted(path.name for path in downloads.iterdir()) == names, f"all {len(names)} files are there")
    for name in names:
        same = md5_of(files / name) == md5_of(downloads / name)
        demo.stage.check(same, f"{name}: MD5 as of the original")
    pysam.set_verbosity(1)  # else it warns of an index that came down before its file
    contig, start, end = REGION
    place = f"{contig}:{start + 1:,}-{end:,}"
    with pysam.AlignmentFile(str(downloads / "sample.bam")) as bam:
        found = bam.count(contig, start, end)
    demo.stage.check(
        found == reads.in_region, f"sample.bam, through its index: {found:,} of {reads.total:,} reads in {place}"
    )
    with pysam.TabixFile(str(downloads / "sample.vcf.gz")) as vcf:
        found = sum(1 for _ in vcf.fetch(contig, start, end))
    demo.stage.check(
        found == variants.in_region,
        f"sample.vcf.gz, through its index: {found:,} of {variants.total:,} variants in {place}",
    )


def interrupt_and_resume(demo: Demo, url: str) -> None:
    """Kill an upload with SIGKILL, run the same command again, and count what is sent."""
    folder = demo.folder / "late"
    folder.mkdir()
    specimens.write_fastq(folder / "late.fastq", FASTQ, seed=6)
    analysis = demo.client("register", "--study-id", STUDY, "--dir", "late", "--manifest", "late.txt", into="LATE")
    demo.stage.say("   From here on a proxy between client and server counts the parts that are sent.")
    with FaultProxy(url) as proxy:
        demo.environment["STORAGE_URL"] = proxy.url
        demo.stage.command(f"export STORAGE_URL={proxy.url}")
        upload = ["score-client", "upload", "--manifest", "late.txt"]
        proxy.traffic.hold(method="PUT", path="/store/", skip=KEPT)
        demo.stage.command(f"{shlex.join(upload)} &")
        client = demo.start(upload, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        proxy.traffic.wait_for(KEPT, method="POST", path="/parts", status=200)
        demo.stage.command("kill -9 $!")
        client.kill()
        client.wait()
        proxy.traffic.heal()
        first = {e.part for e in proxy.traffic.seen(method="POST", path="/parts", status=200)}
        proxy.traffic.forget()
        demo.stage.say(f"   The upload is dead. The server holds {len(first)} finished parts of it.")
        demo.client("upload", "--manifest", "late.txt")
        second = {e.part for e in proxy.traffic.seen(method="PUT", path="/store/")}
        demo.stage.check(
            bool(first) and bool(second) and not first & second,
            f"{len(first)} parts were sent before the kill, the other {len(second)} after it, none twice",
        )
    demo.environment["STORAGE_URL"] = url
    demo.stage.command(f"export STORAGE_URL={url}")
    demo.client("publish", "--study-id", STUDY, "--analysis-id", analysis)
    demo.client("download", "--study-id", STUDY, "--analysis-id", analysis, "--output-dir", "late-downloads")
    same = md5_of(folder / "late.fastq") == md5_of(demo.folder / "late-downloads" / "late.fastq")
    demo.stage.check(same, "late.fastq: MD5 as of the original")


def refuse(demo: Demo) -> None:
    """Upload a file that is not the one that was registered: one byte differs."""
    folder = demo.folder / "wrong"
    folder.mkdir()
    file = folder / "wrong.fastq"
    specimens.write_fastq(file, 1_000_000, seed=7)
    analysis = demo.client("register", "--study-id", STUDY, "--dir", "wrong", "--manifest", "wrong.txt", into="WRONG")
    with open(file, "r+b") as bytes_of:
        bytes_of.seek(500_000)
        byte = bytes_of.read(1)
        bytes_of.seek(500_000)
        bytes_of.write(bytes([byte[0] ^ 1]))
    demo.stage.say("   One bit of wrong.fastq is turned now.")
    demo.client("upload", "--manifest", "wrong.txt", status=8)
    demo.stage.check(True, "the upload was refused with exit status 8: bytes are not what they were promised to be")
    demo.client("publish", "--study-id", STUDY, "--analysis-id", analysis, status=3)
    demo.stage.check(True, "and what is not there cannot be published: exit status 3")


def perform(demo: Demo) -> None:
    """All steps."""
    stage = demo.stage
    with stage.step("Make the files of a sample: FASTQ, BAM and VCF, with indexes"):
        reads, variants = make_files(demo)
    size = size_of(demo.folder / "files")
    with stage.step("Start a server"):
        url = demo.start_server()
    with stage.step("Register the files with the server's registry", size):
        words = ["--study-id", STUDY, "--dir", "files", "--manifest", "manifest.txt"]
        analysis = demo.client("register", *words, into="ANALYSIS")
    with stage.step("Upload", size):
        demo.client("upload", "--manifest", "manifest.txt")
    with stage.step("Publish"):
        demo.client("publish", "--study-id", STUDY, "--analysis-id", analysis)
    with stage.step("Download", size):
        words = ["--study-id", STUDY, "--analysis-id", analysis, "--output-dir", "downloads"]
        demo.client("download", *words)
    with stage.step("Verify, without Score", size):
        verify(demo, reads, variants)
    with stage.step("Kill an upload half-way, and go on"):
        interrupt_and_resume(demo, url)
    with stage.step("Refuse what is wrong"):
        refuse(demo)


NEXT = """\
   The same by hand: the five-minute tour in README.md.
   Your own files:   .venv/bin/score-server, and in another terminal
                     export STORAGE_URL=http://localhost:8087
                     .venv/bin/score-client register --study-id MINE --dir FOLDER --manifest manifest.txt
                     .venv/bin/score-client upload --manifest manifest.txt
   On MinIO or S3:   "On an object store" in README.md.
   Proof by tests:   make test"""


def main() -> int:
    """Run the demo; the exit status."""
    stage = Stage()
    folder = Path(tempfile.mkdtemp(prefix="score-demo-"))
    demo = Demo(stage, folder, clean_environment(folder))
    begun = time.perf_counter()
    stage.say(f"Score moves real files. Everything happens on this machine, in {folder}.")
    try:
        perform(demo)
    except Failed as error:
        stage.say(f"\nFAILED: {error}")
        return 1
    finally:
        demo.close()
    stage.summary()
    stage.say(f"\n   {stage.checks} checks passed in {time.perf_counter() - begun:.0f} s; the folder is removed.\n")
    stage.say("What to try next")
    stage.say(NEXT)
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nInterrupted; everything is cleaned up.")
        sys.exit(130)
