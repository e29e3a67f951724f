"""Signed URLs of the local store.

``<base>/store/<bucket>/<key>?<what>&expires=<seconds since 1970>&signature=<hex>`` where ``<what>`` is

- of a part to PUT: ``uploadId``, ``partNumber``, and ``offset`` and ``size``, the bytes of the object that it covers;
- of a span to GET: ``offset`` and ``size``;
- of a whole object to GET: nothing.

The signature is an HMAC-SHA256 over the method, the bucket, the key and the query up to it, exactly as written.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from score.errors import Expired, Forbidden
from score.protocol.parts import Span
from score.storage.base import PlannedPart, UploadId

PATH = "/store"
_MARK = "&signature="


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signed URL allows. ``span`` is what must be asked for or sent, None for anything of the object;
    ``upload`` and ``number`` are of URLs to PUT."""

    key: str
    span: Span | None = None
    upload: UploadId | None = None
    number: int = 0


class Signer:
    """Signs and checks the URLs of one bucket."""

    def __init__(self, secret: bytes, bucket: str) -> None:
        self._secret = secret
        self._bucket = bucket

    def sign_gets(self, base: str, key: str, spans: Sequence[Span | None], expires: int) -> list[str]:
        """URLs to GET ``key``; an empty span counts as None."""
        end = f"expires={expires}"
        queries = [f"offset={span[0]}&size={span[1]}&{end}" if span and span[1] else end for span in spans]
        return self._sign("GET", base, key, queries)

    def sign_parts(
        self, base: str, key: str, upload: UploadId, parts: Sequence[PlannedPart], expires: int
    ) -> list[str]:
        """URLs to PUT parts of an upload of ``key``."""
        queries = [
            f"uploadId={upload}&partNumber={number}&offset={offset}&size={length}&expires={expires}"
            for number, (offset, length) in parts
        ]
        return self._sign("PUT", base, key, queries)

    def check(self, method: str, key: str, query: str, now: float) -> Grant:
        """What ``query`` allows on ``key``. Forbidden where nobody here signed it, Expired where it is past its time.

        ``method`` is GET or PUT; a HEAD needs what a GET needs.
        """
        signed, _, signature = query.rpartition(_MARK)
        expected = self._digest(self._start(method, key) + signed.encode())
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Forbidden("The signature of this URL is missing or wrong.", hint="Ask the server for a new URL.")
        fields = dict(field.split("=", 1) for field in signed.split("&"))
        if now >= int(fields["expires"]):
            raise Expired("Request has expired", hint="Ask the server for a new URL.")
        return Grant(
            key,
            span=Span(int(fields["offset"]), int(fields["size"])) if "offset" in fields else None,
            upload=UploadId(fields["uploadId"]) if "uploadId" in fields else None,
            number=int(fields.get("partNumber", 0)),
        )

    def _sign(self, method: str, base: str, key: str, queries: list[str]) -> list[str]:
        url = f"{base.rstrip('/')}{PATH}/{self._bucket}/{quote(key, safe='/~')}?"
        start = self._start(method, key)
        digest = self._digest
        return [f"{url}{query}{_MARK}{digest(start + query.encode())}" for query in queries]

    def _start(self, method: str, key: str) -> bytes:
        return f"{method}\n{self._bucket}\n{key}\n".encode()

    def _digest(self, message: bytes) -> str:
        return hmac.digest(self._secret, message, "sha256").hex()
