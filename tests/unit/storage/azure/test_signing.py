"""Signatures equal those of Azure's own library."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch
from urllib.parse import parse_qs, quote

from azure.storage.blob import _shared_access_signature as oracle_module
from azure.storage.blob import generate_blob_sas
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from score.storage.azure.signing import VERSION, Policy, encode_path, encode_query, sign_request, sign_url

KEY = base64.b64encode(bytes(range(64))).decode()
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


def ours(blob: str, policy: Policy) -> dict[str, list[str]]:
    query = sign_url(
        "acct", base64.b64decode(KEY), "cont", blob, "Down", policy, "r", NOW - timedelta(minutes=15), NOW
    )
    return parse_qs(query, strict_parsing=True)


@given(NAMES, st.booleans(), st.booleans(), st.booleans())
def test_urls(blob: str, permissions: bool, start: bool, expiry: bool) -> None:
    """Whatever the stored policy says is left out of the URL."""
    found = ours(blob, Policy("r" if permissions else None, NOW if start else None, NOW if expiry else None))
    with patch.object(oracle_module, "X_MS_VERSION", VERSION):  # its newest, by default
        oracle = generate_blob_sas(
            "acct",
            "cont",
            blob,
            account_key=KEY,
            policy_id="Down",
            permission=None if permissions else "r",
            start=None if start else NOW - timedelta(minutes=15),
            expiry=None if expiry else NOW,
        )
    expected = parse_qs(oracle, strict_parsing=True)
    assert found == expected


@given(
    st.sampled_from(["GET", "PUT", "HEAD", "DELETE"]),
    NAMES,
    st.dictionaries(st.sampled_from(["comp", "prefix", "marker", "restype"]), NAMES),
    st.integers(0, 10**9),
)
def test_requests(method: str, blob: str, query: dict[str, str], length: int) -> None:
    path = encode_path("cont", blob)
    headers = {"content-type": "application/xml", "x-ms-meta-scoreupload": "5", "if-match": '"0x1"'}
    signed = sign_request("acct", base64.b64decode(KEY), method, path, [*query.items()], headers, length, NOW)
    url = f"https://acct.blob.core.windows.net{path}" + (f"?{encode_query([*query.items()])}" if query else "")
    sent = {name: value for name, value in signed.items() if name != "authorization"}
    request = SimpleNamespace(
        method=method,
        url=url,
        headers={**sent, "content-length": str(length)},
        query={name: quote(value) for name, value in query.items()},
    )
    context = SimpleNamespace(transport=None)
    SharedKeyCredentialPolicy("acct", KEY).on_request(SimpleNamespace(http_request=request, context=context))
    assert signed["authorization"] == request.headers["Authorization"]
    assert signed["x-ms-date"] == "Wed, 04 Mar 2026 05:06:07 GMT"
