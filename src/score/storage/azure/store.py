"""A container of Azure Blob Storage as a :class:`~score.storage.base.BlockStore`.

For operators: the server uses the account key. URLs for clients are made by two stored access policies of the
container, one to write (``write``), one to read (``read``); to take a policy away ends all its URLs at
once.

What Azure does its own way is dealt with here:

- A range cannot be bound to a URL: all parts of a download share one.
- Blocks belong to the blob, not to an upload, and lie there until they are committed, for a week at most. To drop
  them, the blocks that make the blob are committed again; a blob that was put in one piece is copied onto itself;
  where there is no blob yet, an empty one is made and deleted, which until then is marked as none.
- A URL may not say what its stored policy says, so the policies are read, and again every five minutes.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import timedelta

from score.errors import AlreadyExists, Conflict, Integrity, Invalid, NotFound, ScoreError
from score.protocol.blocks import UPLOAD_FIELD
from score.protocol.digests import to_base64
from score.protocol.parts import Span
from score.storage.answers import condition, object_stat
from score.storage.azure.client import AzureClient
from score.storage.azure.signing import Policy, sign_url
from score.storage.azure.xml import build_block_list
from score.storage.base import (
    NOTHING,
    OVERWRITE,
    Blocks,
    Limits,
    ObjectStat,
    OpenUpload,
    PlannedPart,
    Prefix,
    Probe,
    StoredPart,
    UploadId,
)
from score.storage.http import Answer

LIMITS = Limits(
    profile="az",
    smallest_part=1,
    most_parts=50_000,
    longest_url_life=timedelta(days=3650),
    etag_is_md5=False,
)
_BACKDATED = timedelta(minutes=15)
_POLICIES_KEPT, _POLICIES_RETRIED = 300.0, 15.0
"""Seconds: until they are read again, also where that failed."""
_AT_ONCE = 32
"""Deletions under way at a time."""
_META = "x-ms-meta-"
_DROPPING = "scoredropping"
"""User metadata of an empty blob that is only there to take blocks along, and that a crash may leave behind: it is
none. Who puts a blob in its place replaces the metadata too."""
_KEPT_PROPERTIES = ("content-type", "content-encoding", "content-language", "content-disposition", "cache-control")


class AzureStore:
    """One container. ``close`` closes the connections of the client; a later call opens new ones."""

    def __init__(self, client: AzureClient) -> None:
        self._client = client
        self._settings = client.settings
        self._policies: dict[str, Policy] = {}
        self._policies_due = 0.0

    @property
    def limits(self) -> Limits:
        return LIMITS

    @property
    def name(self) -> str:
        return self._settings.container

    async def stat(self, key: str) -> ObjectStat | None:
        await self._renew_policies()
        try:
            found = object_stat(key, await self._client.head(key), _META)
        except NotFound:
            return None
        return None if _DROPPING in found.metadata and not found.size else found

    async def get(self, key: str) -> bytes:
        return (await self._client.get(key)).body

    async def put(self, key: str, data: bytes, over: str | None = None) -> None:
        try:
            await self._client.put(key, data, over)
        except Conflict as error:
            if over is None:
                raise
            raise AlreadyExists(f"There is an object {key} in container {self.name}.", hint=OVERWRITE) from error

    async def delete(self, *keys: str) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> None:
            async with gate:
                try:
                    await self._client.delete(key)
                except NotFound:
                    return

        await asyncio.gather(*[one(key) for key in set(keys)])

    async def clear(self, folder: str) -> bool:
        return False

    async def read(self, key: str, span: Span) -> bytes:
        if span.length <= 0:
            if await self.stat(key) is None:
                raise NotFound(f"There is no object {key} in container {self.name}.")
            return b""
        answer = await self._client.get(key, span)
        if answer.status == 416 or len(answer.body) < span.length:
            raise Invalid(f"Object {key} in container {self.name} ends before byte {span.end}.")
        if answer.status != 206 or len(answer.body) != span.length:
            raise Integrity(f"The store gave {len(answer.body)} bytes of {key} where {span.length} were asked for.")
        return answer.body

    async def probe(self) -> Probe:
        try:
            self._policies, skew = await self._client.policies()
        except ScoreError as error:
            return Probe(ok=False, problem=str(error))
        self._policies_due = time.monotonic() + _POLICIES_KEPT
        problem = " ".join(filter(None, (self._problem("upload"), self._problem("download"))))
        return Probe(ok=not problem, problem=problem, clock_skew=skew)

    def _problem(self, kind: str) -> str:
        """What is wrong with the stored access policy for uploads or downloads; empty where nothing is."""
        settings, now = self._settings, self._client.clock()
        name = settings.upload_policy if kind == "upload" else settings.download_policy
        needed, word = ("w", "write") if kind == "upload" else ("r", "read")
        which = f"The stored access policy {name!r} (bucket.policy.{kind}) of container {self.name!r}"
        policy = self._policies.get(name)
        if policy is None:
            known = f" It has: {', '.join(sorted(self._policies))}." if self._policies else " It has none."
            return f"{which} does not exist.{known} Make it, with the permission {word}, or correct the name."
        if policy.permissions is not None and needed not in policy.permissions:
            return f"{which} does not allow {word}. Change its permissions."
        if policy.expiry is not None and policy.expiry <= now:
            return f"{which} expired at {policy.expiry:%Y-%m-%d %H:%M} UTC. Give it a later time, or none."
        if policy.start is not None and policy.start > now:
            return f"{which} begins only at {policy.start:%Y-%m-%d %H:%M} UTC."
        return ""

    async def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        marker = ""
        while True:
            page = await self._client.list_blobs(prefix, delimiter, marker)
            for item in page.items:
                yield item
            if not page.next:
                return
            if page.next == marker:
                raise Integrity(f"The listing of container {self.name} does not move on.")
            marker = page.next

    # URLs

    def sign_gets(self, key: str, spans: Sequence[Span | None], ttl: timedelta) -> list[str]:
        """One URL for all spans: no range can be bound to it."""
        return [self._sign(key, self._settings.download_policy, "r", ttl)] * len(spans) if spans else []

    def sign_parts(self, key: str, upload: UploadId, parts: Sequence[PlannedPart], ttl: timedelta) -> list[str]:
        """One URL for all parts, to put blocks and to commit them."""
        return [self._sign(key, self._settings.upload_policy, "cw", ttl)] * len(parts) if parts else []

    def _sign(self, key: str, name: str, permissions: str, ttl: timedelta) -> str:
        now = self._client.clock()
        query = sign_url(
            self._settings.account,
            self._client.key,
            self.name,
            key,
            name,
            self._policies.get(name, Policy()),
            permissions,
            now - _BACKDATED,
            now + min(ttl, LIMITS.longest_url_life),
        )
        return f"{self._client.origin}{self._client.path(key)}?{query}"

    async def _renew_policies(self) -> None:
        """Read the stored access policies where they are due. Where that fails, those known stay in force: whatever
        is wrong shows at the call itself, and in the health of the store."""
        if time.monotonic() < self._policies_due:
            return
        self._policies_due = time.monotonic() + _POLICIES_KEPT
        try:
            self._policies, _ = await self._client.policies()
        except ScoreError:
            self._policies_due = time.monotonic() + _POLICIES_RETRIED

    # Uploads

    async def begin(self, key: str) -> UploadId:
        return UploadId(uuid.uuid4().hex)

    async def blocks(self, key: str) -> Blocks:
        try:
            return await self._client.blocks(key)
        except NotFound:
            return Blocks([], [])

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        return {part.number: part async for part in self.stored_parts(key, upload) if part.number in numbers}

    async def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        found = sorted((await self.blocks(key)).uncommitted)
        for number, block in enumerate(found, 1):
            if number > after:
                yield StoredPart(number, block.size, block.id)

    async def etags_are_md5(self, key: str) -> bool:
        return False

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replace: bool = True
    ) -> ObjectStat:
        ordered = sorted(parts, key=lambda part: part.number)
        headers = {f"{_META}{UPLOAD_FIELD}": upload, "x-ms-blob-content-type": "application/octet-stream"}
        headers |= condition(None if replace else NOTHING)
        gone: Conflict | None = None
        try:
            await self._client.put_block_list(key, build_block_list(part.etag for part in ordered), headers)
        except Conflict as error:
            gone = error
        found, blocks = await asyncio.gather(self.stat(key), self.blocks(key))
        same = [block.id for block in blocks.committed] == [part.etag for part in ordered]
        if found is not None and same and found.metadata.get(UPLOAD_FIELD) == upload:
            return found
        if found is not None and not replace:
            raise AlreadyExists(f"There is an object {key} in container {self.name}.", hint=OVERWRITE) from gone
        raise Conflict(f"The object {key} could not be made of its blocks.", hint="Send them again.") from gone

    async def abort(self, key: str, upload: UploadId) -> None:
        blocks = await self.blocks(key)
        if not blocks.uncommitted:
            return
        try:
            answer = await self._client.head(key)
        except NotFound:
            await self._drop_unborn(key)
            return
        etag = answer.headers.get("etag", "").strip('"')
        try:
            if blocks.committed:
                body = build_block_list((block.id for block in blocks.committed), "Committed")
                await self._client.put_block_list(key, body, _kept(answer) | condition(etag))
            else:
                await self._client.copy_onto_itself(key, etag)
        except Conflict:
            return  # written meanwhile, and with that the blocks are gone

    async def _drop_unborn(self, key: str) -> None:
        """Drop the blocks of a blob that does not exist: one without bytes takes them along."""
        try:
            headers = {f"{_META}{_DROPPING}": "blocks"} | condition(NOTHING)
            made = await self._client.put_block_list(key, build_block_list([]), headers)
            await self._client.delete(key, made.headers.get("etag", "").strip('"'))
        except (Conflict, NotFound):
            return  # somebody else wrote or deleted it meanwhile

    async def seal(self, stat: ObjectStat, md5: str) -> ObjectStat:
        answer = await self._client.head(stat.key)
        properties = {name: value for name, value in _kept(answer).items() if not name.startswith(_META)}
        properties["x-ms-blob-content-md5"] = to_base64(md5)
        await self._client.set_properties(stat.key, properties | condition(stat.etag))
        return object_stat(stat.key, await self._client.head(stat.key), _META)

    async def open_uploads(self) -> AsyncIterator[OpenUpload]:
        """Blobs of which there are blocks but no commitment yet. What is written over an object is not among them."""
        marker = ""
        while True:
            page = await self._client.list_blobs("", marker=marker, include="uncommittedblobs")
            for item in page.items:
                if isinstance(item, ObjectStat) and not item.size and (await self.blocks(item.key)).uncommitted:
                    yield OpenUpload(item.key, UploadId(item.key), item.last_modified)
            if not page.next or page.next == marker:
                return
            marker = page.next

    async def close(self) -> None:
        await self._client.close()


def _kept(answer: Answer) -> dict[str, str]:
    """Properties and user metadata of a blob as headers that write them again: what is not named is cleared."""
    headers = answer.headers
    kept = {f"x-ms-blob-{name}": headers[name] for name in _KEPT_PROPERTIES if headers.get(name)}
    if headers.get("content-md5"):
        kept["x-ms-blob-content-md5"] = headers["content-md5"]
    return kept | {name: value for name, value in headers.items() if name.startswith(_META)}
