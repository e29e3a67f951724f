"""What the metadata service says of objects, asked once for each object and each analysis of a run."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count, islice
from typing import TypeVar

from score.client.calls import Song
from score.client.records import Record
from score.errors import NotFound, Refused, ScoreError, Unavailable
from score.protocol.wire import Entity
from score.transfer.engine import Engine

INDEX_SUFFIXES = (".bai", ".crai", ".tbi", ".csi", ".idx")
"""Of several indexes of one file, the one whose suffix comes first counts."""


AWAY = 60.0
"""Seconds in which a metadata service that did not answer is not asked of files again: each would wait for it."""
REMEMBERED = 4096
"""Files, or analyses, of which a run remembers what was said; of older ones it asks again where it has to."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(dict[K, V]):
    """What came last, so that memory does not grow with the number of files. Safe to be used by threads."""

    def __init__(self, most: int = REMEMBERED) -> None:
        super().__init__()
        self._most = most
        self._lock = threading.Lock()

    def add(self, items: Mapping[K, V]) -> None:
        """Remember these, all of them together, and forget the oldest for them."""
        with self._lock:
            for name in items:
                self.pop(name, None)  # so that it counts as new
            self.update(items)
            for name in list(islice(self, max(0, len(self) - max(self._most, len(items))))):
                del self[name]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            super().clear()


class Catalog:
    """The files of the analyses that a run deals with. Safe to be asked by threads. ``clock`` gives seconds."""

    def __init__(self, engine: Engine, song: Song, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._song = song
        self._clock = clock
        self._lock = threading.Lock()
        self._entities: Recent[str, Entity] = Recent()
        self._analyses: Recent[str, _Once] = Recent()
        self._recording = threading.Lock()
        self._records: Recent[str, Record] = Recent()
        self._asked: Recent[str, int] = Recent()
        self._away_until = -math.inf
        self._answers = False

    def entity(self, object_id: str) -> Entity:
        """What the metadata service says of an object. Raises NotFound."""
        known = self.known(object_id)
        if known is not None:
            return known
        found = self._engine.persist(
            lambda: self._song.entity(object_id), f"{object_id}: asking the metadata service"
        )
        if found.id.lower() != object_id.lower():
            raise Refused(
                f"{object_id}: the metadata service answered with another object, {found.id[:60]}.",
                hint="Tell the operator of the metadata service.",
            )
        self._entities.add({object_id.lower(): found})
        return found

    def analysis(self, study: str, analysis: str) -> list[Entity]:
        """The files of an analysis of a study. Raises NotFound where it has none."""
        found = self._engine.persist(
            lambda: list(self._song.entities(analysis, study)), f"{analysis}: asking the metadata service"
        )
        if not found:
            raise NotFound(
                f"Study {study} has no analysis {analysis}, or the analysis has no files.",
                hint="Check --study-id and --analysis-id, and that METADATA_URL is the right metadata service.",
            )
        self._entities.add({entity.id.lower(): entity for entity in found})
        return found

    def pages(self, what: str, *, study: str = "") -> Iterator[list[Entity]]:
        """All files that are registered, or those of a study, page by page; ``what`` says in messages what for."""
        for number in count():
            page = self._engine.persist(partial(self._song.page, number, study=study), what)
            yield page.content
            if page.last or not page.content:
                return

    def index_of(self, entity: Entity) -> Entity | None:
        """The index file of a file: of the same analysis, and of its name with a suffix, case aside."""
        return next(iter(self.indexes_of(entity)), None)

    def indexes_of(self, entity: Entity) -> list[Entity]:
        """All index files of a file, the one that counts first."""
        return self._siblings(entity).get(entity.file_name.lower(), [])

    def records(self, study: str, analysis: str) -> list[Record]:
        """What was registered of the files of an analysis. Raises NotFound where it is unknown."""
        return self._engine.persist(
            lambda: self._song.files(study, analysis), f"{analysis}: asking the metadata service"
        )

    def record(self, object_id: str) -> Record | None:
        """What was registered of a file, None where the metadata service does not tell; each call is made once, and
        none while it is away. With the second file of an analysis come the records of all of them."""
        with self._recording:
            found = self._records.get(object_id.lower())
            if found is not None or self._is_away:
                return found
            try:
                return self._ask_for_record(object_id)
            except Unavailable:
                self._lose()  # the Score server asks it too, and has the last word
            except ScoreError:
                pass
            return None

    def is_unknown(self, object_id: str) -> bool:
        """Whether the metadata service says that no such object is registered; each call is made once. An answer of
        another server, to whose address no such call belongs, does not say so: whether it is one that lists studies
        is asked once in a run."""
        with self._recording:
            if self.known(object_id) or self._is_away:
                return False
            try:
                self._entities.add({object_id.lower(): self._song.entity(object_id)})
            except NotFound:
                with contextlib.suppress(ScoreError):
                    if not self._answers:
                        self._song.studies()
                        self._answers = True
                    return True
            except Unavailable:
                self._lose()
            except ScoreError:
                pass
            return False

    @property
    def _is_away(self) -> bool:
        return self._clock() < self._away_until

    def _lose(self) -> None:
        self._away_until = self._clock() + AWAY

    def _ask_for_record(self, object_id: str) -> Record | None:
        entity = self.known(object_id) or self._song.entity(object_id)
        study, analysis = entity.project_code, entity.gnos_id
        times = self._asked.get(analysis, 0) + 1
        self._asked.add({analysis: times})
        if times == 2:
            try:
                records = self._song.files(study, analysis)
            except (NotFound, Refused):
                records = []
            self._records.add({record.object_id.lower(): record for record in records})
        return self._records.get(object_id.lower()) or self._song.file(study, object_id)

    def known(self, object_id: str) -> Entity | None:
        """What was said of an object before, in this run."""
        return self._entities.get(object_id.lower())

    def _siblings(self, entity: Entity) -> dict[str, list[Entity]]:
        """The index files of an analysis, by the names of what they index."""
        with self._lock:
            once = self._analyses.get(entity.gnos_id) or _Once()
            self._analyses.add({entity.gnos_id: once})
        with once.lock:
            if once.indexes is None:
                found = self._engine.persist(
                    lambda: list(self._song.entities(entity.gnos_id)), f"{entity.file_name}: looking for its index"
                )
                self._entities.add({sibling.id.lower(): sibling for sibling in found})
                once.indexes = {}
                for suffix in INDEX_SUFFIXES:
                    for sibling in found:
                        if (name := sibling.file_name.lower()).endswith(suffix):
                            once.indexes.setdefault(name.removesuffix(suffix), []).append(sibling)
            return once.indexes


class _Once:
    """The index files of one analysis, and the lock of who is asking for them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.indexes: dict[str, list[Entity]] | None = None
