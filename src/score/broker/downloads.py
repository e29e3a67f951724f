"""Download specifications and the ping. Protocol, sections 2 and 3. Who may ask is decided before (``access``)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from score.broker import audit
from score.broker.buckets import Pair
from score.broker.documents import fetch
from score.broker.state import Layout, read_specification
from score.errors import Conflict, Invalid, NotFound, Refused
from score.protocol.digests import to_hex
from score.protocol.ids import check_object_id
from score.protocol.parts import Span, cut, part_size, plan_upload
from score.protocol.wire import Part, Specification
from score.storage.base import ObjectStat, ObjectStore

_PING_LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """``part_size``: bytes wanted for the parts of ranges and of objects that other tools put there; ``url_life`` of
    GET URLs; ``md5_property``: user metadata that holds such an object's MD5; ``sentinel``: its name."""

    part_size: int = 20_000_000
    url_life: timedelta = timedelta(days=1)
    md5_property: str = "md5chksum"
    sentinel: str = "heliograph"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for: ``length`` below 0 means to the end; ``external``: one URL for any HTTP client, with no
    range signed; ``urls``: false for a look at size and MD5 alone."""

    offset: int = 0
    length: int = -1
    external: bool = False
    urls: bool = True

    @property
    def whole(self) -> bool:
        """Whether the object is wanted as it was uploaded, parts and all."""
        return self.offset == 0 and self.length < 0 and not self.external


@dataclass(frozen=True, slots=True)
class Located:
    """An object that is there to its end: its bucket and its key there, what the store says of it, and its MD5
    (hex or base64, None where unknown). ``uploaded``: the specification of its upload, None where there was none."""

    store: ObjectStore
    key: str
    stat: ObjectStat
    md5: str | None
    uploaded: Specification | None = None


class Downloads:
    """The objects of one pair of buckets, which may be the same one.

    What is not there, or there without ``.meta``, is looked for in the pair of ``older`` buckets, where there is one.
    """

    def __init__(
        self,
        objects: ObjectStore,
        state: ObjectStore,
        layout: Layout,
        rules: DownloadRules,
        older: Pair | None = None,
    ) -> None:
        self._objects = objects
        self._buckets = Pair(objects, state)
        self._older = older
        self._layout = layout
        self._rules = rules

    def ping(self) -> str:
        """A URL to GET the sentinel."""
        audit.note("ping")
        return self._sentinel_url()

    def origin(self) -> str:
        """``scheme://host[:port]`` to which clients go for bytes. Raises what signing raises."""
        scheme, host, *_ = urlsplit(self._sentinel_url())
        return f"{scheme}://{host}"

    async def specification(self, object_id: str, request: Request) -> Specification:
        """The parts of an object, or of a range of it, with fresh URLs.

        Raises Invalid (negative offset, or one beyond the end), NotFound (no such object in the store), Refused (the
        range ends beyond the object's end), Conflict (the stored state contradicts the object).
        """
        check_object_id(object_id)
        if request.offset < 0:
            raise Invalid(f"offset {request.offset} is negative.")
        found = await self.locate(object_id)
        uploaded, size = found.uploaded, found.stat.size
        span = _span(object_id, request, size)
        if uploaded is not None and request.whole:
            upload_id, parts = uploaded.upload_id, uploaded.parts
        else:
            upload_id, parts = object_id, self._cut(request, span)
        if request.urls:
            audit.note("download", object_id, parts=len(parts), bytes=size if request.external else span.length)
        return Specification(
            object_key=found.key,
            object_id=object_id,
            upload_id=upload_id,
            parts=self._signed(found.store, object_id, parts, request),
            object_size=request.length if request.external else span.length,
            object_md5=found.md5,
        )

    async def locate(self, object_id: str) -> Located:
        """An object of the store. Raises NotFound (there is none), Conflict (the stored state contradicts it)."""
        store, uploaded, stat = await self._look(object_id)
        if stat is None:
            raise NotFound(
                f"The object {object_id} is not in the store.", hint="It was not uploaded, or not to the end."
            )
        if uploaded is not None and uploaded.object_size != stat.size:
            raise Conflict(
                f"{object_id} has {stat.size} bytes in the store, but {uploaded.object_size} by its stored state.",
                hint="Complete its upload, or upload it again.",
            )
        md5 = uploaded.object_md5 if uploaded else self._md5(stat)
        return Located(store, self._layout.object(object_id), stat, md5, uploaded)

    def sign(self, found: Located, spans: Sequence[Span | None]) -> list[str]:
        """URLs to GET spans of an object, or any span for None."""
        return found.store.sign_gets(found.key, spans, self._rules.url_life)

    async def stored(self, object_id: str) -> tuple[int, str | None] | None:
        """Bytes and MD5 (hex, None where unknown) of an object that was uploaded to the end; None for others."""
        _, uploaded, stat = await self._look(object_id)
        if uploaded is None or stat is None or uploaded.object_size != stat.size:
            return None
        return stat.size, to_hex(uploaded.object_md5)

    def _sentinel_url(self) -> str:
        return self._objects.sign_gets(self._layout.sentinel(self._rules.sentinel), [None], _PING_LIFE)[0]

    async def _look(self, object_id: str) -> tuple[ObjectStore, Specification | None, ObjectStat | None]:
        """The bucket of an object, what the state says of it, and what the store has."""
        uploaded, stat = await self._look_in(self._buckets, object_id)
        if uploaded is None and self._older is not None:
            older, lies = await self._look_in(self._older, object_id)
            if older is not None or stat is None:
                return self._older.objects, older, lies
        return self._objects, uploaded, stat

    async def _look_in(self, buckets: Pair, object_id: str) -> tuple[Specification | None, ObjectStat | None]:
        """The specification written at completion, None for an object that other tools put there; and the object."""
        key = self._layout.meta(object_id)
        document, stat = await asyncio.gather(
            fetch(buckets.state, key), buckets.objects.stat(self._layout.object(object_id))
        )
        return None if document is None else read_specification(document, key), stat

    def _cut(self, request: Request, span: Span) -> list[Part]:
        if request.external:
            return [Part(part_number=1, part_size=-1, offset=0)]
        floor = self._objects.limits.smallest_part
        if request.whole:
            spans = plan_upload(span.length, self._rules.part_size, floor)
        else:
            spans = cut(span, part_size(span.length, self._rules.part_size, floor))
        return [Part(part_number=at, part_size=one.length, offset=one.offset) for at, one in enumerate(spans, 1)]

    def _signed(self, store: ObjectStore, object_id: str, parts: Sequence[Part], request: Request) -> list[Part]:
        """The parts with fresh URLs, or with none."""
        urls: Sequence[str | None] = [None] * len(parts)
        if request.urls:
            spans = [None if part.part_size <= 0 else part.span for part in parts]
            urls = store.sign_gets(self._layout.object(object_id), spans, self._rules.url_life)
        return [
            Part(
                part_number=part.part_number,
                part_size=part.part_size,
                offset=part.offset,
                url=url,
                source_md5=part.source_md5,
            )
            for part, url in zip(parts, urls, strict=True)
        ]

    def _md5(self, stat: ObjectStat) -> str | None:
        """The MD5 that another tool left with the object, in hex."""
        return to_hex(stat.content_md5) or to_hex(stat.metadata.get(self._rules.md5_property.lower()))


def _span(object_id: str, request: Request, size: int) -> Span:
    if request.offset > size:
        raise Invalid(f"offset {request.offset} is beyond the end of {object_id}, which has {size} bytes.")
    span = Span(request.offset, size - request.offset if request.length < 0 else request.length)
    if span.end > size:
        raise Refused(f"offset + length is {span.end}, beyond the end of {object_id}, which has {size} bytes.")
    return span
