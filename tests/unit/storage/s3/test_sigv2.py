"""Every signature must equal botocore's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.utils import percent_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from score.protocol.parts import Span
from score.storage.s3.signing import Credentials, Resource, encode_path
from score.storage.s3.sigv2 import SigV2

MANY = 1700
"""Examples of each kind of signature: 10,000 for both versions together."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
object_keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
header_values = st.text("abc XYZ0189+/=;:,\"'", min_size=1, max_size=30).map(str.strip).filter(bool)
moments = st.integers(10**9, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
credentials = st.builds(
    Credentials,
    st.text("ABCXYZ0123456789-", min_size=3, max_size=20),
    st.text(min_size=1, max_size=50),
    st.just("") | st.text("abcXYZ0189+/=", min_size=1, max_size=50),
)
origins = st.sampled_from(
    ["https://s3.eu-central-1.amazonaws.com", "http://127.0.0.1:9000", "https://[2001:db8::1]:8443"]
)
queries = st.dictionaries(
    st.sampled_from(
        ["uploads", "uploadId", "partNumber", "delete", "prefix", "max-parts", "list-type", "response-content-type"]
    ),
    texts,
)
lives = st.integers(1, 10**9)


def boto_sign(signer: type[Any], keys: Credentials, request: AWSRequest, now: datetime, *life: int) -> AWSRequest:
    """The request as botocore signs it at that moment."""
    moment = int(now.timestamp())
    auth = signer(BotoCredentials(keys.access_key, keys.secret_key, keys.token or None), *life)
    boto_date = botocore.auth.formatdate(moment, usegmt=True)
    with (
        patch.object(botocore.auth, "formatdate", lambda usegmt: boto_date),
        patch.object(botocore.auth.time, "time", lambda: moment),
    ):
        auth.add_auth(request)
    return request


def parameters(url: str) -> tuple[str, dict[str, list[str]]]:
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}{split.path}", parse_qs(split.query, keep_blank_values=True)


@settings(max_examples=MANY, deadline=None)
@given(credentials, origins, object_keys, texts.filter(bool), st.lists(st.integers(1, 10_000)), lives, moments)
def test_part_urls(
    keys: Credentials, origin: str, key: str, upload: str, numbers: list[int], life: int, now: datetime
) -> None:
    resource = Resource(origin, encode_path("bucket", key))
    urls = SigV2().sign_parts(keys, resource, upload, numbers, life, now)
    for number, url in zip(numbers, urls, strict=True):
        plain = f"{origin}{resource.path}?partNumber={number}&uploadId={percent_encode(upload, safe='-_.~')}"
        request = AWSRequest(method="PUT", url=plain)
        boto_sign(botocore.auth.HmacV1QueryAuth, keys, request, now, life)
        assert parameters(url) == parameters(request.url)


@settings(max_examples=MANY, deadline=None)
@given(credentials, origins, object_keys, lives, moments)
def test_get_urls(keys: Credentials, origin: str, key: str, life: int, now: datetime) -> None:
    resource = Resource(origin, encode_path("bucket", key))
    for span in (Span(3, 4), None):
        (url,) = SigV2().sign_gets(keys, resource, [span], life, now)
        request = AWSRequest(
            method="GET", url=f"{origin}{resource.path}", headers={"Range": span.http_range} if span else {}
        )
        boto_sign(botocore.auth.HmacV1QueryAuth, keys, request, now, life)
        assert parameters(url) == parameters(request.url)


@settings(max_examples=MANY, deadline=None)
@given(
    credentials,
    origins,
    st.just("") | object_keys,
    st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    queries,
    st.dictionaries(
        st.sampled_from(["Range", "content-md5", "Content-Type", "x-amz-meta-a", "x-amz-acl"]), header_values
    ),
    moments,
)
def test_requests(
    keys: Credentials,
    origin: str,
    key: str,
    method: str,
    query: dict[str, str],
    headers: dict[str, str],
    now: datetime,
) -> None:
    resource = Resource(origin, encode_path("bucket", *([key] if key else [])))
    signed = SigV2().sign_request(keys, method, resource, list(query.items()), headers, b"body", now)
    # An empty value is as good as none, and stands in no signature.
    given_query = "&".join(
        f"{name}={percent_encode(value, safe='-_.~')}" if value else name for name, value in query.items()
    )
    url = f"{origin}{resource.path}" + (f"?{given_query}" if query else "")
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    boto_sign(botocore.auth.HmacV1Auth, keys, request, now)
    assert signed["authorization"] == request.headers["Authorization"]
    assert signed["date"] == request.headers["Date"]
    assert signed.get("x-amz-security-token", "") == keys.token
