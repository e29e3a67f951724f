"""HTTP as errors of Score: what a store's and a server's answers mean, and that no message gives a signature away."""

from __future__ import annotations

import base64
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from score.errors import (
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    ScoreError,
    Unauthenticated,
    Unavailable,
)
from score.testing.faults import Answer, CutResponse, Reset
from score.testing.score import FaultyScore
from score.transfer.engine import Engine
from score.transfer.http import (
    Http,
    Timeouts,
    expiry,
    place,
    refusal_message,
    retry_after,
    service_error,
    store_error,
)

NOW = datetime(2026, 11, 22, 1, 50, 35, tzinfo=UTC)
S3 = (
    "http://127.0.0.1:9000/object/data/5c0eca11-0000-4000-8000-000000000001?uploadId=MmJi&partNumber=1"
    "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261122T015035Z&X-Amz-SignedHeaders=host&X-Amz-Expires=518400"
    "&X-Amz-Credential=minio%2F20261122%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0123456789abcdef"
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (S3, "http://127.0.0.1:9000/object/data/5c0eca11-0000-4000-8000-000000000001"),
        ("https://user:password@store.example.org/x?sig=abc#sig=def", "https://store.example.org/x"),
        ("https://[::1]:9000/x?sig=abc", "https://::1:9000/x"),
        ("http://[::1/x?sig=abc", "'http://[::1/x'"),
        ("http://store:99999999/x?sig=abc", "'http://store:99999999/x'"),
        ("?sig=abc", "''"),
        ("", "''"),
    ],
)
def test_a_url_is_named_by_its_place(url: str, shown: str) -> None:
    assert place(url) == shown


@given(st.text(max_size=200), st.text("abcdef", min_size=8, max_size=8))
@example("http://store/a", "fedcba98")
@example("http://[", "fedcba98")
def test_a_place_never_holds_a_query_and_never_fails(front: str, secret: str) -> None:
    signature = f"Signature{secret}"
    for url in (f"{front}?X-Amz-Signature={signature}", f"http://store/{front}?sig={signature}&x={front}"):
        assert signature not in place(url)


def test_a_page_in_the_place_of_a_url_is_cut_short() -> None:
    assert len(place("<html>" + "x" * 100_000)) < 100


@pytest.mark.parametrize(
    ("query", "end"),
    [
        ("X-Amz-Date=20261122T015035Z&X-Amz-Expires=518400&X-Amz-Signature=x", NOW + timedelta(days=6)),
        ("AWSAccessKeyId=minio&Expires=1795312235&Signature=x", datetime.fromtimestamp(1795312235, UTC)),
        ("uploadId=a&partNumber=1&expires=1795312235&signature=x", datetime.fromtimestamp(1795312235, UTC)),
        ("sv=2021-08-06&se=2026-11-23T01%3A50%3A35Z&sr=b&sig=x", NOW + timedelta(days=1)),
        ("sv=2021-08-06&se=2026-11-23&sr=b&sig=x", datetime(2026, 11, 23, tzinfo=UTC)),
        ("", None),
        ("X-Amz-Date=20261122T015035Z", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=60", None),
        ("X-Amz-Date=20261122T015035Z&X-Amz-Expires=99999999999999999", None),
        ("Expires=soon", None),
        ("Expires=999999999999999999999", None),
        ("se=never", None),
    ],
)
def test_a_url_says_when_it_ends(query: str, end: datetime | None) -> None:
    assert expiry(f"http://store/object?{query}") == end


@given(st.text(max_size=100))
def test_no_url_is_too_odd_to_be_asked_for_its_end(text: str) -> None:
    for url in (text, f"http://store/x?se={text}", f"http://[{text}", f"http://store/x?Expires={text}"):
        end = expiry(url)
        assert end is None or end.tzinfo is not None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("Sun, 22 Nov 2026 01:51:35 GMT", 60.0),
        ("Sun, 22 Nov 2026 01:49:35 GMT", 0.0),
        ("tomorrow", None),
        ("Sun, 22 Nov", None),
    ],
)
def test_retry_after_is_in_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def s3_error(code: str, message: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message><Key>data/x</Key><BucketName>object</BucketName>"
        "<Resource>/object/data/x</Resource><RequestId>18A0</RequestId><HostId>dd90</HostId></Error>"
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (403, s3_error("AccessDenied", "Request has expired"), Expired, "403 AccessDenied: the URL has expired"),
        (400, s3_error("ExpiredToken", "The provided token has expired."), Expired, "credential has expired"),
        (403, s3_error("AccessDenied", "Access Denied."), Expired, "or this network may not reach the store"),
        (403, s3_error("SignatureDoesNotMatch", "The signature does not match."), Expired, "SignatureDoesNotMatch"),
        (403, b"<html>Forbidden by the proxy</html>", Expired, "answered 403: the URL has expired, or this network"),
        (401, b"", Expired, "answered 401"),
        (403, s3_error("QuotaExceeded", ""), Refused, "403 QuotaExceeded: its quota is full."),
        (400, s3_error("XMinioAdminBucketQuotaExceeded", "Bucket quota exceeded"), Refused, "its quota is full."),
        (403, s3_error("RequestTimeTooSkewed", "x"), Refused, "clocks of server and store differ"),
        (404, s3_error("NoSuchKey", "The specified key does not exist."), NotFound, "404 NoSuchKey."),
        (404, s3_error("NoSuchUpload", "x"), NotFound, "NoSuchUpload"),
        (400, s3_error("RequestTimeout", "Your socket connection ..."), Unavailable, "400 RequestTimeout"),
        (
            400,
            s3_error("Bad\x1b[2J\nDigest", "Not\x1b[1A\r\n  \u202eright."),
            Refused,
            "Bad [2J Digest: Not [1A right.",
        ),
        (400, s3_error("BadDigest", "The Content-Md5 you specified did not match."), Refused, "did not match"),
        (400, b"", Refused, "answered 400."),
        (408, b"", Unavailable, "408"),
        (409, b"", Conflict, "409"),
        (412, s3_error("PreconditionFailed", "x"), Conflict, "replaced meanwhile"),
        (416, s3_error("InvalidRange", "x"), Conflict, "shorter than the server said"),
        (429, b"", Unavailable, "429"),
        (500, s3_error("InternalError", "We encountered an internal error."), Unavailable, "500 InternalError"),
        (502, b"<html><h1>Bad Gateway</h1></html>", Unavailable, "502"),
        (503, s3_error("SlowDown", "Please reduce your request rate."), Unavailable, "503 SlowDown"),
        (504, b"", Unavailable, "504"),
        (301, b"", Refused, "301"),
        (403, b"\xff\xfe\x00", Expired, "403"),
    ],
)
def test_answers_of_a_store(
    engine: Engine, status: int, body: bytes, kind: type[ScoreError], says: str, store: FaultyScore
) -> None:
    for stream in (False, True):
        store.traffic.inject(Answer(status, body), path="/store/")
        url = f"{store.url}/store/x?Signature=topsecret"
        response = engine.http.request("GET", url, stream=stream)
        error = store_error(response, "GET", url)
        response.release_conn()
        assert type(error) is kind
        assert says in error.message
        assert error.message.startswith(f"GET {store.url}/store/x: the store answered {status}")
        assert "topsecret" not in str(error)
        assert error.hint or isinstance(error, Unavailable | Expired), "what to do; of those two others say it"


def test_a_stores_wish_to_be_left_alone_is_kept(engine: Engine, store: FaultyScore) -> None:
    store.traffic.inject(Answer.unavailable(retry_after=7))
    error = store_error(engine.http.request("GET", f"{store.url}/store/x"), "GET", "http://store/x")
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"message": "No\\u001b[2J such\\n\\tobject"}', "No [2J such object"),
        (b'{"message": 5}', "5"),
        (b"{}", ""),
        (b"[1]", ""),
        (b"[" * 16000, "[" * 300),
        (b" Out\r\nof \x1b[31morder\x00 ", "Out of [31morder"),
        (b"\n<html>\nBad gateway</html>", ""),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
        pytest.param(b'{"stackTrace": ["%s"], "message": "Missing: x"}' % (b"a" * 60_000), "Missing: x", id="Song"),
        (b"", ""),
    ],
)
def test_the_words_of_a_server_are_one_line_that_can_be_seen(
    http: Http, store: FaultyScore, body: bytes, says: str
) -> None:
    store.traffic.inject(Answer(500, body), path="/profile")
    assert refusal_message(http.request("GET", f"{store.url}/profile")) == says


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, Refused),
        (400, Conflict),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, Refused),
        (431, Refused),
        (500, Refused),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (418, Unavailable),
    ],
)
def test_answers_of_a_server(status: int, kind: type[ScoreError]) -> None:
    """Protocol, section 2: 400 and 404 are not repeated, 401, 403 and 500 stop, all others may pass."""
    for message in ("", "The analysis is not published."):
        error = service_error(status, message, "GET http://score/download/x", 3.0)
        assert type(error) is kind
        assert error.message.startswith("GET http://score/download/x: ")
        if isinstance(error, Unavailable):
            assert error.retry_after == 3.0
        else:
            assert error.hint, "what to do"
    assert message in error.message or status == 302


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def listening(*answers: bytes) -> Iterator[int]:
    """A server that answers each connection with the given bytes once it has read something, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.fixture
def http() -> Iterator[Http]:
    http = Http(2, Timeouts(connect=20, read=20))
    yield http
    http.close()


def test_nobody_at_the_address(http: Http) -> None:
    port = free_port()
    with pytest.raises(Unavailable) as caught:
        http.request("GET", f"http://127.0.0.1:{port}/x?Signature=topsecret")
    assert str(caught.value) == f"GET http://127.0.0.1:{port}/x: no connection (connection refused)."


def test_what_a_caller_is_just_handling_is_no_reason(http: Http, tmp_path: Path) -> None:
    """As where a program fetches what it does not find here."""
    try:
        (tmp_path / "absent").stat()
    except FileNotFoundError:
        with pytest.raises(Unavailable, match=r"no connection \(connection refused\)\."):
            http.request("GET", f"http://127.0.0.1:{free_port()}/x")


def test_a_name_that_does_not_exist(http: Http) -> None:
    with pytest.raises(Unavailable, match=r"GET http://nosuchhost\.invalid/x: no connection \(.+\)\.") as caught:
        http.request("GET", "http://nosuchhost.invalid/x?Signature=topsecret")
    assert "topsecret" not in str(caught.value)


def test_a_connection_that_is_cut_before_the_answer(http: Http, store: FaultyScore) -> None:
    store.traffic.inject(Reset())
    with pytest.raises(Unavailable, match=r"GET http://127.0.0.1:\d+/profile: connection reset by peer\."):
        http.request("GET", f"{store.url}/profile?Signature=topsecret")
    with listening(b"") as port, pytest.raises(Unavailable, match="the connection was closed"):
        http.request("GET", f"http://127.0.0.1:{port}/x")


def test_an_answer_that_is_cut_short(http: Http, store: FaultyScore) -> None:
    stored = store.fake.add("x", b"x" * 1000)
    store.traffic.inject(CutResponse(100), path="/store/")
    with pytest.raises(Unavailable, match="the answer was cut short"):
        http.request("GET", store.fake.download_parts("x")[0].url or "")
    assert len(stored.data) == 1000


def test_a_refusal_whose_end_is_cut_off_is_one(http: Http) -> None:
    """A store that refuses a part while it is being sent may drop the connection before all is said."""
    body = b"<Error><Code>QuotaExceeded</Code><Message>"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\n"
    with listening(head + body) as port:
        url = f"http://127.0.0.1:{port}/x?Signature=topsecret"
        response = http.request("PUT", url, body=b"data")
        assert response.status == 403
        error = store_error(response, "PUT", url)
    assert error.message.endswith("403 QuotaExceeded: its quota is full.")
    assert isinstance(error, Refused), "new URLs would not help"


def test_a_refusal_whose_words_are_lost_is_told_as_what_it_may_be(http: Http) -> None:
    """Nothing says that it was a quota; that the connection ended amid the answer does not speak of the network."""
    with listening(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\n<Error><Co") as port:
        url = f"http://127.0.0.1:{port}/x?Signature=topsecret"
        error = store_error(http.request("PUT", url, body=b"data"), "PUT", url)
    assert isinstance(error, Expired), "it may be that all the same"
    assert error.message.endswith("the store answered 403 and closed the connection while data were sent")
    assert "quota" in error.hint


def test_a_refusal_of_ours_whose_words_are_lost_has_its_code_in_the_head(http: Http) -> None:
    head = b"HTTP/1.1 507 Insufficient Storage\r\nScore-Error: InsufficientStorage\r\nContent-Length: 500\r\n\r\n"
    with listening(head) as port:
        url = f"http://127.0.0.1:{port}/x?Signature=topsecret"
        error = store_error(http.request("PUT", url, body=b"data"), "PUT", url)
    assert isinstance(error, Unavailable)
    assert error.message.endswith("the store answered 507 InsufficientStorage")
    assert error.hint.startswith("Ask its operator for room"), "the user's own disk has nothing to do with it"


def test_a_connection_that_ends_while_data_are_sent(http: Http, store: FaultyScore) -> None:
    """A store that refuses what is sent may hang up without a word."""
    sent = iter([b"x" * 65536] * 16)
    told = "closed the connection while data were sent"
    with listening(b"") as port, pytest.raises(Unavailable, match=told) as hung:
        http.request("PUT", f"http://127.0.0.1:{port}/x?Signature=topsecret", body=sent)
    assert "quota" in hung.value.hint
    store.traffic.inject(Reset())
    with pytest.raises(Unavailable, match=told):
        http.request("PUT", f"{store.url}/store/x?Signature=topsecret", body=b"data")
    with listening(b"") as port, pytest.raises(Unavailable, match=r"the connection was closed\.") as closed:
        http.request("PUT", f"http://127.0.0.1:{port}/x")
    assert not closed.value.hint


def test_an_answer_that_is_no_http(http: Http) -> None:
    with (
        listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port,
        pytest.raises(Unavailable, match=f"GET http://127.0.0.1:{port}/"),
    ):
        http.request("GET", f"http://127.0.0.1:{port}/x?Signature=topsecret")


def test_an_answer_that_does_not_come(store: FaultyScore) -> None:
    http = Http(2, Timeouts(connect=20, read=0.05))
    gate = store.traffic.hold()
    with pytest.raises(Unavailable, match="/profile: timed out"):
        http.request("GET", f"{store.url}/profile")
    gate.open()
    http.close()


def test_plain_http_where_encryption_is_expected(http: Http) -> None:
    with (
        listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        pytest.raises(Unavailable, match="encrypted connection"),
    ):
        http.request("GET", f"https://127.0.0.1:{port}/x")


@pytest.mark.parametrize(
    "url",
    [
        "<html><body>It works!</body></html>",
        "",
        "store/x",
        "ftp://store/x",
        "http://",
        "http://[::1/x",
        "http://a:b/x",
    ],
)
def test_what_is_no_address_is_named(http: Http, url: str) -> None:
    with pytest.raises(Invalid, match="not an address"):
        http.request("GET", url)


def test_a_reason_is_never_taken_from_an_earlier_failure(http: Http) -> None:
    """The call may be made while another failure is being handled."""
    try:
        raise Expired("PUT http://store/x: the URL has expired")
    except Expired:
        with pytest.raises(Unavailable, match="connection refused"):
            http.request("GET", f"http://127.0.0.1:{free_port()}/x")


@pytest.mark.parametrize(
    "query", ["X-Amz-Date=1&X-Amz-Signature=SECRET", "Signature=SECRET", "se=1&sig=SECRET", "sig=SECRET"]
)
def test_urllib3s_own_log_has_no_signature(
    http: Http, store: FaultyScore, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    """Claim: whoever uses the SDK may log everything: what is signed is not in it."""
    with caplog.at_level(logging.DEBUG):
        http.request("GET", f"{store.url}/nothing?{query}")
    assert "GET /nothing?... HTTP/1.1" in caplog.text
    assert "SECRET" not in caplog.text


def test_nor_has_its_warning_of_broken_headers(http: Http, caplog: pytest.LogCaptureFixture) -> None:
    """Python shows warnings even where no program has set up a log."""
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nbroken\r\n\r\n") as port:
        http.request("GET", f"http://127.0.0.1:{port}/x?X-Amz-Signature=SECRET")
    assert f"Failed to parse headers (url=http://127.0.0.1:{port}/x?...)" in caplog.text
    assert "SECRET" not in caplog.text


def test_redirects_are_not_followed(http: Http, store: FaultyScore) -> None:
    store.traffic.inject(Answer(302, b"", {"Location": "http://127.0.0.1:1/elsewhere"}))
    assert http.request("GET", f"{store.url}/profile", headers={"Authorization": "Bearer x"}).status == 302


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_used(name: str, monkeypatch: pytest.MonkeyPatch, store: FaultyScore) -> None:
    monkeypatch.setenv(name, store.url.replace("http://", "user:pass%20word@"))
    monkeypatch.setenv("no_proxy", "direct.invalid")
    http = Http(2, Timeouts(connect=20, read=20))
    store.traffic.inject(Answer(200, b"from the proxy"))
    assert http.request("GET", "http://somewhere.invalid/x").data == b"from the proxy"
    (asked,) = store.traffic.seen()
    assert asked.path == "http://somewhere.invalid/x"
    assert asked.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"user:pass word").decode()
    with pytest.raises(Unavailable, match="no connection"):
        http.request("GET", "http://direct.invalid/x")
    http.close()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AuthenticationFailed", Expired),
        (403, "AuthorizationFailure", Expired),
        (403, "AuthorizationPermissionMismatch", Refused),
        (404, "ContainerNotFound", Refused),
        (404, "BlobNotFound", NotFound),
        (409, "BlobImmutableDueToPolicy", Conflict),
        (412, "ConditionNotMet", Conflict),
        (500, "OperationTimedOut", Unavailable),
        (503, "ServerBusy", Unavailable),
    ],
)
@pytest.mark.parametrize("in_header", [True, False])
def test_words_of_azure(
    engine: Engine, store: FaultyScore, status: int, code: str, error: type[ScoreError], in_header: bool
) -> None:
    answer = Answer(status, b"", {"x-ms-error-code": code}) if in_header else Answer.s3(status, code, "It said so.")
    store.traffic.inject(answer, path="/store/x")
    said = store_error(engine.http.request("GET", f"{store.url}/store/x"), "GET", "http://store/x?sig=abc")
    assert type(said) is error
    assert "abc" not in str(said)
