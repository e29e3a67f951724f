"""What is wanted of the objects of a download, and what makes a pair of a file and its index."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from score.client.calls import Score
from score.client.download import Download
from score.client.layout import Claims, Layout
from score.protocol.wire import Entity
from score.transfer.engine import Engine


@dataclass(frozen=True)
class Wanted:
    """What is to be downloaded of every object, and where to."""

    out: Path
    layout: Layout
    index: bool
    offset: int
    length: int
    force: bool
    validate: bool
    skip: Container[str] = ()

    @property
    def along(self) -> bool:
        """Whether index files come along: not with a range, which is one of the bytes of each object that was named;
        an index cut likewise is none."""
        return self.index and self.offset == 0 and self.length < 0

    def job(
        self,
        engine: Engine,
        score: Score,
        entity: Entity,
        claims: Claims,
        large: bool,
        file: Path | None,
    ) -> Download:
        """The download of one object; ``large``: in the lane of large files; ``file``: see :class:`Download`."""
        where = (self.out, self.layout, claims, self.offset, self.length, self.force, self.validate)
        return Download(engine, score, entity, *where, large, file)


def date_index(data: Path | None, index: Path | None) -> None:
    """Make an index no older than its data: tools that read it warn of that, or refuse it."""
    if data and index:
        with contextlib.suppress(OSError):
            if index.stat().st_mtime_ns < data.stat().st_mtime_ns:
                os.utime(index)
