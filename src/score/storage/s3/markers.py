"""Which parts of which uploads are known to be stored: where a listing of parts can go on from.

A part N is found in one call by listing from marker N-1. MinIO answers nothing there while part N-1 is not stored, as
its marker must be a stored part. The nearest known one before N then serves, and all that a listing shows is
remembered, so that no part is listed over and over again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from score.protocol.parts import MOST_PARTS
from score.storage.base import StoredPart, UploadId


class Markers:
    """Bounded: a byte for each possible part of the ``uploads`` last used. What it forgets costs a call, no more."""

    def __init__(self, uploads: int = 256) -> None:
        self._uploads = uploads
        self._known: OrderedDict[UploadId, bytearray] = OrderedDict()

    def add(self, upload: UploadId, parts: Iterable[StoredPart]) -> None:
        """Remember parts that a listing showed."""
        known = self._known.setdefault(upload, bytearray(MOST_PARTS + 1))
        self._known.move_to_end(upload)
        for part in parts:
            if part.number <= MOST_PARTS:
                known[part.number] = 1
        while len(self._known) > self._uploads:
            self._known.popitem(last=False)

    def before(self, upload: UploadId, number: int) -> int:
        """The highest known part below ``number``, else 0, from where every listing can start."""
        known = self._known.get(upload)
        return max(0, known.rfind(1, 0, number)) if known is not None else 0

    def forget(self, upload: UploadId) -> None:
        """The upload is over."""
        self._known.pop(upload, None)
