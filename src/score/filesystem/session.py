"""What file systems of the same settings share in a process: a client, with its threads and its cache."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

from score.client import settings as configuration
from score.client.catalog import Recent
from score.client.client import Client
from score.client.handles import Handles
from score.client.records import Record, records
from score.client.settings import Settings
from score.errors import Forbidden, NotFound, NotReady, ScoreError, Unauthenticated, Unavailable
from score.protocol.wire import Entity
from score.transfer.events import Event, Waiting

_log = logging.getLogger("score.filesystem")
_ANALYSES = 1000
"""Analyses of which is remembered what the metadata service said."""


def read_settings(given: Mapping[str, str]) -> Settings:
    """The settings: ``given`` by name, else those of the environment and of the files of the current folder."""
    values = configuration.read([f"--{name}={value}" for name, value in given.items()], os.environ, Path())
    return configuration.settings(values)


def _tell(event: Event) -> None:
    """Log waits: whoever reads by fsspec would not know why nothing happens."""
    if isinstance(event, Waiting):
        _log.warning("%s", event)


class Session:
    """A client and what it was told. Safe for threads; closed when nothing refers to it any more."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Client(settings, listener=_tell)
        self.handles = Handles(self.client.remote)
        self._analyses: Recent[tuple[str, str | None], list[Entity]] = Recent(_ANALYSES)
        self._records: Recent[str, dict[str, Record]] = Recent(_ANALYSES)
        weakref.finalize(self, self.client.close)

    def forget(self) -> None:
        """What was told of analyses is asked for anew."""
        self._analyses.clear()
        self._records.clear()

    def entity(self, object_id: str) -> Entity | None:
        """A registered file; None where there is none of that id."""
        try:
            return self.client.catalog.entity(object_id)
        except NotFound:
            return None

    def analysis(self, analysis: str, study: str | None = None) -> list[Entity]:
        """The files of an analysis; none where it is unknown."""
        key = analysis, study
        if (known := self._analyses.get(key)) is not None:
            return known
        found = self.client.engine.persist(
            lambda: list(self.client.song.entities(analysis, study)), f"{analysis}: asking the metadata service"
        )
        if found:
            self._analyses.add({key: found})
        return found

    def studies(self) -> list[str]:
        """The ids of all studies."""
        return self.client.engine.persist(self.client.song.studies, "asking the metadata service for its studies")

    def analyses(self, study: str) -> list[str]:
        """The ids of the analyses of a study."""
        pages = self.client.catalog.pages(f"{study}: asking the metadata service for its analyses", study=study)
        return list(dict.fromkeys(entity.gnos_id for page in pages for entity in page))

    def record(self, entity: Entity) -> Record:
        """Size and MD5 of a file, as registered; from the server where the metadata service does not tell them.

        Raises NotFound, Forbidden and so on where neither tells.
        """
        found = self._registered(entity).get(entity.id.lower())
        if found is not None:
            return found
        stored = self.client.stat(entity.id)
        return Record(entity.id, stored.size, stored.md5)

    def known(self, entity: Entity) -> Record | None:
        """The same, None for a file that may not be looked at, or is not in the store."""
        try:
            return self.record(entity)
        except (NotFound, Forbidden, NotReady, Unauthenticated):
            return None

    def _registered(self, entity: Entity) -> dict[str, Record]:
        """The records of the files of an analysis."""
        if (known := self._records.get(entity.gnos_id)) is not None:
            return known
        study, analysis = entity.project_code, entity.gnos_id
        try:
            document = self.client.engine.persist(
                lambda: self.client.song.document(study, analysis), f"{analysis}: asking for sizes"
            )
        except Unavailable:
            raise
        except ScoreError:
            document = {}
        found = {record.object_id.lower(): record for record in records(document)}
        self._records.add({analysis: found})
        return found


_sessions: weakref.WeakValueDictionary[tuple[int, Settings], Session] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def session(settings: Settings) -> Session:
    """The session of these settings in this process."""
    key = os.getpid(), settings
    with _opening:
        found = _sessions.get(key)
        if found is None:
            found = _sessions[key] = Session(settings)
        return found
