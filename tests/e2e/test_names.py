"""The name service goes away in the middle of a run, and connections with it, as where a network changes hands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.testing.clients import ClientProcess
from score.testing.faults import Gate
from score.testing.processes import NameService
from score.testing.site import Site, md5_of

HOST = "score.test"
LATER = 5
PART = 5 * MIB
OBJECTS, PARTS = 3, 2
UNKNOWN = re.compile(
    rf"{HOST}:\d+\S*: no connection \((temporary failure in name resolution|name or service not known)\)"
)

pytestmark = [
    pytest.mark.needs("mounts"),
    pytest.mark.parametrize("site", ["local"], indirect=True),
    pytest.mark.parametrize("command", ["upload", "download"]),
]


class Job:
    """An upload or a download of several objects by a client that knows its server, and so the store, by name."""

    def __init__(self, site: Site, paths: list[Path], command: str, folder: Path) -> None:
        self.site = site
        self.names = NameService(folder / "names", HOST)
        self._out = folder / "out"
        self._sources = paths
        self._files = site.register(paths)
        self._method = "PUT" if command == "upload" else "GET"
        self._path = f"^/store/.*({'|'.join(self._files.ids)})$"
        sending = ["upload", "--manifest", str(self._files.manifest)]
        self._words = sending
        if command == "download":
            site.run(*sending)
            site.publish(self._files)
            site.heal()
            self._words = ["download", "--output-dir", str(self._out), "--object-id", *self._files.ids]

    def hold(self) -> Gate:
        """Hold its parts in the middle, all but two."""
        return self.site.store.hold(method=self._method, path=self._path, skip=2, after=1000)

    def start(self, attempts: int) -> ClientProcess:
        """Start it; a call is made so often."""
        url = self.site.url.replace("127.0.0.1", HOST)
        given = {"storage_url": url, "metadata_url": url, "storage_retryNumber": str(attempts)}
        return self.site.start(*self._words, prefix=self.names.prefix, **given)

    def lose_names(self, client: ClientProcess, gate: Gate) -> None:
        """Take the names away, and all connections, once two parts are finished, in the middle of others."""
        gate.wait_for_arrival()
        client.wait_until(lambda: self.kept >= 2)
        self.names.go()
        self.site.score_proxy.shut()
        self.site.store.heal()
        self.site.score_proxy.open()

    @property
    def kept(self) -> int:
        """How many parts are finished for good."""
        if self._method == "PUT":
            return sum(len(self.site.finished(one)) for one in self._files.ids)
        whole = [path for path in self._sources if (self._out / path.name).exists()]
        return PARTS * len(whole) + len([*self._out.glob(".*/part-*")])

    @property
    def moved(self) -> list[tuple[str, str]]:
        """The parts that passed as a whole."""
        seen = self.site.store.seen(method=self._method, path=self._path)
        return [(call.path, f"{call.part} {call.range}") for call in seen if call.end == "answered"]

    def check(self) -> None:
        """All of it is there as a whole."""
        if self._method == "PUT":
            self.site.publish(self._files)
        else:
            assert sorted(path.name for path in self._out.iterdir()) == sorted(path.name for path in self._sources)
            assert all(md5_of(self._out / path.name) == md5_of(path) for path in self._sources)


@pytest.fixture
def job(site: Site, make_file: Callable[[str, int], Path], command: str, tmp_path: Path) -> Job:
    paths = [make_file(f"{number}.bam", PART + 100_000) for number in range(OBJECTS)]
    return Job(site, paths, command, tmp_path)


def test_it_is_waited_for(job: Job) -> None:
    gate = job.hold()
    with job.start(attempts=30) as client:
        job.lose_names(client, gate)
        client.wait_until(lambda: UNKNOWN.search(client.stderr) is not None)
        job.names.come()
        said = client.conclude().stderr
    assert re.search(rf"retry \d+/29 in [\d.]+ s: .*{UNKNOWN.pattern}", said), "why, while it waits"
    assert len(job.moved) == len(set(job.moved)) == OBJECTS * PARTS, "and no part is moved again"
    job.check()


def test_where_it_stays_away_that_is_told_and_what_is_finished_is_kept(job: Job) -> None:
    gate = job.hold()
    with job.start(attempts=3) as client:
        job.lose_names(client, gate)
        said = client.conclude(LATER).stderr
    assert re.search(rf"Error: .*{UNKNOWN.pattern}.*gave up after 3 tries", said)
    assert "Check the address, and the network." in said
    job.names.come()
    job.site.heal()
    with job.start(attempts=3) as client:
        client.conclude()
    assert len(job.moved) == OBJECTS * PARTS - 2
    job.check()
