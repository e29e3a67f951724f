"""What a server, a registry and a store may answer instead."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from score.client.client import Client
from score.errors import Conflict, Forbidden, Invalid, NotFound, Refused, ScoreError, Unavailable
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from .conftest import ANALYSIS, DATA, INDEX, OBJECT, OTHER, MakeClient, failure


class TestServerErrors:
    @pytest.mark.parametrize(
        ("answer", "kind", "says"),
        [
            (Answer(400, b'{"message":"The analysis is not published."}'), Conflict, "not published"),
            (Answer(403, b"Token missing required scope to download"), Forbidden, "Token missing"),
            (Answer(404), NotFound, "404"),
            (Answer(500), Refused, "500"),
            (Answer(503), Unavailable, "gave up after 3 tries"),
            (Answer.garbage(), Unavailable, "makes no sense"),
        ],
        ids=repr,
    )
    def test_each_has_its_error(
        self, client: Client, site: FaultyScore, out: Path, answer: Answer, kind: type[ScoreError], says: str
    ) -> None:
        site.traffic.inject(answer, path="/download/", times=None)
        error = failure(client, out)
        assert isinstance(error, kind)
        assert says in error.message

    @pytest.mark.parametrize(
        ("message", "hint"),
        [
            ("its analysis a is UNPUBLISHED, not PUBLISHED.", "Publish the analysis: score-client publish"),
            ("its analysis a is SUPPRESSED, not PUBLISHED.", "It was withdrawn; ask whoever owns the analysis."),
            ("", "Is its analysis published? If not: score-client publish"),
            ("The stored state is broken.", "Run the same command again"),
        ],
    )
    def test_of_an_analysis_that_is_not_published_it_is_told_what_to_do(
        self, client: Client, site: FaultyScore, out: Path, message: str, hint: str
    ) -> None:
        """The reference answers 400 without a message."""
        document = {"status": 400, "error": "Bad Request"} | ({"message": message} if message else {})
        site.traffic.inject(Answer(400, json.dumps(document).encode()), path="/download/", times=None)
        error = failure(client, out)
        assert isinstance(error, Conflict)
        assert message in error.message
        assert error.hint.startswith(hint)
        with pytest.raises(Conflict) as caught:
            client.url(OBJECT)
        assert caught.value.hint == error.hint

    @pytest.mark.parametrize("token", ["", "720dffc1-628f-49f2-992f-f09b8ba2ae2a"])
    def test_who_has_no_token_is_told_where_to_set_it(
        self, make_client: MakeClient, site: FaultyScore, out: Path, token: str
    ) -> None:
        site.traffic.inject(Answer(403, b"Token missing required scope to download"), path="/download/")
        error = failure(make_client(token=token), out)
        assert ("No access token is set: ACCESSTOKEN" in error.hint) is not bool(token)

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(404), NotFound),
            (Answer(500), Refused),
            (Answer.garbage(), Unavailable),
            (Answer(200, b"[]"), Unavailable),
            (Answer(200, b'{"id":"\xff"}'), Unavailable),
            (Answer(200, json.dumps({"id": OTHER, "gnosId": ANALYSIS}).encode()), Refused),
        ],
        ids=repr,
    )
    def test_a_registry_that_answers_nonsense(
        self, client: Client, song: FakeSong, out: Path, answer: Answer, kind: type[ScoreError]
    ) -> None:
        song.traffic.inject(answer, times=None)
        assert isinstance(failure(client, out), kind)

    def test_pages_without_end_come_to_an_end(self, client: Client, song: FakeSong) -> None:
        page = {"content": [{"id": OBJECT, "gnosId": ANALYSIS}], "last": False}
        song.traffic.inject(Answer(200, json.dumps(page).encode()), times=None)
        assert client.analysis("TEST-CA", ANALYSIS) == [OBJECT]

    def test_all_pages_are_read(self, client: Client, song: FakeSong) -> None:
        for ids, last in (([OBJECT, OTHER], False), ([OTHER, INDEX], True)):
            page = {"content": [{"id": i, "gnosId": ANALYSIS} for i in ids], "last": last}
            song.traffic.inject(Answer(200, json.dumps(page).encode()))
        assert client.analysis("TEST-CA", ANALYSIS) == [OBJECT, OTHER, INDEX]


class TestConnection:
    def test_profile_and_sentinel(self, client: Client, site: FaultyScore) -> None:
        assert client.connect() == "s3"
        assert [e.path for e in site.traffic.seen()] == ["/profile", "/download/ping", "/store/heliograph"]
        site.traffic.forget()
        client.connect(verify=False)
        assert [e.path for e in site.traffic.seen()] == ["/profile"]

    def test_a_server_that_wants_a_token_for_its_profile(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(401), path="/profile")
        assert client.connect() == "s3"

    def test_which_may_be_another_by_the_settings(
        self, make_client: MakeClient, site: FaultyScore, tmp_path: Path
    ) -> None:
        """Blocks and their list go to Azure, where parts would go to S3."""
        site.traffic.inject(Answer(401), path="/profile", times=None)
        (tmp_path / "a.bam").write_bytes(DATA)
        client = make_client(default_profile="az")
        with suppress(ScoreError):  # this store is none of Azure
            client.upload(tmp_path / "a.bam", "5c0eca11-0000-4000-8000-0000000000ff")
        assert any("comp=block" in exchange.query for exchange in site.traffic.seen(method="PUT"))

    @pytest.mark.parametrize("text", [b"gcs", b"<html><body>Welcome</body></html>", b"", b"\xff\xfe"])
    def test_a_store_of_another_kind(self, client: Client, site: FaultyScore, text: bytes) -> None:
        site.traffic.inject(Answer(200, text), path="/profile")
        with pytest.raises(Refused, match="keeps its objects in a store of kind"):
            client.connect()

    @pytest.mark.parametrize("answer", [Answer.denied(), Answer(503)], ids=repr)
    def test_a_store_that_cannot_be_reached(self, client: Client, site: FaultyScore, answer: Answer) -> None:
        site.traffic.inject(answer, path="/store/heliograph", times=None)
        with pytest.raises(Unavailable, match="object store cannot be reached from here") as caught:
            client.connect()
        assert "--verify-connection" in caught.value.hint
        assert "Signature" not in str(caught.value)

    def test_a_store_without_sentinel(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(404), path="/store/heliograph", times=None)
        with pytest.raises(Refused, match="no such object to test with") as caught:
            client.connect()
        assert "sentinel" in caught.value.hint

    @pytest.mark.parametrize("text", [b"<html><body>Welcome</body></html>" * 1000, b"", b"http://[::1", b"\xff\xfe"])
    def test_a_ping_that_is_no_address(self, client: Client, site: FaultyScore, text: bytes) -> None:
        site.traffic.inject(Answer(200, text), path="/download/ping", times=None)
        with pytest.raises(Invalid, match="not an address") as caught:
            client.connect()
        assert len(caught.value.message) < 200

    def test_a_url_for_any_client(self, client: Client, site: FaultyScore) -> None:
        assert client.url(OBJECT).startswith(f"{site.url}/store/{OBJECT}?Expires=")
        (asked,) = site.traffic.seen(path="/download/")
        assert asked.query == "offset=0&length=-1&external=true"
        with pytest.raises(Invalid):
            client.url("x")
