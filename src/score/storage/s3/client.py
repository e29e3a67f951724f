"""The wire client: the operations of S3 that Score needs, path style.

Every attempt is signed anew. What may pass (5xx, throttling, resets, time-outs) is tried again, up to a number of
times and a time; then it is Unavailable. All calls may be repeated: at worst a CreateMultipartUpload whose answer was
lost leaves an upload without parts behind, which the cleanup finds.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from score.errors import AlreadyExists, Integrity, Invalid, NotFound, ScoreError, Unavailable
from score.protocol.digests import new_md5, to_base64
from score.protocol.onward import ONWARD
from score.protocol.parts import Span
from score.storage.answers import Retries, clock_skew, condition
from score.storage.base import NOTHING, OVERWRITE, StoredPart, UploadId
from score.storage.http import LARGEST_ANSWER, Answer, Http
from score.storage.s3 import xml
from score.storage.s3.credentials import ChainKeys, FixedKeys, KeySource
from score.storage.s3.faults import Unsupported, translate
from score.storage.s3.settings import S3Settings
from score.storage.s3.signing import Credentials, Resource, Signer, encode_path, encode_query
from score.storage.s3.sigv2 import SigV2
from score.storage.s3.sigv4 import SigV4

T = TypeVar("T")
Query = Sequence[tuple[str, str]]
PAGE: Final = 1000
"""Entries of a page of any listing, and keys of one deletion: the most that S3 takes."""
COMPLETION_TIMEOUT: Final = 300.0
"""Seconds: a store may think long over 10,000 parts before it says anything."""

PROBE_TIMEOUT: Final = 10.0
"""Seconds: who asks whether the store is well wants to know soon."""


_NO_STORE: Final = "Check that the endpoint is the store and no proxy answers in its place."


class S3Client:
    """One S3 service; buckets are arguments. ``tls`` says which certificates are trusted."""

    def __init__(
        self,
        settings: S3Settings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        fixed = Credentials(settings.access_key, settings.secret_key, settings.session_token)
        self.settings = settings
        self.signer: Signer = SigV4(settings.signing_region) if settings.version == 4 else SigV2()
        self.keys: KeySource = FixedKeys(fixed) if settings.access_key else ChainKeys()
        self.clock = clock
        self.retries = Retries(settings.retry_limit, settings.patience)
        self.is_minio = False
        """Whether the last answer was MinIO's, by what it says itself; a proxy before it may hide that."""
        self.takes_conditions = True
        """Whether the store has not refused a condition yet; it may pass over them."""
        self._origin, self._url_origin, self._base_path = settings.origin, settings.url_origin, settings.base_path
        self._http = Http(self._origin, limit=settings.connections, connect_timeout=settings.connect_timeout, tls=tls)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._http.close()

    def resource(self, bucket: str, key: str = "", *, for_clients: bool = False) -> Resource:
        """The URL of a bucket or an object, as the server reaches it or as clients do."""
        origin = self._url_origin if for_clients else self._origin
        return Resource(origin, self._base_path + encode_path(bucket, *([key] if key else [])))

    # Objects

    async def head(self, bucket: str, key: str) -> Answer:
        """HEAD. NotFound."""
        return await self._call("HEAD", bucket, key)

    async def get(self, bucket: str, key: str) -> bytes:
        """GET of a whole small object. NotFound."""
        return (await self._call("GET", bucket, key)).body

    async def get_range(self, bucket: str, key: str, span: Span) -> bytes:
        """GET of a span. NotFound, Invalid where it leaves the object."""
        answer = await self._call(
            "GET", bucket, key, headers={"range": span.http_range}, expected=(200, 206, 416), most=span.length
        )
        if answer.status == 416 or (answer.status == 206 and len(answer.body) < span.length):
            raise Invalid(f"Object {key} in bucket {bucket} ends before byte {span.end}.")
        if len(answer.body) != span.length:
            raise Integrity(f"The store gave {len(answer.body)} bytes of {key} where {span.length} were asked for.")
        return answer.body

    async def put(self, bucket: str, key: str, body: bytes, over: str | None = None) -> None:
        """PUT of a small object. Integrity where the answer is not a store's; AlreadyExists where something else is
        there than ``over``, unless the store passes over that wish or refuses it."""

        async def call(headers: Mapping[str, str]) -> Answer:
            try:
                return await self._call("PUT", bucket, key, headers=headers, body=body)
            except NotFound as error:
                if "if-match" not in headers:
                    raise
                raise AlreadyExists(error.message, hint=OVERWRITE) from error  # what it was to replace is gone

        try:
            answer = await self._conditionally(call, over)
        except AlreadyExists:
            if not over:
                raise
            # Ceph compares it, quotes and all, with an ETag that has none.
            answer = await call({"if-match": over})
        if "etag" not in answer.headers:
            raise Integrity(f"The answer to PUT of {key} in bucket {bucket} has no ETag.", hint=_NO_STORE)

    async def delete(self, bucket: str, key: str) -> None:
        """DELETE; one that is not there is no error, a bucket that is not there is NotFound."""
        await self._call("DELETE", bucket, key, expected=(200, 204))

    async def delete_folder(self, bucket: str, folder: str) -> None:
        """What only MinIO has: all objects whose keys start with ``folder``, which ends with ``/``, all versions."""
        await self._call("DELETE", bucket, folder, headers={"x-minio-force-delete": "true"}, expected=(200, 204))

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> None:
        """DeleteObjects, of at most a page of keys, all of them representable in XML."""

        def check(answer: Answer) -> ScoreError | None:
            faults = xml.parse_deletion(answer.body)
            if not faults:
                return None
            errors = [
                translate(f"the deletion of {fault.key} from bucket {bucket}", 400, {}, fault, self.clock())
                for fault in faults
                if fault.code != "NoSuchKey"
            ]
            return next(
                (error for error in errors if not isinstance(error, Unavailable)), errors[0] if errors else None
            )

        body = xml.build_deletion(keys)
        digest = to_base64(new_md5(body).hexdigest())
        headers = {"content-md5": digest, "content-type": "application/xml"}
        await self._call("POST", bucket, query=[("delete", "")], headers=headers, body=body, check=check)

    async def list_objects(
        self, bucket: str, prefix: str, delimiter: str = "", token: str | None = None, limit: int = PAGE
    ) -> xml.ObjectsPage:
        """One page of ListObjectsV2."""
        return xml.parse_objects(
            (await self._call("GET", bucket, query=_listing(prefix, delimiter, token, limit))).body
        )

    async def probe(self, bucket: str) -> float | None:
        """One attempt at a listing; gives the clock skew in seconds. Raises as any call does."""
        query = _listing("", "", None, 1)
        answer = await self._call("GET", bucket, query=query, read_timeout=PROBE_TIMEOUT, attempts=1)
        xml.parse_objects(answer.body)
        return clock_skew(answer.headers, self.clock())

    # Multipart uploads

    async def create_upload(self, bucket: str, key: str, headers: Mapping[str, str]) -> UploadId:
        """CreateMultipartUpload."""
        answer = await self._call("POST", bucket, key, query=[("uploads", "")], headers=headers)
        return xml.parse_upload_id(answer.body)

    async def upload_part(self, bucket: str, key: str, upload: UploadId, number: int, body: bytes) -> str:
        """UploadPart of a small part; gives its ETag. NotFound, Integrity where the answer is not a store's."""
        query = [("partNumber", str(number)), ("uploadId", upload)]
        answer = await self._call("PUT", bucket, key, query=query, body=body)
        if "etag" not in answer.headers:
            raise Integrity(f"The answer to PUT of a part of {key} in bucket {bucket} has no ETag.", hint=_NO_STORE)
        return answer.headers["etag"].strip('"')

    async def list_parts(
        self,
        bucket: str,
        key: str,
        upload: UploadId,
        marker: int = 0,
        limit: int = PAGE,
        *,
        numbers: Collection[int] = (),
        attempts: int | None = None,
    ) -> xml.PartsPage:
        """One page of ListParts: parts with numbers above the marker, at most ``limit`` where that is less than a
        page of this store. Others than those of ``numbers``, where there are some, may be left out. NotFound.

        How large a page is is left to the store. To MinIO each costs as much as all parts above the marker, so it
        gives up to 10,000; others give 1,000, and some refuse to be asked for more.
        """
        query: list[tuple[str, str]] = [("uploadId", upload)]
        if limit < PAGE:
            query.append(("max-parts", str(limit)))
        if marker:
            query.append(("part-number-marker", str(marker)))
        answer = await self._call("GET", bucket, key, query=query, attempts=attempts)
        return xml.parse_parts(answer.body, numbers)

    async def complete_upload(
        self, bucket: str, key: str, upload: UploadId, parts: Iterable[StoredPart], replace: bool
    ) -> str:
        """CompleteMultipartUpload, parts in order; gives the ETag or an empty text. NotFound, Conflict; without
        ``replace`` AlreadyExists where an object is there, unless the store passes over that wish or refuses it."""
        body = xml.build_completion(parts)

        async def call(headers: Mapping[str, str]) -> str:
            answer = await self._call(
                "POST",
                bucket,
                key,
                query=[("uploadId", upload)],
                headers={"content-type": "application/xml", **headers},
                body=body,
                read_timeout=max(COMPLETION_TIMEOUT, self.settings.read_timeout),
            )
            return xml.parse_completion(answer.body)

        return await self._conditionally(call, None if replace else NOTHING)

    async def abort_upload(self, bucket: str, key: str, upload: UploadId) -> None:
        """AbortMultipartUpload. NotFound."""
        await self._call("DELETE", bucket, key, query=[("uploadId", upload)], expected=(200, 204))

    async def list_uploads(self, bucket: str, after: tuple[str, str] | None) -> xml.UploadsPage:
        """One page of ListMultipartUploads, of the whole bucket: MinIO takes a prefix for a key.

        Keys come as they are: asked to encode them, Ceph does so without saying it, and leaves the marker out.
        """
        query = [("uploads", ""), ("max-uploads", str(PAGE))]
        if after is not None:
            query += [("key-marker", after[0]), ("upload-id-marker", after[1])]
        return xml.parse_uploads((await self._call("GET", bucket, query=query)).body)

    # The wire

    async def _conditionally(self, call: Callable[[Mapping[str, str]], Awaitable[T]], over: str | None) -> T:
        """``call`` with these headers: the condition that what is there is ``over``, for as long as the store has not
        refused one."""
        if over is not None and self.takes_conditions:
            try:
                return await call(condition(over))
            except Unsupported:
                done = await call({})
                self.takes_conditions = False
                return done
        return await call({})

    async def _call(
        self,
        method: str,
        bucket: str,
        key: str = "",
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        expected: tuple[int, ...] = (200,),
        check: Callable[[Answer], ScoreError | None] = lambda answer: None,
        read_timeout: float | None = None,
        most: int = LARGEST_ANSWER,
        attempts: int | None = None,
    ) -> Answer:
        """The answer, once it has an expected status and holds no error. Raises what the last attempt failed with."""
        what = f"{method} of {f'{key} in ' if key else ''}bucket {bucket}"
        resource = self.resource(bucket, key)

        async def attempt() -> Answer:
            answer = await self._exchange(what, method, resource, query, headers or {}, body, read_timeout, most)
            self.is_minio = answer.headers.get("server") == "MinIO"
            if (error := self._failure(what, method, answer, expected) or check(answer)) is not None:
                raise error
            return answer

        return await self.retries.persist(attempt, attempts)

    def _failure(self, what: str, method: str, answer: Answer, expected: tuple[int, ...]) -> ScoreError | None:
        passed = answer.status in expected
        if passed and method != "POST":
            return None
        # CompleteMultipartUpload may say 200 before it knows how it ends, and then send an error.
        fault = xml.parse_fault(answer.body)
        if passed and fault is None:
            return None
        return translate(what, answer.status, answer.headers, fault, self.clock())

    async def _exchange(
        self,
        what: str,
        method: str,
        resource: Resource,
        query: Query,
        headers: Mapping[str, str],
        body: bytes,
        read_timeout: float | None,
        most: int,
    ) -> Answer:
        """One attempt. Raises Unavailable where there is no whole answer, Integrity for more than ``most`` bytes."""
        keys = await self.keys.fresh()
        signed = self.signer.sign_request(keys, method, resource, query, headers, body, self.clock())
        target = f"{resource.path}?{encode_query(query)}" if query else resource.path
        headers = {**signed, **ONWARD.get()}
        return await self._http.request(
            what, method, target, headers, body, read_timeout=read_timeout or self.settings.read_timeout, most=most
        )


def _listing(prefix: str, delimiter: str, token: str | None, limit: int) -> list[tuple[str, str]]:
    query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(limit)), ("prefix", prefix)]
    if delimiter:
        query.append(("delimiter", delimiter))
    if token is not None:
        query.append(("continuation-token", token))
    return query
