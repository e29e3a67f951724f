"""What the broker needs of an object store.

One :class:`ObjectStore` is one bucket. Differences between stores are data (:class:`Limits`), not branches in the
broker. A store raises errors of :mod:`score.errors` only:

- NotFound       the upload, or the key of ``get`` and ``read``, does not exist; also the bucket
- Conflict       ``complete`` with parts that the store does not hold, or holds with other ETags
- AlreadyExists  ``complete`` and ``put`` where an object is there that is not to be replaced
- Refused        the store says no for good (403, other 4xx); the message has the store's own error code
- Unavailable    5xx, reset, time-out, throttling: after the store's own retries. It may pass
- Integrity      the store's answer contradicts itself

"Idempotent" means that a call repeated after a lost answer succeeds in the same way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, NewType, Protocol

from score.protocol.parts import LARGEST_OBJECT, MOST_PARTS, SMALLEST_PART, Span

UploadId = NewType("UploadId", str)
OVERWRITE = "Ask for overwrite to replace it."
"""What to do where an object is there."""
NOTHING = ""
"""In place of an ETag: that no object is there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How this store differs from others.

    ``profile`` is what ``GET /profile`` answers: ``s3`` clients PUT each part to a URL of its own, ``az`` clients
    put blocks under one URL and commit the list themselves. ``etag_is_md5``: whether the ETag of a part is the MD5
    of its bytes, as far as is known without asking (:meth:`ObjectStore.etags_are_md5`). ``urls_bind_ranges``: whether
    a URL to GET a span works with that span only; where it does not, the whole object can be read with it. Sizes are
    in bytes.
    """

    profile: Literal["s3", "az"] = "s3"
    smallest_part: int = SMALLEST_PART
    most_parts: int = MOST_PARTS
    largest_object: int = LARGEST_OBJECT
    longest_url_life: timedelta = timedelta(days=7)
    etag_is_md5: bool = True
    urls_bind_ranges: bool = True


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """A stored object. ``etag`` without quotes; ``metadata`` is the user metadata, names in lower case, from
    ``stat`` only; ``content_md5`` is base64, where the store keeps it. ``opaque``: the ETag says nothing of the
    bytes, as ``stat`` tells (SSE-KMS)."""

    key: str
    size: int
    last_modified: datetime
    etag: str = ""
    content_md5: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Prefix:
    """A common prefix in a listing with a delimiter; ends with the delimiter."""

    key: str


class PlannedPart(NamedTuple):
    """A part that a client is to send: its number, from 1, and the bytes of the object that it covers."""

    number: int
    span: Span


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part of an upload as the store holds it; ``etag`` without quotes."""

    number: int
    size: int
    etag: str


class Block(NamedTuple):
    """A block of a block blob: its id in base64, its bytes."""

    id: str
    size: int


class Blocks(NamedTuple):
    """The blocks of a block blob: those that make it, in order, and those that were put since."""

    committed: list[Block]
    uncommitted: list[Block]


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload_id: UploadId
    started: datetime


@dataclass(frozen=True, slots=True)
class Probe:
    """What a look at the store at start found.

    ``problem`` is empty when all is well, else a sentence for the operator with what to do; ``clock_skew`` is the
    store's clock minus ours, in seconds, None where it does not tell.
    """

    ok: bool
    problem: str = ""
    clock_skew: float | None = None


class ObjectStore(Protocol):
    """One bucket of an object store. Keys are text, never start with ``/``, and are given as is."""

    @property
    def limits(self) -> Limits:
        """How this store differs from others."""
        ...

    @property
    def name(self) -> str:
        """The bucket's name, for messages."""
        ...

    async def stat(self, key: str) -> ObjectStat | None:
        """The object under ``key``, None where there is none."""
        ...

    async def get(self, key: str) -> bytes:
        """All bytes of a small object: state documents only, never payload. NotFound where there is none."""
        ...

    async def put(self, key: str, data: bytes, over: str | None = None) -> None:
        """Write a small object, replacing one that is there; durable when it returns. Idempotent without ``over``.

        ``over``: the ETag of the only object that may be replaced, or NOTHING. AlreadyExists where something else is
        there than that, which stays, if the store can be told so; where an answer was lost it may be of this call.
        """
        ...

    async def delete(self, *keys: str) -> None:
        """Delete objects, many in few calls; those that are not there are no error. Idempotent."""
        ...

    async def clear(self, folder: str) -> bool:
        """Delete all objects whose keys start with ``folder``, which ends with ``/``, by one call, where the store
        has one: whether none is left. Where it has none, false; then they are to be deleted by their keys."""
        ...

    async def read(self, key: str, span: Span) -> bytes:
        """A small piece of payload. NotFound where there is no object, Invalid where the span leaves it."""
        ...

    async def probe(self) -> Probe:
        """Whether the bucket is reachable and these credentials may use it. Never raises."""
        ...

    def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        """Every object whose key starts with ``prefix``, in the order of their keys, all pages followed.

        With a delimiter, keys that have it after the prefix appear once, as a :class:`Prefix`.
        """
        ...

    def sign_gets(self, key: str, spans: Sequence[Span | None], ttl: timedelta) -> list[str]:
        """URLs to GET ``key``, one for each span, valid for ``ttl`` (clamped to ``limits.longest_url_life``).

        A span's URL works with exactly that span's ``Range`` header (where ``limits.urls_bind_ranges``); None gives a
        URL for any HTTP client, with any range or none. An empty span counts as None.
        """
        ...

    def sign_parts(self, key: str, upload: UploadId, parts: Sequence[PlannedPart], ttl: timedelta) -> list[str]:
        """URLs to PUT parts of an upload, one for each of ``parts``; 10,000 of them must not cost 0.1 s."""
        ...

    async def begin(self, key: str) -> UploadId:
        """Start an upload of ``key``. An object under ``key`` stays as it is until ``complete``."""
        ...

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        """Those parts of an upload with these ``numbers`` that the store holds. NotFound: no such upload.

        The cost does not grow with the number of parts, in whatever order they arrive; neighbours cost little more
        than one.
        """
        ...

    def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        """All parts of an upload with numbers above ``after``, in order. NotFound: no such upload."""
        ...

    async def etags_are_md5(self, key: str) -> bool:
        """Whether parts of new uploads of ``key`` get their MD5s as ETags. May cost a few calls, since a bucket may
        encrypt by itself, and a gateway make up ETags: to be asked where an ETag and an MD5 differ."""
        ...

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replace: bool = True
    ) -> ObjectStat:
        """Make the object of exactly these parts, in the order of their numbers; gives the finished object.

        All or nothing; durable when it returns. Idempotent: where the upload is gone, but the object has the size and
        the ETag that these parts make, that is success (size and number of parts, where ETags are no MD5s).
        Conflict: a part is missing or has another ETag. NotFound: no such upload and no such object.

        Without ``replace``: AlreadyExists where an object is there that is not of these parts; the upload stays as it
        is. An object that comes at the same moment stays too, where the store can be told so; not every one can.
        """
        ...

    async def abort(self, key: str, upload: UploadId) -> None:
        """Drop an upload and its parts. Idempotent: one that is gone is no error."""
        ...

    def open_uploads(self) -> AsyncIterator[OpenUpload]:
        """Every upload of the bucket in progress, all pages followed."""
        ...

    async def close(self) -> None:
        """Give back connections and handles."""
        ...


class BlockStore(ObjectStore, Protocol):
    """A store of the profile ``az``: clients put blocks under one URL and commit their list themselves.

    An upload is nothing that the store knows of; blocks that wait to be committed belong to the key. So ``begin``
    only makes an id, ``stored_parts`` gives the uncommitted blocks (``etag`` is the block's id), and ``abort`` drops
    them, whoever put them.
    """

    async def blocks(self, key: str) -> Blocks:
        """The blocks of an object and those that wait to be committed; none where there is neither."""
        ...

    async def seal(self, stat: ObjectStat, md5: str) -> ObjectStat:
        """Write the MD5 (hex) of an object to its properties; gives it as it is then.

        Conflict where it is not the object of ``stat`` any more.
        """
        ...


async def stored_part(store: ObjectStore, key: str, upload: UploadId, number: int) -> StoredPart | None:
    """One part of an upload, None while the store does not hold it. NotFound: no such upload."""
    return (await store.find_parts(key, upload, [number])).get(number)
