"""What the store knows of uploads in progress: which there are, and of what parts. Protocol, section 4."""

from __future__ import annotations

import asyncio

from score.broker.documents import fetch
from score.broker.plans import Known, Plans
from score.broker.state import InProgress, Layout, read_in_progress
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
        key = self._layout.upload_meta(object_id, upload)
        document = await fetch(self._state, key)
        if document is None:
            self.plans.forget(object_id, upload)
            raise no_upload(object_id)
        specification = read_in_progress(document, key)
        if specification.upload_id != upload:
            raise Conflict(f"The stored state {key!r} is of another upload.", hint="Start the upload again.")
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

    async def folders(self, object_id: str) -> list[UploadId]:
        """The uploads of an object of which there is any state."""
        entries = [entry async for entry in self._state.scan(self._layout.uploads_of(object_id), delimiter="/")]
        places = [self._layout.upload_of(entry.key) for entry in entries if isinstance(entry, Prefix)]
        return [place[1] for place in places if place]

    async def current(self, object_id: str) -> UploadId:
        """The upload in progress: the one whose ``.meta`` exists, of several the youngest. NotFound: none."""
        uploads = await self.folders(object_id)
        stats = await asyncio.gather(*[self._state.stat(self._layout.upload_meta(object_id, one)) for one in uploads])
        found = [(stat.last_modified, upload) for stat, upload in zip(stats, uploads, strict=True) if stat]
        if not found:
            raise no_upload(object_id)
        return max(found)[1]


def no_upload(object_id: str) -> NotFound:
    """The error for an upload that is not in progress."""
    return NotFound(f"No such upload of {object_id} is in progress.", hint="Start it first.")


def already_there(object_id: str) -> AlreadyExists:
    """The error for an object that is there and not to be replaced."""
    return AlreadyExists(f"The object {object_id} exists.", hint=OVERWRITE)
