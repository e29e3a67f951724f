"""Every signature must equal botocore's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.utils import percent_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from score.protocol.parts import Span
from score.storage.s3.signing import Credentials, Resource, encode_path
from score.storage.s3.sigv4 import SigV4

MANY = 1700
"""Examples of each kind of signature: 10,000 for both versions together."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
object_keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
# Without white space at the ends, which no header can carry.
header_values = st.text("abc XYZ0189+/=;:,\"'", max_size=30).map(str.strip)
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
moments = st.integers(10**9, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
credentials = st.builds(
    Credentials,
    st.text("ABCXYZ0123456789-", min_size=3, max_size=20),
    st.text(min_size=1, max_size=50),
    st.just("") | st.text("abcXYZ0189+/=", min_size=1, max_size=50),
)
origins = st.sampled_from(
    [
        "https://s3.eu-central-1.amazonaws.com",
        "http://127.0.0.1:9000",
        "http://store.example.org",
        "https://store.example.org:443",
        "http://store.example.org:443",
        "http://Store.Example.org:80",
        "https://[2001:db8::1]:8443",
    ]
)
spans = st.builds(Span, st.integers(0, 2**43), st.integers(1, 2**33))
lives = st.integers(1, 604_800)


def boto_keys(keys: Credentials) -> BotoCredentials:
    return BotoCredentials(keys.access_key, keys.secret_key, keys.token or None)


def boto_sign(auth: Any, request: AWSRequest, now: datetime) -> AWSRequest:
    with patch.object(botocore.auth, "get_current_datetime", lambda: now):
        auth.add_auth(request)
    return request


def boto_url(
    keys: Credentials, region: str, method: str, url: str, headers: dict[str, str], life: int, now: datetime
) -> str:
    request = AWSRequest(method=method, url=url, headers=headers)
    auth = botocore.auth.S3SigV4QueryAuth(boto_keys(keys), "s3", region, expires=life)
    signed: str = boto_sign(auth, request, now).url
    return signed


def parameters(url: str) -> tuple[str, dict[str, list[str]]]:
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}{split.path}", parse_qs(split.query, keep_blank_values=True)


@given(object_keys)
def test_paths_are_encoded_as_botocore_does(key: str) -> None:
    assert encode_path("bucket", key) == "/bucket/" + percent_encode(key, safe="/~")


@settings(max_examples=MANY, deadline=None)
@given(credentials, words, origins, object_keys, texts, st.lists(st.integers(1, 10_000), max_size=5), lives, moments)
def test_part_urls(
    keys: Credentials,
    region: str,
    origin: str,
    key: str,
    upload: str,
    numbers: list[int],
    life: int,
    now: datetime,
) -> None:
    resource = Resource(origin, encode_path("bucket", key))
    urls = SigV4(region).sign_parts(keys, resource, upload, numbers, life, now)
    for number, url in zip(numbers, urls, strict=True):
        plain = f"{origin}{resource.path}?partNumber={number}&uploadId={percent_encode(upload, safe='-_.~')}"
        assert parameters(url) == parameters(boto_url(keys, region, "PUT", plain, {}, life, now))


@settings(max_examples=MANY, deadline=None)
@given(credentials, words, origins, object_keys, st.lists(spans | st.none(), max_size=5), lives, moments)
def test_get_urls(
    keys: Credentials,
    region: str,
    origin: str,
    key: str,
    wanted: list[Span | None],
    life: int,
    now: datetime,
) -> None:
    resource = Resource(origin, encode_path("bucket", key))
    urls = SigV4(region).sign_gets(keys, resource, wanted, life, now)
    for span, url in zip(wanted, urls, strict=True):
        headers = {"Range": span.http_range} if span else {}
        assert parameters(url) == parameters(
            boto_url(keys, region, "GET", f"{origin}{resource.path}", headers, life, now)
        )


@settings(max_examples=MANY, deadline=None)
@given(
    credentials,
    words,
    origins,
    object_keys,
    st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    st.dictionaries(texts.filter(bool), texts, max_size=4),
    st.dictionaries(st.sampled_from(["Range", "content-md5", "x-amz-meta-a", "x-amz-acl"]), header_values),
    st.binary(max_size=100),
    moments,
)
def test_requests(
    keys: Credentials,
    region: str,
    origin: str,
    key: str,
    method: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    now: datetime,
) -> None:
    resource = Resource(origin, encode_path("bucket", key))
    signed = SigV4(region).sign_request(keys, method, resource, list(query.items()), headers, body, now)
    request = AWSRequest(
        method=method, url=origin + resource.path, headers=dict(headers), data=body, params=dict(query)
    )
    request.context["client_config"] = Config(s3={"payload_signing_enabled": True})
    boto_sign(botocore.auth.S3SigV4Auth(boto_keys(keys), "s3", region), request, now)
    assert signed["authorization"] == request.headers["Authorization"]
    assert signed["x-amz-date"] == request.headers["X-Amz-Date"]
    assert signed["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"]


def test_the_time_zone_of_the_clock_does_not_matter() -> None:
    keys, resource = Credentials("access", "secret"), Resource("https://store.example.org", "/bucket/key")
    now = datetime(2025, 6, 1, 0, 30, tzinfo=UTC)
    elsewhere = now.astimezone(timezone(timedelta(hours=-5)))
    signer = SigV4("us-east-1")
    assert signer.sign_parts(keys, resource, "u", [1], 60, now) == signer.sign_parts(
        keys, resource, "u", [1], 60, elsewhere
    )


def test_secrets_do_not_show() -> None:
    shown = repr(Credentials("access", "my-secret", "my-token"))
    assert "my-secret" not in shown
    assert "my-token" not in shown
