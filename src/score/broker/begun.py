"""What the store knows of uploads in progress: which there are, and of what parts. Protocol, section 4."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from score.broker.documents import fetch
from score.broker.plans import Known, Plans
from score.broker.state import InProgress, Layout, S, read_state
from score.broker.together import Together
from score.errors import AlreadyExists, Conflict, NotFound
from score.storage.base import OVERWRITE, ObjectStore, Prefix, UploadId


class Begun:
    """The uploads that were begun and are neither completed nor cancelled, in one bucket of state.

    ``plans`` are those that this server remembers.
    """

    def __init__(self, state: ObjectStore, layout: Layout) -> None:
        self.plans = Plans()
        self._state = state
        self._layout = layout
        self._reading: Together[tuple[str, str], Known] = Together()

    async def specification(self, object_id: str, upload: UploadId) -> InProgress:
        """What an upload in progress is to become. NotFound: it is not, Conflict: its state is broken."""
        specification = await stored(InProgress, self._state, self._layout, object_id, upload)
        if specification is None:
            self.plans.forget(object_id, upload)
            raise no_upload(object_id)
        return specification

    async def known(self, object_id: str, upload: UploadId) -> Known:
        """What there is to know of an upload, from memory or from its state. NotFound, Conflict."""
        return self.plans.get(object_id, upload) or await self._reading.ask(
            (object_id, upload), lambda: self._learn(object_id, upload)
        )

    async def _learn(self, object_id: str, upload: UploadId) -> Known:
        """Read the state of an upload, unless somebody just did: to take a large one apart costs as much as dozens of
        calls, and those of many clients come at once."""
        return self.plans.get(object_id, upload) or self.plans.keep(
            object_id, upload, Known.of(await self.specification(object_id, upload))
        )

    async def current(self, object_id: str) -> UploadId:
        """The upload in progress. NotFound: none."""
        upload = await youngest(self._state, self._layout, object_id)
        if upload is None:
            raise no_upload(object_id)
        return upload


async def all_uploads(state: ObjectStore, layout: Layout, object_id: str = "") -> AsyncIterator[tuple[str, UploadId]]:
    """Object id and upload id of all uploads of which there is any state, or of those of one object."""
    async for entry in state.scan(layout.uploads_of(object_id) if object_id else f"{layout.uploads}/", delimiter="/"):
        if isinstance(entry, Prefix) and (place := layout.upload_of(entry.key)):
            yield place


async def uploads_of(state: ObjectStore, layout: Layout, object_id: str) -> list[UploadId]:
    """The uploads of an object of which there is any state."""
    return [upload async for _, upload in all_uploads(state, layout, object_id)]


async def youngest(state: ObjectStore, layout: Layout, object_id: str) -> UploadId | None:
    """The upload in progress: the one whose ``.meta`` exists, of several the youngest. None: none."""
    uploads = await uploads_of(state, layout, object_id)
    stats = await asyncio.gather(*[state.stat(layout.upload_meta(object_id, upload)) for upload in uploads])
    found = [(stat.last_modified, upload) for stat, upload in zip(stats, uploads, strict=True) if stat]
    return max(found)[1] if found else None


async def stored(kind: type[S], state: ObjectStore, layout: Layout, object_id: str, upload: str) -> S | None:
    """The state document of an upload, None where it is not in progress. Conflict: it is broken, or of another."""
    key = layout.upload_meta(object_id, upload)
    document = await fetch(state, key)
    if document is None:
        return None
    specification = read_state(kind, document, key)
    if specification.upload_id != upload:
        raise Conflict(f"The stored state {key!r} is of another upload.", hint="Start the upload again.")
    return specification


def no_upload(object_id: str) -> NotFound:
    """The error for an upload that is not in progress."""
    return NotFound(f"No such upload of {object_id} is in progress.", hint="Start it first.")


def already_there(object_id: str) -> AlreadyExists:
    """The error for an object that is there and not to be replaced."""
    return AlreadyExists(f"The object {object_id} exists.", hint=OVERWRITE)
