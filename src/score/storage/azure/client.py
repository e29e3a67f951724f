"""The wire client: the operations of Azure's blob service that Score needs.

Every attempt is signed anew with the account key. What may pass (5xx, throttling, resets, time-outs) is tried again,
up to a number of times and a time; then it is Unavailable.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from score.errors import Integrity
from score.protocol.digests import new_md5, to_base64
from score.protocol.onward import ONWARD, REQUEST_ID
from score.protocol.parts import Span
from score.storage.answers import Retries, clock_skew, condition
from score.storage.azure import xml
from score.storage.azure.faults import translate
from score.storage.azure.settings import AzureSettings
from score.storage.azure.signing import Policy, encode_path, encode_query, sign_request
from score.storage.base import Blocks
from score.storage.http import LARGEST_ANSWER, Answer, Http

Query = Sequence[tuple[str, str]]
PAGE: Final = 5000
"""Entries of a page of a listing: the most that Azure gives."""
PROBE_TIMEOUT: Final = 10.0
"""Seconds: who asks whether the store is well wants to know soon."""


class AzureClient:
    """One container. ``tls`` says which certificates are trusted."""

    def __init__(
        self,
        settings: AzureSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.key = settings.key
        parts = urlsplit(settings.base)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path + encode_path(settings.container)
        self.retries = Retries(settings.retry_limit, settings.patience)
        self._http = Http(self.origin, limit=settings.connections, connect_timeout=settings.connect_timeout, tls=tls)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._http.close()

    def path(self, blob: str) -> str:
        """The path of a blob, or of the container, encoded."""
        return self._path + (encode_path(blob) if blob else "")

    # The container

    async def policies(self) -> tuple[dict[str, Policy], float | None]:
        """Get Container ACL, one attempt: the stored access policies, and the clock skew in seconds."""
        query = [("comp", "acl"), ("restype", "container")]
        answer = await self._call("GET", query=query, read_timeout=PROBE_TIMEOUT, attempts=1)
        return xml.parse_policies(answer.body), clock_skew(answer.headers, self.clock())

    async def list_blobs(self, prefix: str, delimiter: str = "", marker: str = "", include: str = "") -> xml.Page:
        """One page of List Blobs."""
        query = [("comp", "list"), ("maxresults", str(PAGE)), ("restype", "container")]
        more = {"prefix": prefix, "delimiter": delimiter, "marker": marker, "include": include}
        query += [(name, text) for name, text in more.items() if text]
        return xml.parse_listing((await self._call("GET", query=query)).body)

    # Blobs

    async def head(self, blob: str) -> Answer:
        """Get Blob Properties. NotFound."""
        return await self._call("HEAD", blob)

    async def get(self, blob: str, span: Span | None = None) -> Answer:
        """Get Blob, of a small blob or a small range; the status is 200, 206 or 416. NotFound, Integrity where more
        comes than was asked for."""
        if span is None:
            return await self._call("GET", blob, expected=(200, 206, 416))
        headers = {"range": span.http_range}
        return await self._call("GET", blob, headers=headers, expected=(200, 206, 416), most=span.length)

    async def put(self, blob: str, body: bytes, over: str | None = None) -> None:
        """Put Blob, of a small blob. Conflict where something else is there than ``over``."""
        digest = to_base64(new_md5(body).hexdigest())
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "application/octet-stream", "content-md5": digest}
        await self._call("PUT", blob, headers=headers | condition(over), body=body, expected=(201,))

    async def delete(self, blob: str, etag: str | None = None) -> None:
        """Delete Blob, with its snapshots. NotFound; Conflict where it has another ETag than the one given."""
        headers = {"x-ms-delete-snapshots": "include"} | condition(etag)
        await self._call("DELETE", blob, headers=headers, expected=(202,))

    async def set_properties(self, blob: str, headers: Mapping[str, str]) -> None:
        """Set Blob Properties; those that are not named are cleared."""
        await self._call("PUT", blob, query=[("comp", "properties")], headers=headers)

    async def copy_onto_itself(self, blob: str, etag: str) -> None:
        """Copy Blob from itself, which leaves all as it is but for blocks that were not committed."""
        headers = {"x-ms-copy-source": self.origin + self.path(blob)} | condition(etag)
        await self._call("PUT", blob, headers=headers, expected=(202,))

    async def blocks(self, blob: str) -> Blocks:
        """Get Block List, both kinds. NotFound."""
        query = [("blocklisttype", "all"), ("comp", "blocklist")]
        return xml.parse_block_list((await self._call("GET", blob, query=query)).body)

    async def put_block_list(self, blob: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Put Block List. Conflict where a block is missing or a condition is not met."""
        query = [("comp", "blocklist")]
        given = {"content-type": "application/xml", **headers}
        return await self._call("PUT", blob, query=query, headers=given, body=body, expected=(201,))

    # The wire

    async def _call(
        self,
        method: str,
        blob: str = "",
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        expected: tuple[int, ...] = (200,),
        read_timeout: float | None = None,
        attempts: int | None = None,
        most: int = LARGEST_ANSWER,
    ) -> Answer:
        """The answer, once it has an expected status. Raises what the last attempt failed with."""
        what = f"{method} of {f'{blob} in ' if blob else ''}container {self.settings.container}"

        async def attempt() -> Answer:
            answer = await self._exchange(what, method, blob, query, headers or {}, body, read_timeout, most)
            if answer.status not in expected:
                raise translate(what, answer.status, answer.headers, xml.parse_fault(answer.body), self.clock())
            if "x-ms-request-id" not in answer.headers and "x-ms-version" not in answer.headers:
                raise Integrity(
                    f"The answer to {what} is not Azure's.",
                    hint="Check that azure.endpoint is the store and no proxy answers in its place.",
                )
            return answer

        return await self.retries.persist(attempt, attempts)

    async def _exchange(
        self,
        what: str,
        method: str,
        blob: str,
        query: Query,
        headers: Mapping[str, str],
        body: bytes,
        read_timeout: float | None,
        most: int,
    ) -> Answer:
        """One attempt. Raises Unavailable where there is no whole answer, Integrity for more than ``most`` bytes."""
        path = self.path(blob)
        onward = ONWARD.get()
        if REQUEST_ID in onward:
            headers = {**headers, "x-ms-client-request-id": onward[REQUEST_ID]}  # which Azure's own logs have
        signed = sign_request(self.settings.account, self.key, method, path, query, headers, len(body), self.clock())
        target = f"{path}?{encode_query(query)}" if query else path
        headers = {**signed, **onward}
        return await self._http.request(
            what, method, target, headers, body, read_timeout=read_timeout or self.settings.read_timeout, most=most
        )
