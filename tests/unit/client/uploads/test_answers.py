"""What a registry and a server may answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import State
from score.errors import Conflict, Forbidden, Integrity, NotFound, Refused, ScoreError, Unauthenticated, Unavailable
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from .conftest import ANALYSIS, DATA, MD5, OBJECT, WRONG


class TestRegistered:
    def test_another_size_is_found_before_a_byte_moves(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=5, md5=MD5, object_id=OBJECT)
        with pytest.raises(Integrity, match=rf"has {len(DATA):,} bytes, but 5 are registered"):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.uploads

    def test_another_md5_is_found_before_a_byte_moves(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        with pytest.raises(Integrity, match=f"MD5 {WRONG} is registered, but {MD5} was given"):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.uploads

    def test_what_fits_is_sent(self, client: Client, song: FakeSong, path: Path) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5.upper(), object_id=OBJECT)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

    @pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(401), Answer.garbage()], ids=repr)
    def test_a_registry_that_does_not_tell_is_no_hindrance(
        self, client: Client, song: FakeSong, path: Path, answer: Answer
    ) -> None:
        song.traffic.inject(answer, times=None)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED


class TestServerErrors:
    @pytest.mark.parametrize(
        ("answer", "kind", "says"),
        [
            (Answer(401), Unauthenticated, "401"),
            (Answer(403, b"Token missing required scope to update project"), Forbidden, "Token missing required"),
            (Answer(404, b'{"message":"Not registered"}'), NotFound, "Not registered"),
            (Answer(400, b'{"status":400,"error":"Bad Request","path":"/x"}'), Conflict, "answered 400"),
            (Answer(500, b"<html>Whitelabel Error Page</html>"), Refused, "answered 500"),
            (Answer(503, b'{"message":"The store is away"}'), Unavailable, "The store is away .*gave up after 3"),
            (Answer(302, b"", {"Location": "http://login/"}), Refused, "sends us elsewhere"),
            (Answer.garbage(), Unavailable, "makes no sense"),
            (Answer(200, b"\xff\xfe"), Unavailable, "makes no sense"),
            (Answer(200, b'{"objectId":1}'), Unavailable, "makes no sense"),
            (Answer(200, b"x", {"Content-Encoding": "gzip"}), Unavailable, "/uploads"),
        ],
        ids=repr,
    )
    def test_each_has_its_error(
        self, client: Client, site: FaultyScore, path: Path, answer: Answer, kind: type[ScoreError], says: str
    ) -> None:
        site.traffic.inject(answer, path="/uploads", times=None)
        with pytest.raises(kind, match=says):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.objects

    @pytest.mark.parametrize("during", ["/(uploads|begin)", f"^/upload/{OBJECT}$"], ids=["start", "completion"])
    @pytest.mark.parametrize(
        ("message", "hint"),
        [
            ("its analysis a is PUBLISHED, not UNPUBLISHED.", "Published files stay as they are"),
            ("its analysis a is SUPPRESSED, not UNPUBLISHED.", "It was withdrawn; ask whoever owns the analysis."),
            ("The stored state is broken.", "Run the same command again"),
        ],
    )
    def test_of_an_analysis_that_takes_no_files_any_more_it_is_told_what_to_do(
        self, client: Client, site: FaultyScore, path: Path, message: str, hint: str, during: str
    ) -> None:
        answer = Answer(409, json.dumps({"message": message}).encode())
        site.traffic.inject(answer, method="POST", path=during, times=None)
        with pytest.raises(Conflict, match=message) as caught:
            client.upload(path, OBJECT, MD5)
        assert caught.value.hint.startswith(hint)

    def test_a_start_that_is_refused_leaves_nothing_behind(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(400), path="/uploads")
        with pytest.raises(Conflict):
            client.upload(path, OBJECT, MD5)
        assert os.listdir(path.parent) == ["a.bam"]

    def test_a_server_that_comes_back_is_waited_for(self, client: Client, site: FaultyScore, path: Path) -> None:
        for call in ("/upload/[^/]+$", "/status", "/uploads", "/parts"):
            site.traffic.inject(Answer(503), path=call, times=2)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED
