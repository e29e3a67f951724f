"""The wire client: the operations of Azure's blob service that Score needs, on one aiohttp session.

Every attempt is signed anew with the account key. What may pass (5xx, throttling, resets, time-outs) is tried again,
up to a number of times and a time; then it is Unavailable.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from score._version import __version__
from score.errors import Integrity, Refused, Unavailable
from score.protocol.onward import ONWARD, REQUEST_ID
from score.protocol.parts import Span
from score.storage.answers import Retries, clock_skew
from score.storage.azure import xml
from score.storage.azure.faults import translate
from score.storage.azure.settings import AzureSettings
from score.storage.azure.signing import Policy, encode_path, encode_query, sign_request
from score.storage.base import Blocks
from score.storage.http import LARGEST_ANSWER, LONGEST, Answer, proxy_of

Query = Sequence[tuple[str, str]]
PAGE: Final = 5000
"""Entries of a page of a listing: the most that Azure gives."""
PROBE_TIMEOUT: Final = 10.0
"""Seconds: who asks whether the store is well wants to know soon."""


class AzureClient:
    """One container. The session opens at the first call, in the loop that runs then."""

    def __init__(
        self,
        settings: AzureSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self.settings = settings
        self.clock = clock
        self.key = settings.key
        self._tls = tls
        parts = urlsplit(settings.base)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path + encode_path(settings.container)
        self.retries = Retries(settings.retry_limit, settings.patience)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

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

    async def put(self, blob: str, body: bytes) -> None:
        """Put Blob, of a small blob."""
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": "application/octet-stream", "content-md5": digest}
        await self._call("PUT", blob, headers=headers, body=body, expected=(201,))

    async def delete(self, blob: str, etag: str = "") -> None:
        """Delete Blob, with its snapshots. NotFound; Conflict where it has another ETag than the one given."""
        headers = {"x-ms-delete-snapshots": "include"} | ({"if-match": f'"{etag}"'} if etag else {})
        await self._call("DELETE", blob, headers=headers, expected=(202,))

    async def set_properties(self, blob: str, headers: Mapping[str, str]) -> Answer:
        """Set Blob Properties; those that are not named are cleared."""
        return await self._call("PUT", blob, query=[("comp", "properties")], headers=headers)

    async def copy_onto_itself(self, blob: str, etag: str) -> None:
        """Copy Blob from itself, which leaves all as it is but for blocks that were not committed."""
        headers = {"x-ms-copy-source": self.origin + self.path(blob), "if-match": f'"{etag}"'}
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
        silence = read_timeout or self.settings.read_timeout
        timeout = aiohttp.ClientTimeout(
            total=LONGEST * silence,
            connect=self.settings.connect_timeout,  # with the wait for one of the connections
            sock_connect=self.settings.connect_timeout,
            sock_read=silence,
        )
        try:
            async with self._open_session().request(
                method,
                URL(f"{self.origin}{path}" + (f"?{encode_query(query)}" if query else ""), encoded=True),
                headers={**signed, **onward},
                # Even an empty body has its length said; a stream is what aiohttp wants for more than 1 MiB.
                data=io.BytesIO(body) if method == "PUT" else None,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                limit = most if answer.status in (200, 206) else LARGEST_ANSWER
                content = await _read(answer, limit)
                if content is None:
                    raise Integrity(f"The store answers more than {limit} bytes to {what}.")
                return Answer(answer.status, {name.lower(): text for name, text in answer.headers.items()}, content)
        except aiohttp.ClientSSLError as error:
            raise Refused(f"No secure connection to the store for {what}: {_reason(error)}.") from None
        except TimeoutError:
            raise Unavailable(f"The store did not answer in time to {what}.") from None
        except (aiohttp.ClientError, OSError) as error:
            # Cut off: aiohttp's errors hold the request with its signature.
            raise Unavailable(f"The connection to the store failed at {what}: {_reason(error)}.") from None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self.settings.connections, ttl_dns_cache=60, ssl=self._tls or True
                ),
                headers={"User-Agent": f"score/{__version__}", "Accept-Encoding": "identity"},
                skip_auto_headers=("Content-Type",),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=proxy_of(self.origin),
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body of an answer; None where it has more bytes, of which no more are read."""
    pieces: list[bytes] = []
    left = most
    async for piece in answer.content.iter_any():
        left -= len(piece)
        if left < 0:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _reason(error: BaseException) -> str:
    """Why a connection failed, in words that hold nothing of the request."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLError) and cause.reason:  # whose number is none of the system's
        return cause.reason
    if isinstance(cause, OSError) and cause.errno:
        # Names that are not resolved have numbers of their own.
        return (cause.strerror or "") if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
    return type(cause).__name__
