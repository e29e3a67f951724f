"""What the store makes of answers that a real one gives seldom, or that only another product gives."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from score.errors import AlreadyExists, Conflict, Integrity, Invalid, NotFound, Refused, ScoreError, Unavailable
from score.protocol.parts import Span
from score.storage.base import NOTHING, ObjectStat, StoredPart, UploadId, stored_part
from score.storage.s3.client import S3Client
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store, multipart_etag
from score.testing.faults import Answer, CutResponse, Fault, Reset
from score.testing.proxy import FaultProxy
from score.testing.store_contract import collect

UPLOAD = UploadId("upload-1")
PARTS = [StoredPart(1, 5, "5d41402abc4b2a76b9719d911017c592")]
ETAG = multipart_etag(PARTS)
LIST = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
COMPLETED = b"<CompleteMultipartUploadResult><ETag>&quot;%s&quot;</ETag></CompleteMultipartUploadResult>"

Work = Callable[[S3Store], Coroutine[Any, Any, object]]

OPERATIONS: dict[str, Work] = {
    "stat": lambda store: store.stat("data/key"),
    "get": lambda store: store.get("data/key"),
    "read": lambda store: store.read("data/key", Span(0, 5)),
    "put": lambda store: store.put("data/key", b"body"),
    "delete": lambda store: store.delete("data/key"),
    "delete many": lambda store: store.delete("data/key", "data/other"),
    "scan": lambda store: collect(store.scan("data/")),
    "begin": lambda store: store.begin("data/key"),
    "stored part": lambda store: stored_part(store, "data/key", UPLOAD, 3),
    "stored parts": lambda store: collect(store.stored_parts("data/key", UPLOAD)),
    "complete": lambda store: store.complete("data/key", UPLOAD, PARTS),
    "abort": lambda store: store.abort("data/key", UPLOAD),
    "open uploads": lambda store: collect(store.open_uploads()),
}


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    # Port 9 has no server: what is not injected fails.
    with FaultProxy("http://127.0.0.1:9") as proxy:
        yield proxy


@pytest.fixture
def settings(proxy: FaultProxy) -> S3Settings:
    return S3Settings(proxy.url, "access-key", "secret-key", "session-token", retry_limit=2)


def run(settings: S3Settings, work: Work, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Any:
    async def main() -> object:
        store = S3Store(S3Client(settings, clock=clock), "bucket")
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())


def found(size: int, etag: str | None, **more: str) -> Answer:
    headers = {"Last-Modified": "Mon, 03 Feb 2025 04:05:06 GMT", **({"ETag": f'"{etag}"'} if etag else {})}
    return Answer(200, b"x" * size, headers | {name.replace("_", "-"): value for name, value in more.items()})


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "fault",
    [Answer.unavailable(), Answer.failure(), Answer(502), Reset()],
    ids=["503", "500", "502", "reset"],
)
def test_what_may_pass_is_tried_again_to_the_limit(
    proxy: FaultProxy, settings: S3Settings, operation: str, fault: Fault
) -> None:
    proxy.traffic.inject(fault, times=None)
    with pytest.raises(Unavailable):
        run(settings, OPERATIONS[operation])
    assert len(proxy.traffic.seen(method="POST" if operation == "complete" else None)) == 3


def test_a_400_that_passes(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer.request_timeout())
    proxy.traffic.inject(Answer(200, b"", {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}))
    run(settings, OPERATIONS["put"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_refusal_is_final_and_gives_nothing_away(proxy: FaultProxy, settings: S3Settings, operation: str) -> None:
    proxy.traffic.inject(Answer.denied(), times=None)
    with pytest.raises(Refused) as caught:
        run(settings, OPERATIONS[operation])
    assert len(proxy.traffic.seen()) == 1
    assert "bucket" in str(caught.value)
    if operation != "stat":  # HEAD has no body to name the code in.
        assert "AccessDenied" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)).lower()
    assert not [word for word in ("secret-key", "session-token", "signature=", "access-key", "x-amz") if word in told]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_broken_connection_gives_nothing_away(settings: S3Settings, operation: str) -> None:
    with pytest.raises(Unavailable) as caught:
        run(replace(settings, endpoint="http://127.0.0.1:9", retry_limit=0), OPERATIONS[operation])
    told = "".join(traceback.format_exception(caught.value)).lower()
    assert not [word for word in ("secret-key", "session-token", "signature=", "access-key", "x-amz") if word in told]


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - {"get", "read", "delete", "abort"}))
def test_a_success_that_is_none(proxy: FaultProxy, settings: S3Settings, operation: str) -> None:
    """A page of some proxy, say. It must not pass for "nothing there" or "done"."""
    proxy.traffic.inject(Answer.garbage(), times=None)
    with pytest.raises(Integrity):
        run(settings, OPERATIONS[operation])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_bucket_that_is_not_there(proxy: FaultProxy, settings: S3Settings, operation: str) -> None:
    missing = Answer.s3(404, "NoSuchBucket", "No such bucket.", **{"x-minio-error-code": "NoSuchBucket"})
    proxy.traffic.inject(missing, times=None)
    with pytest.raises(Refused, match="Create the bucket"):
        run(settings, OPERATIONS[operation])


def test_a_failure_that_passes_is_not_noticed(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer.unavailable())
    proxy.traffic.inject(Reset())
    proxy.traffic.inject(Answer(200, b"state"))
    assert run(settings, OPERATIONS["get"]) == b"state"


def test_half_an_answer_is_none(proxy: FaultProxy, settings: S3Settings) -> None:
    with FaultProxy(proxy.url) as outer:
        proxy.traffic.inject(Answer(200, b"the whole state"), times=None)
        outer.traffic.inject(CutResponse(4), times=2)
        assert run(replace(settings, endpoint=outer.url), OPERATIONS["get"]) == b"the whole state"
        outer.traffic.inject(CutResponse(4), times=None)
        with pytest.raises(Unavailable):
            run(replace(settings, endpoint=outer.url), OPERATIONS["get"])


def test_a_store_that_says_nothing(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.hold()
    with pytest.raises(Unavailable, match="in time"):
        run(replace(settings, read_timeout=0.05, retry_limit=1), OPERATIONS["get"])
    assert len(proxy.traffic.seen()) == 2


def test_patience_ends_before_the_limit(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer.unavailable(), times=None)
    with pytest.raises(Unavailable):
        run(replace(settings, patience=0.0, retry_limit=1000), OPERATIONS["get"])
    assert len(proxy.traffic.seen()) == 1


def test_a_store_that_is_busy_says_for_how_long(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer.unavailable(retry_after=7))
    with pytest.raises(Unavailable) as caught:
        run(replace(settings, retry_limit=0), OPERATIONS["get"])
    assert caught.value.retry_after == 7


def test_an_error_in_a_completion_that_says_200(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer(200, Answer.failure().body), method="POST", times=None)
    with pytest.raises(Unavailable, match="InternalError"):
        run(settings, OPERATIONS["complete"])
    assert len(proxy.traffic.seen(method="POST")) == 3
    assert not proxy.traffic.seen(method="HEAD")


@pytest.mark.parametrize("blanks", [b" \n ", b"\n"], ids=repr)
def test_blanks_that_a_store_sends_while_it_thinks_are_no_answer(
    proxy: FaultProxy, settings: S3Settings, blanks: bytes
) -> None:
    head = b'<?xml version="1.0" encoding="UTF-8"?>\n'
    proxy.traffic.inject(Answer(200, blanks + head + COMPLETED % str(ETAG).encode()), method="POST", times=1)
    proxy.traffic.inject(found(5, ETAG), method="HEAD", times=1)
    assert run(settings, OPERATIONS["complete"]).etag == ETAG
    proxy.traffic.forget()
    proxy.traffic.inject(Answer(200, blanks + Answer.failure().body), method="POST", times=None)
    with pytest.raises(Unavailable, match="InternalError"):
        run(settings, OPERATIONS["complete"])
    assert len(proxy.traffic.seen(method="POST")) == 3


def test_a_completion_that_fails_for_ever_since_the_upload_is_gone(proxy: FaultProxy, settings: S3Settings) -> None:
    """Ceph says 500 to it; the object decides whether it was completed before."""
    proxy.traffic.inject(Answer.failure(), method="POST", times=None)
    proxy.traffic.inject(Answer.s3(404, "NoSuchUpload", "It is gone."), method="GET", times=None)
    proxy.traffic.inject(found(5, ETAG), method="HEAD", times=1)
    assert run(settings, OPERATIONS["complete"]).etag == ETAG
    proxy.traffic.inject(found(5, "0" * 32 + "-1"), method="HEAD", times=1)
    with pytest.raises(NotFound):
        run(settings, OPERATIONS["complete"])


def test_half_an_answer_to_a_completion_is_none(proxy: FaultProxy, settings: S3Settings) -> None:
    """It is asked again; then the object is the proof."""
    with FaultProxy(proxy.url) as outer:
        proxy.traffic.inject(Answer(200, COMPLETED % str(ETAG).encode()), method="POST", times=1)
        proxy.traffic.inject(Answer.s3(404, "NoSuchUpload", "It is gone."), method="POST", times=None)
        proxy.traffic.inject(found(5, ETAG), method="HEAD", times=1)
        outer.traffic.inject(CutResponse(20), method="POST", times=1)
        assert run(replace(settings, endpoint=outer.url), OPERATIONS["complete"]).etag == ETAG
        assert len(proxy.traffic.seen(method="POST")) == 2


def test_a_part_that_is_too_small_is_a_conflict(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer.s3(400, "EntityTooSmall", "Too small."), method="POST")
    with pytest.raises(Conflict, match="EntityTooSmall"):
        run(settings, OPERATIONS["complete"])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, COMPLETED % str(ETAG).encode()),
        Answer(200, b"<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"),
        Answer.s3(404, "NoSuchUpload", "It is gone."),
    ],
    ids=["as AWS", "Ceph: no ETag", "MinIO: a second time"],
)
def test_a_completion_is_proved_by_the_object(proxy: FaultProxy, settings: S3Settings, answer: Answer) -> None:
    proxy.traffic.inject(answer, method="POST", times=None)
    proxy.traffic.inject(found(5, ETAG), method="HEAD", times=1)
    stat = run(settings, OPERATIONS["complete"])
    assert (stat.size, stat.etag) == (5, ETAG)

    failure = NotFound if answer.status == 404 else ScoreError
    for other in (found(6, ETAG), found(5, "0" * 32 + "-1"), found(5, PARTS[0].etag), found(5, None), Answer(404)):
        proxy.traffic.inject(other, method="HEAD", times=1)
        with pytest.raises(failure):
            run(settings, OPERATIONS["complete"])


def test_without_md5s_the_etag_of_the_completion_counts(proxy: FaultProxy, settings: S3Settings) -> None:
    """Under SSE-KMS the ETag of an object does not follow from those of its parts."""
    proxy.traffic.inject(Answer(200, COMPLETED % b"abc-1"), method="POST", times=None)
    proxy.traffic.inject(found(5, "abc-1"), method="HEAD", times=1)
    assert run(settings, OPERATIONS["complete"]).etag == "abc-1"


@pytest.mark.parametrize("algorithm", ["aws:kms", "aws:kms:dsse"])
def test_an_object_that_the_bucket_encrypted_has_an_etag_of_its_own(
    proxy: FaultProxy, settings: S3Settings, algorithm: str
) -> None:
    """No setting says so, but the object does; then its size and number of parts are what is known."""
    gone = Answer.s3(404, "NoSuchUpload", "It is gone.")
    proxy.traffic.inject(gone, method="POST", times=None)
    other = "0" * 32 + "-1"
    encrypted = found(5, other, x_amz_server_side_encryption=algorithm)
    proxy.traffic.inject(encrypted, method="HEAD", times=1)
    made = run(settings, OPERATIONS["complete"])
    assert (made.etag, made.opaque) == (other, True)
    for no in (found(5, other), found(5, other, x_amz_server_side_encryption="AES256")):
        proxy.traffic.inject(no, method="HEAD", times=1)
        with pytest.raises(NotFound):
            run(settings, OPERATIONS["complete"])


OTHER = found(5, "0" * 32 + "-1")
IN_THE_WAY = Answer.s3(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
WAITING = Answer(200, b"<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>")


async def keep(store: S3Store) -> ObjectStat:
    """Complete, and replace nothing."""
    return await store.complete("data/key", UPLOAD, PARTS, False)


def conditions(proxy: FaultProxy) -> list[str | None]:
    return [exchange.headers.get("if-none-match") for exchange in proxy.traffic.seen(method="POST")]


def test_an_object_that_comes_just_then_is_not_replaced(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer(404), method="HEAD")
    proxy.traffic.inject(IN_THE_WAY, method="POST", times=None)
    proxy.traffic.inject(OTHER, method="HEAD")
    proxy.traffic.inject(WAITING, method="GET")
    with pytest.raises(AlreadyExists):
        run(settings, keep)
    assert conditions(proxy) == ["*"]
    assert not proxy.traffic.seen(method="DELETE")


def test_one_that_was_there_before_is_found_where_the_store_cannot_be_told(
    proxy: FaultProxy, settings: S3Settings
) -> None:
    proxy.traffic.inject(OTHER, method="HEAD")
    proxy.traffic.inject(WAITING, method="GET")
    with pytest.raises(AlreadyExists):
        run(settings, keep)
    assert conditions(proxy) == []


def test_one_of_as_many_bytes_and_parts_too_where_the_bucket_encrypts(
    proxy: FaultProxy, settings: S3Settings
) -> None:
    """Its ETag says nothing; that this upload waits does."""
    proxy.traffic.inject(found(5, "0" * 32 + "-1", x_amz_server_side_encryption="aws:kms"), method="HEAD")
    proxy.traffic.inject(WAITING, method="GET")
    with pytest.raises(AlreadyExists):
        run(settings, keep)
    assert conditions(proxy) == []


def test_a_completion_whose_answer_was_lost_finds_its_own_object_in_the_way(
    proxy: FaultProxy, settings: S3Settings
) -> None:
    proxy.traffic.inject(IN_THE_WAY, method="POST", times=None)
    proxy.traffic.inject(found(5, ETAG), method="HEAD", times=3)
    proxy.traffic.inject(Answer.s3(404, "NoSuchUpload", "It is gone."), method="DELETE")
    assert run(settings, keep).etag == ETAG
    encrypted = found(5, "0" * 32 + "-1", x_amz_server_side_encryption="aws:kms")
    proxy.traffic.inject(encrypted, method="HEAD", times=None)
    proxy.traffic.inject(Answer.s3(404, "NoSuchUpload", "It is gone."), method="GET", times=2)
    assert run(settings, keep).opaque
    proxy.traffic.inject(WAITING, method="GET")
    with pytest.raises(AlreadyExists):  # it was another upload with as many bytes and parts
        run(settings, keep)


def test_a_store_that_fails_does_not_say_whose_the_object_is(proxy: FaultProxy, settings: S3Settings) -> None:
    """To take one's own for another's would leave it without its .meta."""
    encrypted = found(5, "0" * 32 + "-1", x_amz_server_side_encryption="aws:kms")
    proxy.traffic.inject(encrypted, method="HEAD", times=None)
    proxy.traffic.inject(IN_THE_WAY, method="POST", times=None)
    proxy.traffic.inject(Answer.unavailable(), method="GET", times=None)
    with pytest.raises(Unavailable):
        run(settings, keep)


def test_what_was_in_the_way_and_is_gone_may_be_tried_again(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer(404), method="HEAD", times=None)
    proxy.traffic.inject(IN_THE_WAY, method="POST", times=None)
    with pytest.raises(Unavailable, match="gone now"):
        run(settings, keep)


def test_amazon_is_asked_again_where_the_object_changes_just_then(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer(404), method="HEAD")
    proxy.traffic.inject(Answer.s3(409, "ConditionalRequestConflict", "A conflicting operation."), method="POST")
    proxy.traffic.inject(IN_THE_WAY, method="POST")
    proxy.traffic.inject(OTHER, method="HEAD")
    proxy.traffic.inject(WAITING, method="GET")
    with pytest.raises(AlreadyExists):
        run(settings, keep)
    assert conditions(proxy) == ["*", "*"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest"), (405, "MethodNotAllowed")],
)
def test_a_store_that_takes_no_conditions_is_not_told_again(
    proxy: FaultProxy, settings: S3Settings, status: int, code: str
) -> None:
    async def twice(store: S3Store) -> None:
        for _ in range(2):
            proxy.traffic.inject(Answer(404), method="HEAD")
            proxy.traffic.inject(found(5, ETAG), method="HEAD")
            assert (await keep(store)).etag == ETAG

    proxy.traffic.inject(Answer.s3(status, code, "A header you provided is not implemented."), method="POST")
    proxy.traffic.inject(Answer(200, COMPLETED % str(ETAG).encode()), method="POST", times=2)
    run(settings, twice)
    assert conditions(proxy) == ["*", None, None]


def test_what_is_refused_without_a_condition_too_says_nothing_of_conditions(
    proxy: FaultProxy, settings: S3Settings
) -> None:
    async def work(store: S3Store) -> None:
        with pytest.raises(Refused):
            await store.put("data/key", b"body", NOTHING)
        await store.put("data/key", b"body", NOTHING)

    proxy.traffic.inject(Answer.s3(400, "InvalidArgument", "No."), method="PUT", times=2)
    proxy.traffic.inject(Answer(200, b"", {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}), method="PUT")
    run(settings, work)
    told = [exchange.headers.get("if-none-match") for exchange in proxy.traffic.seen(method="PUT")]
    assert told == ["*", None, "*"]


GONE = Answer.s3(404, "NoSuchUpload", "It is gone.")
MADE = Answer(200, COMPLETED % str(ETAG).encode())


@pytest.mark.parametrize("again", [IN_THE_WAY, GONE, MADE], ids=["kept to", "as Minio before", "as Ceph"])
def test_whether_a_store_keeps_to_conditions_is_tried_once(
    proxy: FaultProxy, settings: S3Settings, again: Answer
) -> None:
    """MinIO from before May 2024 passes over them, and does not tell its version."""

    async def thrice(store: S3Store) -> None:
        for _ in range(3):
            assert (await keep(store)).etag == ETAG

    proxy.traffic.inject(found(5, ETAG), method="HEAD", times=None)
    for answer in (MADE, again, MADE, MADE):
        proxy.traffic.inject(answer, method="POST")
    run(settings, thrice)
    assert conditions(proxy) == ["*"] * 4
    assert len(proxy.traffic.seen(method="HEAD")) == (4 if again is IN_THE_WAY else 6)


def test_what_may_replace_is_completed_without_conditions(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer(200, COMPLETED % str(ETAG).encode()), method="POST")
    proxy.traffic.inject(found(5, ETAG), method="HEAD")
    run(settings, OPERATIONS["complete"])
    assert conditions(proxy) == [None]


def test_no_parts_make_no_object(proxy: FaultProxy, settings: S3Settings) -> None:
    with pytest.raises(Conflict):
        run(settings, lambda store: store.complete("data/key", UPLOAD, []))
    assert not proxy.traffic.seen()


def test_a_deletion_that_fails_in_part(proxy: FaultProxy, settings: S3Settings) -> None:
    result = b"<DeleteResult><Error><Key>data/other</Key><Code>%s</Code><Message>No.</Message></Error></DeleteResult>"
    proxy.traffic.inject(Answer(200, result % b"AccessDenied"))
    with pytest.raises(Refused, match="data/other"):
        run(settings, OPERATIONS["delete many"])
    proxy.traffic.inject(Answer(200, result % b"NoSuchKey"))
    run(settings, OPERATIONS["delete many"])
    proxy.traffic.inject(Answer(200, result % b"InternalError"))
    proxy.traffic.inject(Answer(200, b"<DeleteResult/>"))
    run(settings, OPERATIONS["delete many"])


def test_keys_that_xml_cannot_hold_are_deleted_one_by_one(proxy: FaultProxy, settings: S3Settings) -> None:
    proxy.traffic.inject(Answer(200, b"<DeleteResult/>"), method="POST")
    proxy.traffic.inject(Answer(204), method="DELETE")
    run(settings, lambda store: store.delete("a", "b\x01", "c"))
    assert [exchange.path for exchange in proxy.traffic.seen(method="DELETE")] == ["/bucket/b%01"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(206, b"1234"), Invalid),
        (Answer(416), Invalid),
        (Answer(200, b"the whole object, as the store does not know ranges"), Integrity),
        (Answer(206, b"123456"), Integrity),
    ],
)
def test_another_range_than_asked_for(
    proxy: FaultProxy, settings: S3Settings, answer: Answer, error: type[ScoreError]
) -> None:
    proxy.traffic.inject(answer, times=None)
    with pytest.raises(error):
        run(settings, OPERATIONS["read"])


def test_no_redirect_is_followed(proxy: FaultProxy, settings: S3Settings) -> None:
    moved = Answer.s3(301, "PermanentRedirect", "Elsewhere.", Location=f"{proxy.url}/elsewhere")
    proxy.traffic.inject(moved, times=None)
    with pytest.raises(Refused, match="region"):
        run(settings, OPERATIONS["get"])
    assert len(proxy.traffic.seen()) == 1


def test_a_wrong_clock_is_named(proxy: FaultProxy, settings: S3Settings) -> None:
    late = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    proxy.traffic.inject(Answer(403, headers={"Date": late}), method="HEAD")
    with pytest.raises(Refused, match="clock"):
        run(settings, OPERATIONS["stat"])
    proxy.traffic.inject(Answer.s3(403, "RequestTimeTooSkewed", "Too large a difference."))
    with pytest.raises(Refused, match="clock"):
        run(settings, OPERATIONS["get"])


@pytest.mark.parametrize(
    "page",
    [
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"</ListBucketResult>",
        b"<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>0</NextPartNumberMarker>"
        b"</ListPartsResult>",
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        b"<NextUploadIdMarker>u</NextUploadIdMarker></ListMultipartUploadsResult>",
    ],
    ids=["scan", "stored parts", "open uploads"],
)
def test_a_listing_that_goes_round_in_circles_ends(
    proxy: FaultProxy, settings: S3Settings, page: bytes, request: pytest.FixtureRequest
) -> None:
    proxy.traffic.inject(Answer(200, page), times=None)
    with pytest.raises(Integrity):
        run(settings, OPERATIONS[request.node.callspec.id])


def test_probes_say_what_is_wrong(proxy: FaultProxy, settings: S3Settings) -> None:
    probe: Work = lambda store: store.probe()  # noqa: E731
    late = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    proxy.traffic.inject(Answer(200, LIST, {"Date": late}))
    healthy = run(settings, probe)
    assert healthy.ok
    assert healthy.clock_skew == pytest.approx(-7200, abs=60)
    for answer, said in [
        (Answer.unavailable(), "SlowDown"),
        (Answer.denied(), "AccessDenied"),
        (Answer.s3(403, "SignatureDoesNotMatch", "No."), "s3.secretKey"),
        (Answer.s3(404, "NoSuchBucket", "No."), "Create the bucket"),
        (Answer.garbage(), "endpoint"),
    ]:
        proxy.traffic.forget()
        proxy.traffic.inject(answer)
        probed = run(settings, probe)
        assert not probed.ok
        assert said in probed.problem
        assert len(proxy.traffic.seen()) == 1
