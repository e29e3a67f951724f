"""AWS Signature Version 4 for S3: requests, and URLs in batches.

Pure: the time is an argument. URLs of one batch share the resource, the keys and the moment, so all that comes before
their difference is derived and hashed once: the signing key, the canonical request up to the part number or range.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from score.protocol.parts import Span
from score.storage.s3.signing import Credentials, Resource, encode_query

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_SERVICE: Final = "s3"


class SigV4:
    """A :class:`~score.storage.s3.signing.Signer` for one region."""

    def __init__(self, region: str) -> None:
        self.region = region

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
        """The headers to send: those given, all of them signed, the body's SHA-256 too."""
        moment = _moment(keys, self.region, now.replace(microsecond=0))
        digest = hashlib.sha256(body).hexdigest()
        signed = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        signed |= {"host": resource.host, "x-amz-content-sha256": digest, "x-amz-date": moment.stamp}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        names = sorted(signed)
        listed = ";".join(names)
        canonical = "\n".join(
            (method, resource.path, encode_query(query), *(f"{n}:{signed[n]}" for n in names), "", listed, digest)
        )
        signature = moment.sign(hashlib.sha256(canonical.encode()).hexdigest())
        signed["authorization"] = (
            f"{_ALGORITHM} Credential={moment.credential}, SignedHeaders={listed}, Signature={signature}"
        )
        return signed

    def sign_parts(
        self, keys: Credentials, resource: Resource, upload: str, numbers: Iterable[int], life: int, now: datetime
    ) -> list[str]:
        """URLs to PUT parts of a multipart upload; only the host is signed with them."""
        moment = _moment(keys, self.region, now.replace(microsecond=0))
        # Sorted, as the signature wants it: "X-Amz-…" comes before "partNumber" and that before "uploadId".
        before = moment.query(life, "host") + "&partNumber="
        after = "&" + encode_query([("uploadId", upload)])
        shared = hashlib.sha256(f"PUT\n{resource.path}\n{before}".encode())
        rest = f"{after}\nhost:{resource.host}\n\nhost\n{_UNSIGNED}"
        start, end = f"{resource.origin}{resource.path}?{before}", f"{after}&X-Amz-Signature="
        sign, urls = moment.sign, []
        for number in numbers:
            canonical = shared.copy()
            canonical.update(f"{number}{rest}".encode())
            urls.append(f"{start}{number}{end}{sign(canonical.hexdigest())}")
        return urls

    def sign_gets(
        self, keys: Credentials, resource: Resource, spans: Iterable[Span | None], life: int, now: datetime
    ) -> list[str]:
        """URLs to GET an object. A span signs its ``Range`` header, so that it works with that value only."""
        moment = _moment(keys, self.region, now.replace(microsecond=0))
        bound, free = moment.query(life, "host;range"), moment.query(life, "host")
        shared = hashlib.sha256(f"GET\n{resource.path}\n{bound}\nhost:{resource.host}\nrange:".encode())
        start, end = f"{resource.origin}{resource.path}?", "&X-Amz-Signature="
        sign, urls = moment.sign, []
        for span in spans:
            if span is None:
                plain = f"GET\n{resource.path}\n{free}\nhost:{resource.host}\n\nhost\n{_UNSIGNED}"
                urls.append(f"{start}{free}{end}{sign(hashlib.sha256(plain.encode()).hexdigest())}")
            else:
                canonical = shared.copy()
                canonical.update(f"{span.http_range}\n\nhost;range\n{_UNSIGNED}".encode())
                urls.append(f"{start}{bound}{end}{sign(canonical.hexdigest())}")
        return urls


class _Moment:
    """What all signatures by one pair of keys at one moment share."""

    def __init__(self, keys: Credentials, region: str, now: datetime) -> None:
        now = now.astimezone(UTC)
        day = f"{now:%Y%m%d}"
        self.stamp = f"{now:%Y%m%dT%H%M%SZ}"
        scope = f"{day}/{region}/{_SERVICE}/aws4_request"
        self.credential = f"{keys.access_key}/{scope}"
        self._token = keys.token
        # To go on from what all signatures begin with takes two thirds of the time of another beginning.
        head = f"{_ALGORITHM}\n{self.stamp}\n{scope}\n"
        self._begun = hmac.new(_signing_key(keys.secret_key, day, region), head.encode(), "sha256")

    def sign(self, canonical_digest: str) -> str:
        """The signature of a canonical request, given its SHA-256 in hex."""
        signature = self._begun.copy()
        signature.update(canonical_digest.encode())
        return signature.hexdigest()

    def query(self, life: int, signed_headers: str) -> str:
        """The query of a URL but for its own parameters and the signature, encoded and sorted."""
        query = [
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", self.credential),
            ("X-Amz-Date", self.stamp),
            ("X-Amz-Expires", str(life)),
            ("X-Amz-SignedHeaders", signed_headers),
        ]
        if self._token:
            query.append(("X-Amz-Security-Token", self._token))
        return encode_query(query)


_moment = lru_cache(maxsize=16)(_Moment)
"""Many requests are signed within one second."""


@lru_cache(maxsize=16)
def _signing_key(secret_key: str, day: str, region: str) -> bytes:
    """The key of a whole day's signatures."""
    key = f"AWS4{secret_key}".encode()
    for step in (day, region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key
