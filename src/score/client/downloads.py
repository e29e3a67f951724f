"""What one call downloads: each object once, with its index, none in the place of another."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from score.client.calls import Score
from score.client.catalog import Catalog
from score.client.download import Download, Wanted
from score.client.layout import Claims, folds, place
from score.client.many import FATAL, Later, Once
from score.client.outcome import Outcome, State
from score.client.packed import Packed
from score.errors import Cancelled, ScoreError
from score.protocol.wire import Entity
from score.transfer.engine import Engine
from score.transfer.events import Note
from score.transfer.files import make_folder
from score.transfer.lock import Held, held


class Downloads:
    """The downloads of one call, into one folder, which is made. Raises where it cannot be."""

    def __init__(self, engine: Engine, score: Score, catalog: Catalog, wanted: Wanted) -> None:
        make_folder(wanted.out)
        self._engine = engine
        self._score = score
        self._catalog = catalog
        self._wanted = wanted
        self._claims = Claims(folding=wanted.force and folds(wanted.out))  # else nothing is replaced in any case
        self._once = Once()
        self._pairs = Packed("\t".join, lambda line: line.split("\t"))
        self._lock = threading.Lock()

    def one(self, object_id: str, large: bool) -> list[Outcome]:
        """Download an object, and its index where that is wanted. Raises Later where it is ``large`` after all, and
        what ends all of them."""
        entity = self._catalog.entity(object_id)
        index = self._catalog.index_of(entity) if self._wanted.along else None
        if index is None or index.id in self._wanted.skip:
            return self._fetch(entity, large)
        outcomes = self._fetch(entity, large) + self._fetch(index, True, along=True)
        if len(outcomes) == 2:
            _date(outcomes[0].path, outcomes[1].path)
        else:  # one of them was named for itself, and may be under way elsewhere
            with contextlib.suppress(ScoreError):
                places = [str(place(Path(), self._wanted.layout, one)) for one in (entity, index)]
                with self._lock:
                    self._pairs.append(places)
        return outcomes

    def date_indexes(self) -> None:
        """Let no index be older than its file, also where both were named: when all have ended."""
        for data, index in self._pairs:
            _date(self._wanted.out / data, self._wanted.out / index)

    def _fetch(self, entity: Entity, large: bool, *, along: bool = False) -> list[Outcome]:
        if not self._once.begin(entity.id):
            return []
        path: Path | None = None
        try:
            path = place(self._wanted.out, self._wanted.layout, entity)
            with held([self._wanted.out], entity.id, str(path)) as file:
                return [Download(self._engine, self._score, entity, self._wanted, self._claims, large, file).run()]
        except Later:
            self._once.undo(entity.id)
            raise
        except (Cancelled, *FATAL):
            raise
        except ScoreError as error:
            if along and isinstance(error, Held):  # nobody asked for it here, and it will be there
                self._engine.listener(Note(str(path), f"left to the run that fetches it: {error.message}"))
                return []
            return [Outcome(entity.id, State.FAILED, path, error=error)]


def _date(data: Path | None, index: Path | None) -> None:
    """Make an index no older than its data: tools that read it warn of that, or refuse it."""
    if data and index:
        with contextlib.suppress(OSError):
            if index.stat().st_mtime_ns < data.stat().st_mtime_ns:
                os.utime(index)
