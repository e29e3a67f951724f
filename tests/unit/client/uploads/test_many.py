"""Several files at once, and several clients."""

from __future__ import annotations

import hashlib
from pathlib import Path

from score.client.client import Client
from score.client.manifests import UploadEntry
from score.client.outcome import Outcome, State
from score.errors import AlreadyExists, Cancelled, Conflict, Integrity, Invalid, NotFound, Refused, Unauthenticated
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.transfer.budget import FILES
from score.transfer.events import Ended

from .conftest import DATA, MD5, OBJECT, OTHER, in_thread


class TestMany:
    def test_one_bad_file_does_not_stop_the_rest(self, client: Client, site: FaultyScore, path: Path) -> None:
        entries = [
            UploadEntry(OTHER, path.with_name("missing.bam"), MD5),
            UploadEntry(OBJECT, path, MD5),
            UploadEntry("5c0eca11-0000-4000-8000-000000000003", path.parent, MD5),
            UploadEntry("5c0eca11-0000-4000-8000-000000000004", path.with_name("x" * 300), MD5),
        ]
        outcomes = client.upload_all(entries)
        assert [outcome.state for outcome in outcomes] == [State.FAILED, State.UPLOADED, State.FAILED, State.FAILED]
        assert [type(outcome.error) for outcome in outcomes] == [NotFound, type(None), Invalid, Refused]
        assert all(str(outcome.path) in str(outcome.error) for outcome in outcomes if outcome.error)
        assert sorted(event.state for event in site.heard.of(Ended)) == ["failed", "failed", "failed", "uploaded"]
        assert {event.item for event in site.heard.of(Ended)} == {str(entry.path) for entry in entries}

    def test_what_all_would_meet_ends_the_rest_at_once(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.traffic.inject(Answer(401), times=None)
        entries = [UploadEntry(f"5c0eca11-0000-4000-8000-{number:012}", path, MD5) for number in range(50)]
        outcomes = client.upload_all(entries)
        assert all(isinstance(outcome.error, Unauthenticated) for outcome in outcomes)
        assert len(outcomes) == 50
        assert len(site.traffic.seen(path="^/upload/")) <= FILES * client.settings.parallel

    def test_nothing_to_do(self, client: Client) -> None:
        assert client.upload_all([]) == []

    def test_a_wish_to_stop_ends_all_and_keeps_what_is_finished(
        self, client: Client, site: FaultyScore, path: Path, make_client: type[Client]
    ) -> None:
        entries = []
        for number in range(8):
            copy = path.with_name(f"{number}.bam")
            copy.write_bytes(DATA)
            entries.append(UploadEntry(f"5c0eca11-0000-4000-8000-{number:012}", copy, MD5))
        gate = site.traffic.hold(method="PUT", after=1000, skip=9)
        thread, ends = in_thread(client.upload_all, entries)
        gate.wait_for_arrival()
        client.stop.set()
        site.traffic.heal()
        thread.join()
        (error,) = ends
        assert isinstance(error, Cancelled)
        assert "Run the same command again" in error.hint
        finished = sum(len(upload.finished) for upload in site.fake.uploads.values()) + 6 * len(site.fake.objects)
        assert finished >= 9 - 3
        site.traffic.forget()
        outcomes = make_client().upload_all(entries)
        assert all(outcome.good for outcome in outcomes)
        assert len(site.puts) == 8 * 6 - finished

    def test_two_clients_on_one_object_never_make_a_mixture(
        self, make_client: type[Client], site: FaultyScore, path: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "else").mkdir()
        other = tmp_path / "else" / "a.bam"
        other.write_bytes(DATA[::-1])
        site.traffic.hold(method="PUT", part=1).open()
        first, one = in_thread(make_client().upload, path, OBJECT)
        second, two = in_thread(make_client().upload, other, OBJECT)
        first.join()
        second.join()
        ends = [*one, *two]
        assert all(isinstance(end, Outcome | AlreadyExists | Conflict | Integrity | Refused) for end in ends), ends
        if OBJECT in site.fake.objects:
            stored = site.fake.objects[OBJECT]
            assert stored.data in (DATA, DATA[::-1])
            assert stored.md5 == hashlib.md5(stored.data).hexdigest()
        assert sum(isinstance(end, Outcome) for end in ends) == (1 if OBJECT in site.fake.objects else 0)
