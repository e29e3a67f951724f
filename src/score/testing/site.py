"""A whole site out of real processes: a score-server with its store and its registry, and score-clients.

Clients reach server and store through fault proxies, so that what passes can be damaged, held and counted::

    with local_site(tmp_path) as site:
        files = site.register(paths)
        site.store.inject(Answer.unavailable(), method="PUT", part=2)
        site.run("upload", "--manifest", files.manifest)
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from score.protocol.ids import object_id
from score.testing.clients import ClientProcess, Result
from score.testing.faults import Exchange, Traffic
from score.testing.processes import DIRECT, Program, clean_environment, free_port, program
from score.testing.proxy import FaultProxy
from score.testing.song import FakeSong

STUDY = "TEST-CA"


class S3Service(Protocol):
    """A running MinIO or Ceph."""

    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """``http://host:port``."""
        ...


class Server:
    """A score-server in a folder of its own; port and data stay through ``kill`` and ``start``."""

    def __init__(self, folder: Path, settings: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        self._prefix = prefix
        self._settings = dict(settings)
        self._port = free_port()
        self._program: Program | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """``http://host:port``, also while it does not run."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def output(self) -> str:
        """What the latest run wrote, both streams."""
        return self._program.stdout + self._program.stderr if self._program else ""

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._program is not None and self._program.running

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._program is not None, "it was not started"
        return self._program.pid

    def start(self, *, checked: bool = True, **settings: str) -> None:
        """Start and wait until it answers and, with ``checked``, has made its checks, which are calls to the store
        too; ``settings``, with ``_`` for ``.``, count from now on."""
        self._settings |= {name.replace("_", "."): value for name, value in settings.items()}
        environment = clean_environment(self.folder, {**self._settings, "server.port": str(self._port)})
        self._program = Program([*self._prefix, program("score-server")], self.folder, environment)
        self._program.wait_until(lambda: self._answers() and ("Checked " in self.output or not checked))

    def another(self, folder: Path) -> Server:
        """A server with the same settings and a port of its own, not started."""
        return Server(folder, self._settings, self._prefix)

    def run(self, *words: str) -> tuple[int, str]:
        """A command of score-server with these settings, whether the server runs or not: exit status and output."""
        environment = clean_environment(self.folder, self._settings)
        command = [*self._prefix, program("score-server"), *words]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout

    def is_ready(self) -> bool:
        """Whether it says that it takes requests."""
        try:
            with DIRECT.open(f"{self.url}/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_until(self, ready: Callable[[], bool], timeout: float = 30) -> None:
        """Return when ``ready``. Unavailable, with its output, where it ends first or takes longer."""
        assert self._program is not None, "it was not started"
        self._program.wait_until(ready, timeout)

    def kill(self) -> None:
        """SIGKILL."""
        if self._program is not None:
            self._program.kill()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._program.terminate() if self._program is not None else 0

    def _answers(self) -> bool:
        try:
            with DIRECT.open(f"{self.url}/profile", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Registered:
    """Files of one analysis in the registry; ``manifest`` is for uploads, ``ids`` are in the order of ``paths``."""

    analysis: str
    study: str
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    manifest: Path

    @property
    def id(self) -> str:
        """The object id of the only file."""
        (only,) = self.ids
        return only


class Site:
    """A running site. ``score`` is the traffic between clients and server, ``store`` that of objects; with the local
    store both are one. ``behind`` is the traffic between server and store, None where there is none."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        score: FaultProxy,
        store: FaultProxy,
        *,
        objects: str,
        song: FakeSong | None = None,
        behind: FaultProxy | None = None,
    ) -> None:
        self.folder = folder
        self.server = server
        self.song = song
        self.objects = objects
        self.token = ""
        """The bearer token of this class's own calls, where the server wants one."""
        self.score_proxy = score
        self.store_proxy = store
        self._behind = behind

    @property
    def score(self) -> Traffic:
        """What passed between clients and server."""
        return self.score_proxy.traffic

    @property
    def store(self) -> Traffic:
        """What passed between clients and store: paths that start with ``objects``."""
        return self.store_proxy.traffic

    @property
    def behind(self) -> Traffic | None:
        """What passed between server and store."""
        return self._behind.traffic if self._behind else None

    @property
    def url(self) -> str:
        """The server's address, as clients are told."""
        return self.score_proxy.url

    @property
    def registry_url(self) -> str:
        """The address of Song, or of the server's embedded registry."""
        return self.song.url if self.song else self.server.url

    def heal(self) -> None:
        """No more faults, no records, everything up."""
        for proxy in (self.score_proxy, self.store_proxy, self._behind):
            if proxy is not None:
                proxy.traffic.heal()
                proxy.traffic.forget()
                proxy.open()
        if not self.server.running:
            self.server.start()

    def register(
        self, paths: Sequence[Path], *, study: str = STUDY, access: str = "open", **wrong: object
    ) -> Registered:
        """Register files as one unpublished analysis and write a manifest for their upload.

        ``wrong`` replaces what is registered of every file: ``fileSize``, ``fileMd5sum``, ``fileName``.
        """
        files = [
            {
                "fileName": path.name,
                "fileSize": path.stat().st_size,
                "fileMd5sum": md5_of(path),
                "fileType": path.suffix.lstrip(".").upper() or "TXT",
                "fileAccess": access,
                "dataType": "x",
            }
            | wrong
            for path in paths
        ]
        if self.song is not None:
            analysis = str(uuid.uuid4())
            for file in files:
                self.song.register(
                    str(file["fileName"]),
                    analysis=analysis,
                    study=study,
                    size=int(str(file["fileSize"])),
                    md5=str(file["fileMd5sum"]),
                    access=access,
                )
        else:
            self._create_study(study)
            payload = {"studyId": study, "analysisType": {"name": "variantCall"}, "samples": [], "files": files}
            analysis = json.loads(self._ask("POST", f"/submit/{study}", payload))["analysisId"]
        ids = tuple(object_id(analysis, str(file["fileName"])) for file in files)
        manifest = self.folder / f"{analysis}.txt"
        rows = [
            "\t".join((one, str(path), str(file["fileMd5sum"])))
            for one, path, file in zip(ids, paths, files, strict=True)
        ]
        manifest.write_text("\n".join([f"{analysis}\t\t", *rows]) + "\n")
        return Registered(analysis, study, tuple(paths), ids, manifest)

    def publish(self, registered: Registered) -> None:
        """Publish the analysis; the registry checks that every object is there as registered. HTTPError where not."""
        self._ask("PUT", f"/studies/{registered.study}/analysis/publish/{registered.analysis}")

    def run(self, *arguments: str | Path, status: int | Collection[int] = 0, **settings: str) -> Result:
        """Run score-client to its end, see :meth:`ClientProcess.conclude`; ``settings`` as for ``start``."""
        with self.start(*arguments, **settings) as client:
            return client.conclude(status)

    def start(self, *arguments: str | Path, prefix: Sequence[str] = (), **settings: str) -> ClientProcess:
        """Start score-client. ``settings``, such as ``transport_parallel="1"``, are given by the environment.

        ``prefix`` is the beginning of the command, as of :func:`on_small_disk`.
        """
        given = {
            "storage.url": self.url,
            "metadata.url": self.song.url if self.song else self.url,
            "storage.retryTimeout": "0.05",
            "storage.retryNumber": "5",
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
        return ClientProcess([*map(str, arguments)], self.folder / "clients", self.folder, given, prefix)

    def sent(self, identity: str) -> list[Exchange]:
        """The PUTs of an object's parts since the record began."""
        return self.store.seen(method="PUT", path=self.path_of(identity), query="partNumber")

    def fetched(self, identity: str) -> list[Exchange]:
        """The GETs of an object's bytes since the record began."""
        return self.store.seen(method="GET", path=self.path_of(identity))

    def finished(self, identity: str) -> set[int]:
        """The numbers of the parts that the server was told of, and took, since the record began."""
        calls = self.score.seen(method="POST", path=f"^/upload/{identity}/parts$", status=200)
        return {call.part for call in calls if call.part is not None}

    def path_of(self, identity: str) -> str:
        """A regular expression for the paths of an object in the store."""
        return f"^{self.objects}.*{identity}$"

    def has_object(self, identity: str) -> bool:
        """Whether the server says that the object is there."""
        request = urllib.request.Request(f"{self.server.url}/upload/{identity}", headers=self._bearer())
        with DIRECT.open(request, timeout=30) as answer:
            return bool(answer.read() == b"true")

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _create_study(self, study: str) -> None:
        if study not in json.loads(self._ask("GET", "/studies/all")):
            self._ask("POST", f"/studies/{study}/", {"studyId": study, "name": study})

    def _ask(self, method: str, target: str, document: object = None) -> bytes:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", **self._bearer()}
        request = urllib.request.Request(self.registry_url + target, body, headers)
        request.method = method
        with DIRECT.open(request, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def local_site(folder: Path, *, prefix: Sequence[str] = (), **settings: str) -> Iterator[Site]:
    """A site with the local store and the embedded registry; ``settings`` of the server, with ``_`` for ``.``.

    ``prefix`` is the beginning of the server's command, as of :func:`on_small_disk`.
    """
    given = {"upload.partsize": "5242880", **{name.replace("_", "."): value for name, value in settings.items()}}
    server = Server(folder / "server", {"spring.profiles.active": "local", **given}, prefix)
    with FaultProxy(server.url) as front:
        try:
            server.start()
            yield Site(folder, server, front, front, objects="/store/")
        finally:
            front.traffic.heal()
            server.stop()


@contextmanager
def s3_site(folder: Path, service: S3Service, *, prefix: Sequence[str] = (), **settings: str) -> Iterator[Site]:
    """A site on MinIO or Ceph, with buckets of its own, and a fake Song; ``settings`` of the server, with ``_`` for
    ``.``. A pool has its numbered buckets too. ``prefix`` as of :func:`local_site`."""
    name = f"score-{uuid.uuid4().hex[:12]}"
    with FakeSong() as song, FaultProxy(service.endpoint) as store, FaultProxy(service.endpoint) as behind:
        buckets = {"bucket.name.object": f"{name}-objects", "bucket.name.state": f"{name}-state"}
        create_buckets(service, list(buckets.values()), int(settings.get("bucket_size_pool", "0")))
        given = {
            "spring.profiles.active": "s3",
            "s3.endpoint": behind.url,
            "s3.preSignedUrl.override.host": store.url,
            "s3.accessKey": service.access_key,
            "s3.secretKey": service.secret_key,
            "metadata.url": song.url,
            "upload.partsize": "5242880",
            **buckets,
            **{name.replace("_", "."): value for name, value in settings.items()},
        }
        server = Server(folder / "server", given, prefix)
        song.score_url = server.url
        with FaultProxy(server.url) as front:
            try:
                server.start()
                objects = f"/{buckets['bucket.name.object']}"
                yield Site(folder, server, front, store, objects=objects, song=song, behind=behind)
            finally:
                for traffic in (front.traffic, store.traffic, behind.traffic):
                    traffic.heal()
                server.stop()


def create_buckets(service: S3Service, buckets: Sequence[str], pool: int = 0) -> None:
    """The buckets, those of the pool, and in the first the sentinel that proves that the store is reachable."""
    import botocore.session

    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=service.endpoint,
        aws_access_key_id=service.access_key,
        aws_secret_access_key=service.secret_key,
    )
    with closing(client):
        for bucket in buckets:
            for name in (bucket, *(f"{bucket}.{number}" for number in range(pool))):
                client.create_bucket(Bucket=name)
        client.put_object(Bucket=buckets[0], Key="data/heliograph", Body=b"heliograph\n")


def md5_of(path: Path) -> str:
    """MD5 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
