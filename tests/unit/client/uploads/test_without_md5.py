"""Files whose MD5 is not given."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.manifests import UploadEntry
from score.client.outcome import Outcome, State
from score.client.rehearsal import rehearse_uploads
from score.errors import AlreadyExists, Integrity, Unauthenticated
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from .conftest import ANALYSIS, DATA, MD5, OBJECT, WRONG, calls, checked


class TestWithoutAnMd5:
    """The registry is asked first, and the file is read as often as it has to be."""

    def test_another_size_is_found_before_the_file_is_read(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=5, md5=MD5, object_id=OBJECT)
        with pytest.raises(Integrity, match=rf"has {len(DATA):,} bytes, but 5 are registered"):
            client.upload(path, OBJECT)
        assert checked(site) == 0
        assert site.puts == []

    def test_the_registered_one_is_what_it_has_to_be(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5.upper(), object_id=OBJECT)
        assert client.upload(path, OBJECT) == Outcome(OBJECT, State.UPLOADED, path, len(DATA), MD5)
        assert checked(site) == 0, "it is hashed while it is sent"
        assert site.fake.objects[OBJECT].md5 == MD5
        assert len(song.traffic.seen(path="/files")) == 1, "and the registry is asked once"

    def test_another_file_is_never_completed(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        with pytest.raises(Integrity, match=f"has MD5 {MD5}, but {WRONG} was given or registered"):
            client.upload(path, OBJECT)
        assert OBJECT not in site.fake.objects
        assert OBJECT not in site.fake.uploads

    def test_with_force_another_file_is_found_before_a_byte_moves(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        with pytest.raises(Integrity, match=f"MD5 {WRONG} is registered, but {MD5} was given"):
            client.upload(path, OBJECT, force=True)
        assert not any(call.startswith("POST") for call in calls(site))

    def test_that_it_is_there_already_is_never_taken_from_the_registry(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5, object_id=OBJECT)
        site.fake.add(OBJECT, DATA)
        assert client.upload(path, OBJECT) == Outcome(OBJECT, State.PRESENT, path, len(DATA), MD5)
        assert checked(site) == len(DATA)
        path.write_bytes(DATA[::-1])
        with pytest.raises(AlreadyExists, match=f"with MD5 {MD5} instead of "):
            client.upload(path, OBJECT)
        assert site.fake.objects[OBJECT].data == DATA

    def test_one_of_another_size_in_the_store_is_told_without_reading(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, md5=MD5, object_id=OBJECT, size=len(DATA))
        site.fake.add(OBJECT, DATA[:-1])
        with pytest.raises(AlreadyExists, match="bytes instead of"):
            client.upload(path, OBJECT)
        assert checked(site) == 0

    def test_the_rest_of_an_upload_is_sent_without_asking_or_reading_again(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5, object_id=OBJECT)
        site.traffic.inject(Answer(401), path="/parts", skip=3, times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT)
        site.traffic.heal()
        song.traffic.forget()
        assert client.upload(path, OBJECT) == Outcome(OBJECT, State.UPLOADED, path, len(DATA), MD5)
        assert song.traffic.seen() == []
        assert checked(site) == 0, "the parts that were finished are compared while it is hashed"

    def test_a_file_that_became_another_is_not_completed_with_the_md5_of_before(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(401), path="/parts", query="partNumber=6", times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT)
        site.traffic.heal()
        path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
        with pytest.raises(Integrity, match=f"but {MD5} was given or registered"):
            client.upload(path, OBJECT)
        assert OBJECT not in site.fake.objects
        assert client.upload(path, OBJECT).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == path.read_bytes()
        assert site.fake.objects[OBJECT].md5 == hashlib.md5(path.read_bytes()).hexdigest()

    def test_a_rehearsal_reads_it_and_tells_of_another_file(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        (outcome,) = rehearse_uploads(client, [UploadEntry(OBJECT, path, "")])
        assert f"MD5 {WRONG} is registered" in str(outcome.error)
        path.write_bytes(b"short")
        (outcome,) = rehearse_uploads(client, [UploadEntry(OBJECT, path, "")])
        assert "has 5 bytes" in str(outcome.error)
        assert checked(site) == len(DATA), "not read where it has another size"
