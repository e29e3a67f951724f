"""A bucket of an S3 service as an :class:`~score.storage.base.ObjectStore`.

For operators: the account needs GetObject, PutObject, DeleteObject, ListBucket, AbortMultipartUpload,
ListMultipartUploadParts and ListBucketMultipartUploads on the bucket. URLs are path style.

What differs between products is dealt with here:

- MinIO answers 404 to a second CompleteMultipartUpload; Ceph's first answer has no ETag, another product repeats the
  first. So success is what HEAD says afterwards: size and ETag must be those that the parts make.
- Ceph answers 500 to the completion of an upload that is gone where the object is not of its parts, for ever, and the
  same where another completion is under way. So after a failure that may pass the upload itself is looked for.
- MinIO answers nothing to a listing of parts from a marker that is not itself a stored part (see ``markers``).
- MinIO lists the uploads in progress of the whole bucket, or of one key, not by prefix; and of the whole bucket only
  those begun since its last start.
- Whether a bucket encrypts by itself (SSE-KMS) not every store tells before a part is sent; so one is, and its ETag
  looked at, where an ETag is not the MD5 that it should be.
- Amazon, MinIO and recent versions of Ceph can be told not to replace an object (``If-None-Match: *``); older ones of
  Ceph pass over that, some products refuse it. MinIO says who it is; elsewhere the object is looked for just before
  (docs/decisions/0034-nothing-is-replaced-unasked.md).
- MinIO alone deletes a folder by one call, without its objects' keys (docs/decisions/0032-minio-clears-a-folder.md).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from score.errors import AlreadyExists, Conflict, Integrity, NotFound, ScoreError, Unavailable
from score.protocol.digests import combined_etag, etag_md5, new_md5
from score.protocol.parts import Span
from score.storage.answers import object_stat
from score.storage.base import (
    OVERWRITE,
    Limits,
    ObjectStat,
    OpenUpload,
    PlannedPart,
    Prefix,
    Probe,
    StoredPart,
    UploadId,
)
from score.storage.s3.client import PAGE, S3Client
from score.storage.s3.markers import Markers
from score.storage.s3.settings import S3Settings
from score.storage.s3.signing import Credentials
from score.storage.s3.xml import representable

_META = "x-amz-meta-"
_SSE = "x-amz-server-side-encryption"
_FOR_EVER = timedelta(days=3650)
_DELETIONS = 4
"""Calls to delete many keys under way at a time."""
_SAMPLE = b"Is its MD5 the ETag of a part?"
_GAP = 256
"""Entries of a listing of parts that are passed over to save a call, for which MinIO reads all after the marker."""


def open_stores(settings: S3Settings, names: Iterable[str], tls: ssl.SSLContext | None = None) -> dict[str, S3Store]:
    """The buckets of one service, by name; they share connections and credentials. Nothing is called yet.

    ``tls`` says whom to believe; None: the authorities of the system.
    """
    client = S3Client(settings, tls=tls)
    return {name: S3Store(client, name) for name in names}


class S3Store:
    """One bucket. ``close`` closes the connections of the client; a later call opens new ones."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._limits = _limits(client.settings)
        self._encryption = _encryption(client.settings)
        self._markers = Markers()
        self._keeps_conditions: bool | None = None

    @property
    def repeated(self) -> int:
        """How often calls to the service were repeated, of all its buckets."""
        return self._client.retries.repeated

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def name(self) -> str:
        return self._bucket

    async def stat(self, key: str) -> ObjectStat | None:
        try:
            answer = await self._client.head(self._bucket, key)
        except NotFound:
            return None
        return object_stat(key, answer, _META, opaque=answer.headers.get(_SSE, "").startswith("aws:kms"))

    async def get(self, key: str) -> bytes:
        return await self._client.get(self._bucket, key)

    async def put(self, key: str, data: bytes, over: str | None = None) -> None:
        await self._client.put(self._bucket, key, data, over)

    async def delete(self, *keys: str) -> None:
        together = [key for key in keys if representable(key)] if len(keys) > 1 else []
        gate = asyncio.Semaphore(_DELETIONS)

        async def page(start: int) -> None:
            async with gate:
                await self._client.delete_many(self._bucket, together[start : start + PAGE])

        await asyncio.gather(*[page(start) for start in range(0, len(together), PAGE)])
        for key in set(keys).difference(together):
            await self._client.delete(self._bucket, key)

    async def clear(self, folder: str) -> bool:
        if not self._client.is_minio:
            return False
        try:
            await self._client.delete_folder(self._bucket, folder)
        except Unavailable:
            raise
        except ScoreError:
            return False  # where objects may be locked, MinIO has no such call
        return not (await self._client.list_objects(self._bucket, folder, limit=1)).items

    async def read(self, key: str, span: Span) -> bytes:
        if span.length > 0:
            return await self._client.get_range(self._bucket, key, span)
        if await self.stat(key) is None:
            raise NotFound(f"There is no object {key} in bucket {self._bucket}.")
        return b""

    async def probe(self) -> Probe:
        try:
            return Probe(ok=True, clock_skew=await self._client.probe(self._bucket))
        except ScoreError as error:
            return Probe(ok=False, problem=str(error))

    async def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        token: str | None = None
        while True:
            page = await self._client.list_objects(self._bucket, prefix, delimiter, token)
            for item in page.items:
                yield item
            if page.next is None:
                return
            if page.next == token:
                raise Integrity(f"The listing of bucket {self._bucket} does not move on.")
            token = page.next

    # URLs

    def sign_gets(self, key: str, spans: Sequence[Span | None], ttl: timedelta) -> list[str]:
        keys, now = self._client.keys.current(), self._client.clock()
        resource = self._client.resource(self._bucket, key, for_clients=True)
        bound = (span if span is not None and span.length > 0 else None for span in spans)
        return self._client.signer.sign_gets(keys, resource, bound, self._life(ttl, keys, now), now)

    def sign_parts(self, key: str, upload: UploadId, parts: Sequence[PlannedPart], ttl: timedelta) -> list[str]:
        keys, now = self._client.keys.current(), self._client.clock()
        resource = self._client.resource(self._bucket, key, for_clients=True)
        numbers = (part.number for part in parts)
        return self._client.signer.sign_parts(keys, resource, upload, numbers, self._life(ttl, keys, now), now)

    def _life(self, ttl: timedelta, keys: Credentials, now: datetime) -> int:
        """Seconds; a URL dies with the credentials that signed it, so it does not claim to live longer."""
        longest = min(ttl, self._limits.longest_url_life)
        if keys.expires is not None:
            longest = min(longest, keys.expires - now)
        return max(1, int(longest.total_seconds()))

    # Uploads

    async def begin(self, key: str) -> UploadId:
        return await self._client.create_upload(self._bucket, key, self._encryption)

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        found = await asyncio.gather(*[self._find(key, upload, run) for run in _runs(sorted(numbers))])
        wanted = set(numbers)
        return {part.number: part for parts in found for part in parts if part.number in wanted}

    async def _find(self, key: str, upload: UploadId, run: Sequence[int]) -> list[StoredPart]:
        """The stored ones among the numbers of a run, perhaps with others."""
        first = run[0]
        known = self._markers.before(upload, first)
        if first - known > _GAP:
            # Elsewhere than on MinIO any number is a marker, so this is worth a try.
            found = await self._seek(key, upload, first - 1, run)
            if found:
                return found
        return await self._seek(key, upload, known, run)

    async def _seek(self, key: str, upload: UploadId, marker: int, run: Sequence[int]) -> list[StoredPart]:
        """The parts of a run, perhaps with others, in the listing that goes on from ``marker``."""
        found: list[StoredPart] = []
        last = run[-1]
        while True:
            page = await self._client.list_parts(self._bucket, key, upload, marker, last - marker, numbers=run)
            self._markers.add(upload, page.parts)
            found += page.parts
            if page.next is None or page.next <= marker or page.next >= last:
                return found
            marker = page.next

    async def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        marker, page = after, await self._client.list_parts(self._bucket, key, upload, after)
        if after and not page.parts:
            marker, page = 0, await self._client.list_parts(self._bucket, key, upload)
        while True:
            self._markers.add(upload, page.parts)
            for part in page.parts:
                if part.number > after:
                    yield part
            if page.next is None:
                return
            if page.next <= marker:
                raise Integrity(f"The listing of the parts of {key} in bucket {self._bucket} does not move on.")
            marker, page = page.next, await self._client.list_parts(self._bucket, key, upload, page.next)

    async def etags_are_md5(self, key: str) -> bool:
        if not self._limits.etag_is_md5:
            return False
        upload = await self.begin(key)
        try:
            etag = await self._client.upload_part(self._bucket, key, upload, 1, _SAMPLE)
        except NotFound as error:
            raise Unavailable(
                f"The upload of {key} that tries out bucket {self._bucket} was removed by others.", hint="Try again."
            ) from error
        finally:
            await self.abort(key, upload)
        return etag_md5(etag) == new_md5(_SAMPLE).hexdigest()

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replace: bool = True
    ) -> ObjectStat:
        what = f"upload of {key} in bucket {self._bucket}"
        ordered = sorted(parts, key=lambda part: part.number)
        if not ordered:
            raise Conflict(f"The {what} has no parts.", hint="Send the parts first.")
        if not replace and not self._keeps_conditions:
            found = await self.stat(key)
            if found is not None and found.etag != multipart_etag(ordered) and await self._waits(key, upload):
                raise AlreadyExists(f"There is an object {key} in bucket {self._bucket}.", hint=OVERWRITE)
        gone: ScoreError | None = None
        etag = ""
        try:
            etag = await self._client.complete_upload(self._bucket, key, upload, ordered, replace)
        except NotFound as error:
            gone = error
        except AlreadyExists as error:
            self._keeps_conditions = True
            found = await self.stat(key)
            if found is None:
                raise Unavailable(f"An object {key} was in the way, which is gone now.", hint="Try again.") from error
            if found.etag == multipart_etag(ordered):
                await self.abort(key, upload)  # of the same bytes, whether this one made it or another
            elif await self._waits(key, upload):
                raise
            gone = error
        except Unavailable as error:
            if not await self._is_gone(key, upload):
                raise
            gone = error
        found = await self.stat(key)
        if found is not None and self._is_made_of(found, ordered, etag):
            self._markers.forget(upload)
            if not replace:
                await self._try_condition(key, upload, ordered)
            return found
        if gone is not None:
            raise NotFound(
                f"There is no {what}, nor the object that it would have made.", hint="Start the upload again."
            ) from gone
        if found is None:
            raise Integrity(f"The store completed the {what}, but has no such object.")
        raise Conflict(
            f"The {what} was completed, but the object has another size or ETag than its parts make.",
            hint="Another upload may have replaced it at the same moment.",
        )

    async def _try_condition(self, key: str, upload: UploadId, parts: Sequence[StoredPart]) -> None:
        """Learn, once, whether the store keeps to conditions: those that do refuse to complete an upload once more,
        for its object is there. Others know nothing of it any more, or say that it is complete."""
        if self._keeps_conditions is None and self._client.takes_conditions:
            self._keeps_conditions = False
            try:
                await self._client.complete_upload(self._bucket, key, upload, parts, replace=False)
            except AlreadyExists:
                self._keeps_conditions = True
            except ScoreError:
                pass  # the object was made, and is looked for before the next one

    async def _waits(self, key: str, upload: UploadId, attempts: int | None = None) -> bool:
        """Whether there is such an upload: one that was completed is none any more."""
        try:
            await self._client.list_parts(self._bucket, key, upload, limit=1, attempts=attempts)
        except NotFound:
            return False
        return True

    async def _is_gone(self, key: str, upload: UploadId) -> bool:
        """Whether the store, asked once, says that there is no such upload."""
        try:
            return not await self._waits(key, upload, attempts=1)
        except ScoreError:
            return False

    def _is_made_of(self, found: ObjectStat, parts: Sequence[StoredPart], etag: str) -> bool:
        """Whether an object is what these parts make. ``etag``: what the store called it at completion, if it did."""
        if found.size != sum(part.size for part in parts):
            return False
        if etag:
            return found.etag == etag
        expected = multipart_etag(parts)
        if found.etag == expected:
            return True
        # Under KMS keys MinIO makes the ETag of an object out of those of its parts too; not every store does.
        opaque = expected is None or found.opaque or not self._limits.etag_is_md5
        return opaque and found.etag.endswith(f"-{len(parts)}")

    async def abort(self, key: str, upload: UploadId) -> None:
        self._markers.forget(upload)
        try:
            await self._client.abort_upload(self._bucket, key, upload)
        except NotFound:
            return

    async def open_uploads(self) -> AsyncIterator[OpenUpload]:
        after: tuple[str, str] | None = None
        while True:
            page = await self._client.list_uploads(self._bucket, after)
            for upload in page.uploads:
                yield upload
            if page.next is None:
                return
            if page.next == after:
                raise Integrity(f"The listing of the uploads of bucket {self._bucket} does not move on.")
            after = page.next

    async def close(self) -> None:
        await self._client.close()


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Numbers in order, split where reading the entries between two costs more than a call of its own."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number - runs[-1][-1] <= _GAP:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _limits(settings: S3Settings) -> Limits:
    """What the settings change in what a store can do: version 2 signs neither ranges nor a duration, but an end."""
    if settings.version == 4:
        return Limits(etag_is_md5=not settings.kms_key)
    return Limits(longest_url_life=_FOR_EVER, etag_is_md5=not settings.kms_key, urls_bind_ranges=False)


def _encryption(settings: S3Settings) -> dict[str, str]:
    """Headers with which the store encrypts a new object."""
    if not settings.kms_key:
        return {}
    return {_SSE: "aws:kms", f"{_SSE}-aws-kms-key-id": settings.kms_key}


def multipart_etag(parts: Sequence[StoredPart]) -> str | None:
    """The ETag that S3 gives to an object of these parts, None without MD5s."""
    md5s = [md5 for part in parts if (md5 := etag_md5(part.etag))]
    return combined_etag(md5s) if len(md5s) == len(parts) else None
