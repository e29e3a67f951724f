"""Everything that the figures are measured with, made once and taken down at the end: payloads, sites, rivals."""

from __future__ import annotations

import compileall
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import measure
import rivals
from measure import Usage
from rivals import Rivals
from sites import BUCKETS, STUDY, Analysis, LocalSite, MinioSite, Site

import score
from score.testing.minio import Minio, running_minio
from score.testing.processes import clean_environment, program
from score.testing.site import create_buckets
from score.testing.song import FakeSong

MIB = 1024 * 1024
BLOCK = 16 * MIB
_FEW = 100
_FORGOTTEN = 6.0
"""Seconds. ext4 looks at every file that was removed within the last five of them before it makes a new one, which
nobody's download into an empty folder has to pay for."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: bytes of the one file, number of files of 1 MiB, rounds."""

    one: int
    many: int
    rounds: int


FULL = Scale(1024 * MIB, 500, 5)
QUICK = Scale(128 * MIB, 50, 3)


@dataclass(frozen=True, slots=True)
class Payload:
    """Files to be moved, all in one folder."""

    name: str
    folder: Path
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)


class Lab:
    """Sites, rivals and payloads. ``command`` runs one of the compared programs and measures it."""

    def __init__(self, folder: Path, scale: Scale, minio: Minio, song: FakeSong, rivals: Rivals) -> None:
        self.folder = folder
        self.scale = scale
        self.rivals = rivals
        self.minio = minio
        self.song = song
        self.on_minio = MinioSite(folder, minio, song)
        self.on_disk = LocalSite(folder)
        self._analyses: dict[tuple[str, str], Analysis] = {}
        self._uploaded: set[tuple[str, str]] = set()

    @property
    def sites(self) -> tuple[Site, Site]:
        """Both sites, the one on MinIO first."""
        return self.on_minio, self.on_disk

    @cached_property
    def one(self) -> Payload:
        """One large file."""
        return self._payload(f"one file of {self.scale.one // MIB:,} MiB", "one", [self.scale.one])

    @cached_property
    def many(self) -> Payload:
        """Many files of 1 MiB."""
        return self._payload(f"{self.scale.many} files of 1 MiB", "many", [MIB] * self.scale.many)

    @cached_property
    def twenty(self) -> Payload:
        """Twenty large files, which are links to one."""
        where = self.folder / "payloads" / "twenty"
        where.mkdir(parents=True)
        files = [where / f"file-{number:04}.fastq" for number in range(20)]
        for path in files:
            path.hardlink_to(self.one.files[0])
        return Payload(f"20 files of {self.scale.one // MIB:,} MiB", where, tuple(files))

    def _payload(self, name: str, folder: str, sizes: list[int]) -> Payload:
        """Files of random bytes: one random block, over and over, with its place written into it."""
        where = self.folder / "payloads" / folder
        where.mkdir(parents=True)
        files = []
        for number, size in enumerate(sizes):
            files.append(where / f"file-{number:04}.fastq")
            block = bytearray(os.urandom(min(BLOCK, size)))
            with open(files[-1], "wb") as file:
                for at in range(0, size, len(block)):
                    block[:8] = at.to_bytes(8, "big")
                    file.write(block[: size - at])
        return Payload(name, where, tuple(files))

    def fresh(self) -> Path:
        """An empty folder for a download; what the one before left is removed, outside of any measurement."""
        out = self.folder / "out"
        many = out.is_dir() and len(os.listdir(out)) > _FEW
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if many:
            time.sleep(_FORGOTTEN)
        return out

    def score(self, site: Site, *words: str) -> Usage:
        """score-client, with the settings that it has by default."""
        return measure.run([program("score-client"), *words], site.environment, self.folder)

    def upload(self, site: Site, payload: Payload) -> Usage:
        """Upload with score-client, every file checked against its MD5; each time as new objects."""
        self._analyses.pop((site.name, payload.name), None)
        analysis = self.analysis(site, payload)
        if len(payload.files) == 1:
            (line,) = analysis.manifest.read_text().splitlines()[1:]
            identity, path, md5 = line.split("\t")
            words = ["--object-id", identity, "--file", path, "--md5", md5]
        else:
            words = ["--manifest", str(analysis.manifest)]
        used = self.score(site, "upload", *words)
        self._uploaded.add((site.name, payload.name))
        return used

    def download(self, site: Site, payload: Payload) -> Usage:
        """Download with score-client, verified."""
        analysis = self.analysis(site, payload)
        if len(payload.files) == 1:
            words = ["--object-id", *analysis.ids]
        else:
            words = ["--study-id", STUDY, "--analysis-id", analysis.id]
        return self.score(site, "download", *words, "--output-dir", str(self.fresh()))

    def publish(self, site: Site, payload: Payload) -> None:
        """Make a payload available for download, uploading it first where that was not measured."""
        if (site.name, payload.name) not in self._uploaded:
            self.upload(site, payload)
        site.publish(self.analysis(site, payload))

    def analysis(self, site: Site, payload: Payload) -> Analysis:
        """The registration of a payload, made when it is first asked for."""
        key = site.name, payload.name
        if key not in self._analyses:
            self._analyses[key] = site.register(payload.folder)
        return self._analyses[key]

    def rival(self, *command: str) -> Usage:
        """Another program, with its defaults, on MinIO or on local files."""
        settings = {
            "AWS_ACCESS_KEY_ID": self.minio.access_key,
            "AWS_SECRET_ACCESS_KEY": self.minio.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return measure.run(command, clean_environment(self.folder) | settings, self.folder)

    def shell(self, script: str) -> Usage:
        """Several programs, one after another."""
        return self.rival("sh", "-ec", script)

    @property
    def aws(self) -> str:
        """The AWS command line on this MinIO, up to its command."""
        return f"{self.rivals.aws} --endpoint-url {self.minio.endpoint} s3"

    @property
    def s5cmd(self) -> str:
        """s5cmd on this MinIO, up to its command."""
        return f"{self.rivals.s5cmd} --endpoint-url {self.minio.endpoint}"

    @property
    def bucket(self) -> str:
        """Where rivals put their objects."""
        return f"s3://{BUCKETS[2]}"


@contextmanager
def laboratory(scale: Scale) -> Iterator[Lab]:
    """A lab in a temporary folder of its own."""
    found = rivals.install()
    # As pip does when it installs: what runs from a checkout may not be compiled, and is then at every start.
    compileall.compile_dir(Path(score.__file__).parent, quiet=1)
    folder = Path(tempfile.mkdtemp(prefix="score-bench-"))
    try:
        with running_minio() as minio, FakeSong() as song:
            create_buckets(minio, BUCKETS)
            lab = Lab(folder, scale, minio, song, found)
            try:
                for site in lab.sites:
                    site.server.start()
                yield lab
            finally:
                for site in lab.sites:
                    site.server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
