"""Signature Version 2 for S3, for the stores and sites that want it: requests, and URLs.

It signs less than version 4: neither the host nor a ``Range``, and of a body only the MD5 that its header tells. So a
URL to GET works with any range. What is signed of time is an end, not a duration, and that may be far away.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from score.protocol.parts import Span
from score.storage.s3.signing import Credentials, Resource, encode_query

_SUBRESOURCES: Final = frozenset(
    {
        *("acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy"),
        *("requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning"),
        *("versions", "website", "response-cache-control", "response-content-disposition"),
        *("response-content-encoding", "response-content-language", "response-content-type", "response-expires"),
    }
)
"""Parameters of a query that are signed; prefixes, markers and limits are not."""
_SESSION: Final = "x-amz-security-token"


class SigV2:
    """A :class:`~score.storage.s3.signing.Signer`."""

    def sign_request(
        self,
        keys: Credentials,
        method: str,
        resource: Resource,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
    ) -> dict[str, str]:
        """The headers to send: those given, of which Content-MD5, Content-Type and ``x-amz-*`` are signed."""
        signed = {name.lower(): value.strip() for name, value in headers.items()}
        signed |= {"host": resource.host, "date": format_datetime(now.astimezone(UTC), usegmt=True)}
        if keys.token:
            signed[_SESSION] = keys.token
        standard = [signed.get(name, "") for name in ("content-md5", "content-type", "date")]
        amazon = [f"{name}:{signed[name]}" for name in sorted(signed) if name.startswith("x-amz-")]
        subresources = sorted((name, value) for name, value in query if name in _SUBRESOURCES)
        listed = "&".join(f"{name}={value}" if value else name for name, value in subresources)
        signature = _sign(keys, "\n".join((method, *standard, *amazon, resource.path + (listed and f"?{listed}"))))
        signed["authorization"] = f"AWS {keys.access_key}:{signature}"
        return signed

    def sign_parts(
        self, keys: Credentials, resource: Resource, upload: str, numbers: Iterable[int], life: int, now: datetime
    ) -> list[str]:
        """URLs to PUT parts of a multipart upload; they are for requests without Content-Type and Content-MD5."""
        expires = int(now.timestamp()) + life
        start = f"{resource.origin}{resource.path}?partNumber="
        end = f"&{encode_query([('uploadId', upload)])}&{_query(keys, expires)}&Signature="
        begun = _begin(keys, f"PUT\n\n\n{expires}\n{_amazon(keys)}{resource.path}?partNumber=")
        after = f"&uploadId={upload}"
        return [f"{start}{number}{end}{_for_query(_go_on(begun, f'{number}{after}'))}" for number in numbers]

    def sign_gets(
        self, keys: Credentials, resource: Resource, spans: Iterable[Span | None], life: int, now: datetime
    ) -> list[str]:
        """URLs to GET an object, the same one for all spans: this version does not sign ranges."""
        expires = int(now.timestamp()) + life
        signature = _sign(keys, f"GET\n\n\n{expires}\n{_amazon(keys)}{resource.path}")
        url = f"{resource.origin}{resource.path}?{_query(keys, expires)}&Signature={_for_query(signature)}"
        return [url for _ in spans]


def _sign(keys: Credentials, text: str) -> str:
    return _go_on(_begin(keys, text), "")


def _begin(keys: Credentials, text: str) -> hmac.HMAC:
    """What signatures of texts that begin alike have in common."""
    return hmac.new(keys.secret_key.encode(), text.encode(), "sha1")


def _go_on(begun: hmac.HMAC, text: str) -> str:
    """The signature of a text of which this is the rest."""
    signature = begun.copy()
    signature.update(text.encode())
    return base64.b64encode(signature.digest()).decode()


def _for_query(signature: str) -> str:
    """Percent-encoded: base64 has three characters that need it."""
    return signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def _amazon(keys: Credentials) -> str:
    """The lines of a text to sign that stand for ``x-amz-*`` in the query."""
    return f"{_SESSION}:{keys.token}\n" if keys.token else ""


def _query(keys: Credentials, expires: int) -> str:
    """The query of a URL but for its own parameters and the signature."""
    query = [("AWSAccessKeyId", keys.access_key), ("Expires", str(expires))]
    return encode_query([*query, (_SESSION, keys.token)] if keys.token else query)
