"""What is measured: a score-server on MinIO with a fake Song, and one on a local disk with its own registry."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from score.protocol.ids import object_id
from score.testing.minio import Minio
from score.testing.processes import clean_environment, program
from score.testing.site import Server, md5_of
from score.testing.song import FakeSong

STUDY = "BENCH-CA"
BUCKETS = ("score-objects", "score-state", "rivals")


@dataclass(frozen=True, slots=True)
class Analysis:
    """Registered files: ``ids`` in the order of their names, ``manifest`` to upload them with."""

    id: str
    ids: tuple[str, ...]
    manifest: Path


class Site(Protocol):
    """A server and what belongs to it."""

    name: str
    server: Server

    @property
    def environment(self) -> dict[str, str]:
        """What the clients of this site are started with."""
        ...

    def register(self, folder: Path) -> Analysis:
        """Register the files of a folder as one analysis."""
        ...

    def publish(self, analysis: Analysis) -> None:
        """Make its files available for download."""
        ...


class MinioSite:
    """Objects in MinIO, metadata from a fake Song in this process."""

    name = "MinIO"

    def __init__(self, folder: Path, minio: Minio, song: FakeSong, urls_to: str = "") -> None:
        """``urls_to``: the host of the URLs that clients get, where it is not MinIO's own."""
        self._folder = folder
        self._song = song
        settings = {
            "spring.profiles.active": "s3",
            "s3.endpoint": minio.endpoint,
            "s3.accessKey": minio.access_key,
            "s3.secretKey": minio.secret_key,
            "bucket.name.object": BUCKETS[0],
            "bucket.name.state": BUCKETS[1],
            "metadata.url": song.url,
        }
        if urls_to:
            settings["s3.preSignedUrl.override.host"] = urls_to
        self.server = Server(folder / f"minio-server-{urls_to.replace(':', '-') or 'itself'}", settings)

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(self._folder, {"storage.url": self.server.url, "metadata.url": self._song.url})

    def register(self, folder: Path) -> Analysis:
        analysis = str(uuid.uuid4())
        lines = [f"{analysis}\t\t"]
        ids = []
        for path in sorted(folder.iterdir()):
            md5 = md5_of(path)
            self._song.register(path.name, analysis=analysis, study=STUDY, size=path.stat().st_size, md5=md5)
            ids.append(object_id(analysis, path.name))
            lines.append(f"{ids[-1]}\t{path}\t{md5}")
        manifest = self._folder / f"{analysis}.txt"
        manifest.write_text("\n".join(lines) + "\n")
        return Analysis(analysis, tuple(ids), manifest)

    def announce(self, name: str) -> str:
        """Register a file that nobody has; its object id."""
        return self._song.register(name, analysis=str(uuid.uuid4()), study=STUDY).object_id

    def publish(self, analysis: Analysis) -> None:
        self._song.set_state(analysis.id, "PUBLISHED")


class LocalSite:
    """Objects and metadata on the disk of the server."""

    name = "local disk"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        data = str(folder / "local-data")
        self.server = Server(folder / "local-server", {"spring.profiles.active": "local", "local.directory": data})

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(self._folder, {"storage.url": self.server.url})

    def register(self, folder: Path) -> Analysis:
        manifest = self._folder / f"{uuid.uuid4()}.txt"
        words = ["register", "--study-id", STUDY, "--dir", str(folder), "--manifest", str(manifest)]
        analysis = self._client(*words).strip()
        ids = tuple(line.split("\t")[0] for line in manifest.read_text().splitlines()[1:])
        return Analysis(analysis, ids, manifest)

    def publish(self, analysis: Analysis) -> None:
        self._client("publish", "--study-id", STUDY, "--analysis-id", analysis.id)

    def _client(self, *words: str) -> str:
        command = [program("score-client"), "--silent", *words]
        done = subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout
