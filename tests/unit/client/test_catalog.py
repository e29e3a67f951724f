"""What a run asks the metadata service: a few calls, whatever the number of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from score.client.catalog import AWAY, Catalog, Recent
from score.client.client import Client
from score.client.manifests import UploadEntry
from score.client.outcome import State
from score.errors import Integrity
from score.protocol.ids import object_id
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.budget import FILES

ANALYSIS = "a11aca11-0000-4000-8000-000000000001"
COUNT = 20


def prepare(song: FakeSong, folder: Path) -> list[UploadEntry]:
    """Files, registered as one analysis."""
    entries = []
    for number in range(COUNT):
        path = folder / f"{number}.vcf"
        path.write_bytes(b"%d" % number)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        song.register(path.name, analysis=ANALYSIS, size=path.stat().st_size, md5=md5)
        entries.append(UploadEntry(object_id(ANALYSIS, path.name), path, md5))
    return entries


def test_the_records_of_an_analysis_come_with_its_second_file(client: Client, song: FakeSong, tmp_path: Path) -> None:
    outcomes = client.upload_all(prepare(song, tmp_path))
    assert {outcome.state for outcome in outcomes} == {State.UPLOADED}
    assert len(song.traffic.seen(path="^/studies/")) == 2
    assert len(song.traffic.seen(path=f"^/studies/TEST-CA/analysis/{ANALYSIS}/files$")) == 1
    assert len(song.traffic.seen(path="^/entities")) == 2


def test_every_file_is_compared_with_its_record(client: Client, song: FakeSong, tmp_path: Path) -> None:
    entries = prepare(song, tmp_path)
    for entry in entries[5:]:
        song.register(entry.path.name, analysis=ANALYSIS, size=1000, md5=entry.md5)
    outcomes = client.upload_all(entries)
    assert [outcome.state for outcome in outcomes] == [State.UPLOADED] * 5 + [State.FAILED] * (COUNT - 5)
    assert all(isinstance(outcome.error, Integrity) for outcome in outcomes[5:])
    assert all("1,000 are registered" in str(outcome.error) for outcome in outcomes[5:])


def test_a_metadata_service_that_is_away_is_not_asked_for_every_file(
    client: Client, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    entries = prepare(song, tmp_path)
    song.traffic.inject(Answer(503), times=None)
    outcomes = client.upload_all(entries)
    assert {outcome.state for outcome in outcomes} == {State.UPLOADED}, "the server asks it too, and decides"
    assert len(song.traffic.seen()) == 1


def test_a_metadata_service_that_was_away_is_asked_again_after_a_time(client: Client, song: FakeSong) -> None:
    """A run may take days: what was registered is compared again once the service is back."""
    seconds = 0.0
    catalog = Catalog(client.engine, client.song, lambda: seconds)
    one = song.register("a.vcf", analysis=ANALYSIS, size=7, md5=hashlib.md5(b"").hexdigest()).object_id
    song.traffic.inject(Answer(503))
    assert catalog.record(one) is None
    seconds = AWAY - 1
    assert catalog.record(one) is None
    seconds = AWAY
    record = catalog.record(one)
    assert record is not None
    assert record.size == 7


def test_the_studies_are_listed_once_for_all_files_that_are_not_registered(
    client: Client, song: FakeSong, tmp_path: Path
) -> None:
    """A 404 counts where it is the metadata service's, which lists them."""
    catalog = Catalog(client.engine, client.song)
    assert all(catalog.is_unknown(object_id("other", str(number))) for number in range(COUNT))
    assert len(song.traffic.seen(path="^/studies/all$")) == 1


def test_a_service_without_lists_is_asked_file_by_file(client: Client, song: FakeSong, tmp_path: Path) -> None:
    entries = prepare(song, tmp_path)
    song.traffic.inject(Answer(404), path="/files$", times=None)
    assert {outcome.state for outcome in client.upload_all(entries)} == {State.UPLOADED}
    assert len(song.traffic.seen(path="^/studies/TEST-CA/files/")) == COUNT


def test_the_files_of_a_manifest_are_known_from_the_list_of_their_analysis(
    client: Client, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    entries = prepare(song, tmp_path / "in")
    client.upload_all(entries)
    song.set_state(ANALYSIS, "PUBLISHED")
    before = len(song.traffic.seen())
    with Client(client.settings) as fresh:
        outcomes = fresh.download([entry.object_id for entry in entries], tmp_path / "out")
    assert {outcome.state for outcome in outcomes} == {State.DOWNLOADED}
    asked = [f"{one.path}?{one.query}" for one in song.traffic.seen()[before:]]
    assert sum("gnosId=" in one for one in asked) == 1
    threads = FILES * client.settings.parallel
    assert sum(one.startswith("/entities/") for one in asked) <= threads, "each thread waits for the list"


def test_what_is_remembered_does_not_grow_without_end() -> None:
    recent: Recent[int] = Recent(3)
    for number in range(10):
        recent.add({str(number): number})
    assert dict(recent) == {"7": 7, "8": 8, "9": 9}
    recent.add({str(number): number for number in range(5)})  # of one answer nothing is forgotten
    assert set(recent) == {"0", "1", "2", "3", "4"}
    recent.add({"x": 1})
    assert len(recent) == 3
    assert recent["x"] == 1
