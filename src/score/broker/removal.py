"""Removal of an object for good, with all that was kept about it: for data that was withdrawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from score.broker import audit
from score.broker.begun import uploads_of
from score.broker.blocks import BlockUploads
from score.broker.state import Layout
from score.broker.uploads import Uploads
from score.errors import NotFound
from score.protocol.ids import check_object_id
from score.storage.base import ObjectStore, UploadId


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store has of an object: ``size`` in bytes, None without the object itself."""

    object_id: str
    size: int | None
    specification: bool
    uploads: tuple[UploadId, ...]

    def __bool__(self) -> bool:
        return self.size is not None or self.specification or bool(self.uploads)

    def __str__(self) -> str:
        parts = []
        if self.size is not None:
            parts.append(f"{self.size} bytes")
        if self.specification:
            parts.append("its specification")
        if self.uploads:
            parts.append(f"{len(self.uploads)} unfinished upload(s)")
        return f"{self.object_id}: {', '.join(parts) or 'nothing is stored'}"


class Place(NamedTuple):
    """A pair of buckets, which may be the same one, and the uploads in it."""

    objects: ObjectStore
    state: ObjectStore
    uploads: Uploads | BlockUploads


class Removal:
    """Removes objects of one place or several, as a pool and the buckets from before it. Idempotent but for what
    there is to tell."""

    def __init__(self, layout: Layout, *places: Place) -> None:
        self._layout = layout
        self._places = places

    async def look(self, object_id: str) -> Kept:
        """What there is of an object; walks over all uploads in progress. Raises Invalid for what is no id."""
        key = self._layout.object(check_object_id(object_id))
        stats = [await place.objects.stat(key) for place in self._places]
        stat = next(filter(None, stats), None)
        metas = [await place.state.stat(self._layout.meta(object_id)) for place in self._places]
        uploads = [upload for place in self._places for upload in await self._uploads(place, object_id)]
        return Kept(object_id, stat.size if stat else None, any(metas), tuple(uploads))

    async def _uploads(self, place: Place, object_id: str) -> list[UploadId]:
        """The unfinished uploads of an object in one place: by their state, or by the store's own list."""
        key = self._layout.object(object_id)
        uploads = set(await uploads_of(place.state, self._layout, object_id))
        held = {upload.upload_id async for upload in place.objects.open_uploads() if upload.key == key}
        # Blocks that wait under a key are named by it: they are those of the upload that the state tells of.
        return sorted(uploads | (held - {UploadId(key)} if uploads else held))

    async def remove(self, object_id: str, by: str) -> Kept:
        """Remove it all, the bytes first; gives what there was. ``by`` is who asked, for the audit line.

        Raises NotFound where there is nothing. May be repeated where it broke off.
        """
        kept = await self.look(object_id)
        if not kept:
            raise NotFound(f"Nothing is stored of {object_id}.")
        what: dict[str, str | int] = {"object": object_id, "kept": str(kept), "by": by}
        if kept.size is not None:
            what["bytes"] = kept.size
        audit.record("deletion", "begun", **what)
        for place in self._places:
            await place.objects.delete(self._layout.object(object_id))
        for place in self._places:
            for upload in await self._uploads(place, object_id):
                await place.uploads.drop(object_id, upload)
        for place in self._places:
            await place.state.delete(self._layout.meta(object_id))
        audit.record("deletion", "done", **what)
        return kept
