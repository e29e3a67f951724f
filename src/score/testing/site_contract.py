"""What must hold of a whole site, whichever store it has: one suite for all of them, with real clients and servers.

``StoreContract`` is about the store alone; how bytes get into it differs (parts of S3, blocks of Azure). Here they
are sent by score-client, and what lies in the store afterwards is looked at past the code under test. A subclass
gives ``shared``, a running site with parts of 5 MiB, and ``aside``, the way to its objects.
"""

from __future__ import annotations

import json
import random
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from score.client.client import Client
from score.client.settings import Settings
from score.errors import Conflict
from score.protocol.parts import MIB
from score.testing.processes import DIRECT
from score.testing.site import Registered, Site, md5_of
from score.testing.store_ground import Aside

PART = 5 * MIB
SIZE = 3 * PART + 12_345
PARTS = 4
Maker = Callable[[int], Path]


class SiteContract:
    """The suite. ``payload`` is in the query of whatever sends bytes of a part; ``folder`` is where objects lie."""

    payload: ClassVar[str] = "partNumber="
    folder: ClassVar[str] = "data/"

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls) -> Iterator[Site]:
        raise NotImplementedError("a subclass gives the site")

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls) -> Iterator[Aside]:
        raise NotImplementedError("a subclass gives the way past the site")

    @pytest.fixture
    def site(self, shared: Site) -> Iterator[Site]:
        shared.heal()
        yield shared
        shared.heal()

    @pytest.fixture
    def make(self, tmp_path: Path) -> Maker:
        """A file of random bytes, with a name of its own."""

        def file(size: int) -> Path:
            path = tmp_path / "in" / f"{uuid.uuid4().hex}.bam"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(random.randbytes(size))
            return path

        return file

    def upload(self, site: Site, files: Registered, *words: str, status: int = 0, **settings: str) -> str:
        """Run an upload in parts of 5 MiB; what it said."""
        given = {"azure_blockSize": str(PART), **settings}
        return site.run("upload", "--manifest", files.manifest, *words, status=status, **given).stderr

    def sent(self, site: Site) -> int:
        """How many parts were sent to the store since the record began."""
        return len([call for call in site.store.seen(method="PUT", query=self.payload) if call.end == "answered"])

    def ask(self, site: Site, method: str, target: str) -> tuple[int, Any]:
        """A call to the server: status and JSON, or text."""
        request = urllib.request.Request(site.server.url + target, method=method)
        try:
            with DIRECT.open(request, timeout=60) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
            error.close()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def traces(self, aside: Aside, identity: str) -> set[str]:
        """The keys in the bucket of objects that have to do with an object."""
        keys = aside.keys()
        return {key for key in keys if identity in key}

    def hold_amid(self, site: Site, files: Registered) -> int:
        """Kill a client in the middle of an upload; how many parts it had finished."""
        gate = site.store.hold(method="PUT", query=self.payload, skip=2)
        given = {"azure_blockSize": str(PART), "transport_parallel": "1"}
        with site.start("upload", "--manifest", files.manifest, **given) as client:
            gate.wait_for_arrival()
            client.kill()
        site.heal()
        return 2

    @pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, SIZE])
    def test_what_goes_up_is_stored_and_comes_down(
        self, site: Site, aside: Aside, make: Maker, tmp_path: Path, size: int
    ) -> None:
        source = make(size)
        files = site.register([source])
        self.upload(site, files)
        assert aside.get(f"{self.folder}{files.id}") == source.read_bytes()
        assert not [key for key in self.traces(aside, files.id) if key.startswith("upload/")]
        assert self.ask(site, "GET", f"/upload/{files.id}") == (200, True)
        site.publish(files)
        out = tmp_path / "out"
        site.run("download", "--object-id", files.id, "--output-dir", out)
        assert md5_of(out / source.name) == md5_of(source)
        listed = {one["id"]: one["size"] for one in self.ask(site, "GET", "/listing")[1]}
        assert listed.get(files.id, size) == size
        url = site.run("url", "--object-id", files.id).stdout.strip()
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.read() == source.read_bytes()

    def test_a_range(self, site: Site, make: Maker, tmp_path: Path) -> None:
        source = make(SIZE)
        files = site.register([source])
        self.upload(site, files)
        site.publish(files)
        span = ["--offset", str(PART - 10), "--length", str(PART + 20)]
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out", *span)
        (path,) = (tmp_path / "out").iterdir()
        assert path.read_bytes() == source.read_bytes()[PART - 10 : 2 * PART + 10]

    def test_an_object_is_read_in_place(self, site: Site, aside: Aside, make: Maker) -> None:
        """Any bytes, by one URL; an object that is replaced meanwhile is noticed."""
        source = make(SIZE)
        data = source.read_bytes()
        files = site.register([source])
        self.upload(site, files)
        site.publish(files)
        settings = Settings(site.url, site.song.url if site.song else site.url)
        with Client(settings) as client, client.open(files.id) as file:
            for at in (SIZE - 100, 3 * MIB, PART - 10):
                assert file.read_at(at, 1000) == data[at : at + 1000]
            assert file.read() == data
        with Client(settings) as client, client.open(files.id) as file:
            file.read(10)
            aside.put(f"{self.folder}{files.id}", bytes(SIZE))
            with pytest.raises(Conflict, match="replaced"):
                file.read_at(2 * PART, 10)

    def test_a_killed_client_goes_on(self, site: Site, aside: Aside, make: Maker) -> None:
        source = make(SIZE)
        files = site.register([source])
        finished = self.hold_amid(site, files)
        assert aside.get(f"{self.folder}{files.id}") is None
        self.upload(site, files)
        # The part that was under way may have arrived all the same; Azure counts it then.
        assert 0 < self.sent(site) <= PARTS - finished
        assert aside.get(f"{self.folder}{files.id}") == source.read_bytes()

    def test_a_cancelled_upload_leaves_nothing(self, site: Site, aside: Aside, make: Maker) -> None:
        files = site.register([make(SIZE)])
        self.hold_amid(site, files)
        assert self.ask(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}")[0] == 200
        assert self.ask(site, "DELETE", f"/upload/{files.id}")[0] == 200
        assert self.traces(aside, files.id) == set()
        status, told = self.ask(site, "GET", f"/upload/{files.id}/status?fileSize={SIZE}")
        assert (status, told["path"]) == (404, f"/upload/{files.id}/status")
        assert self.ask(site, "DELETE", f"/upload/{files.id}")[0] == 404

    def test_an_upload_begun_elsewhere_is_not_taken_over(self, site: Site, make: Maker) -> None:
        files = site.register([make(SIZE)])
        assert self.ask(site, "POST", f"/upload/{files.id}/uploads?fileSize={SIZE}")[0] == 200
        assert "begun elsewhere" in self.upload(site, files, status=3)
        self.upload(site, files, "--force")

    def test_what_is_there_is_not_sent_again_nor_replaced_unasked(
        self, site: Site, aside: Aside, make: Maker
    ) -> None:
        source = make(PART + 1)
        files = site.register([source])
        self.upload(site, files)
        sent = self.sent(site)
        assert "already there" in self.upload(site, files)
        assert self.sent(site) == sent
        status, told = self.ask(site, "POST", f"/upload/{files.id}/uploads?fileSize=7")
        assert status == 500, "clients of the reference stop on it"
        assert "exists" in told["message"]
        assert aside.get(f"{self.folder}{files.id}") == source.read_bytes()
        self.upload(site, files, "--force")
        assert aside.get(f"{self.folder}{files.id}") == source.read_bytes()

    def test_other_bytes_than_registered_are_never_completed(self, site: Site, aside: Aside, make: Maker) -> None:
        source = make(SIZE)
        files = site.register([source])
        source.write_bytes(random.randbytes(SIZE))
        self.upload(site, files, status=8)
        assert aside.get(f"{self.folder}{files.id}") is None

    def test_an_object_that_is_lost_is_not_reported_as_there(
        self, site: Site, aside: Aside, make: Maker, tmp_path: Path
    ) -> None:
        files = site.register([make(PART)])
        self.upload(site, files)
        site.publish(files)
        aside.delete(f"{self.folder}{files.id}")
        said = site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out", status=(3, 4)).stderr
        assert files.id in said

    def test_registration_and_publication_count(self, site: Site, make: Maker, tmp_path: Path) -> None:
        unknown = uuid.uuid4()
        assert self.ask(site, "POST", f"/upload/{unknown}/uploads?fileSize=1")[0] == 404
        assert self.ask(site, "GET", f"/download/{unknown}?offset=0&length=-1")[0] == 404
        files = site.register([make(1000)])
        self.upload(site, files)
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path, status=3)
        site.publish(files)
        status, told = self.ask(site, "POST", f"/upload/{files.id}/uploads?fileSize=1000&overwrite=true")
        assert 400 <= status < 500
        assert "UNPUBLISHED" in told["message"]

    def test_the_sentinel_answers(self, site: Site) -> None:
        status, url = self.ask(site, "GET", "/download/ping")
        assert status == 200
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.status == 200
        health = self.ask(site, "GET", "/health")[1]
        assert health["status"] == "UP"

    @pytest.mark.parametrize(
        "target",
        [
            "/upload/{id}/uploads?fileSize=-1",
            "/upload/{id}/uploads?fileSize=99999999999999999999",
            "/upload/{id}/uploads?fileSize=many",
            "/upload/{id}/uploads",
            "/upload/{id}/parts?partNumber=0&uploadId=u&md5=x&etag=y",
            "/upload/..%2f..%2fetc/uploads?fileSize=1",
            "/upload/%00/uploads?fileSize=1",
            "/upload/" + "a" * 5000 + "/uploads?fileSize=1",
        ],
    )
    def test_garbage_is_refused_in_words(self, site: Site, aside: Aside, make: Maker, target: str) -> None:
        files = site.register([make(10)])
        before = set(aside.keys())
        status, told = self.ask(site, "POST", target.format(id=files.id))
        assert 400 <= status < 500
        assert told["message"]
        assert set(aside.keys()) == before
