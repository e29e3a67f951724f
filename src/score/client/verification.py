"""Comparing local files with the registry and the store, and fetching again what is damaged."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from score.client.calls import Score, Song
from score.client.download import Download, Wanted
from score.client.entities import each_entity
from score.client.layout import Claims, Layout, place
from score.client.outcome import Outcome, State
from score.errors import Conflict, Integrity, NotFound, Refused
from score.protocol.digests import to_hex
from score.protocol.wire import Entity, Part, Specification
from score.transfer.checking import checked_md5
from score.transfer.engine import Engine
from score.transfer.events import Note, Planned
from score.transfer.files import Source, is_there, make_folder, translated
from score.transfer.journal import DownloadJournal
from score.transfer.lock import held

if TYPE_CHECKING:
    from score.client.client import Client

_FOR_GOOD = "Tell whoever submitted it; fetching it again does not help."
REPAIR = "To fetch only what is damaged: --repair."


@dataclass(frozen=True)
class Verification:
    """One object and the local file that should be it."""

    engine: Engine
    score: Score
    song: Song
    entity: Entity
    out: Path
    layout: Layout
    claims: Claims
    repair: bool = False

    def run(self) -> Outcome:
        """Compare the file, and repair it where that is asked for. Gives an outcome of state ``verified`` or
        ``repaired``.

        Raises NotFound where the file is not there, Integrity where it is not the object or where registry and store
        disagree, Refused where no checksum is known to compare it with, and what fetching raises.
        """
        path = place(self.out, self.layout, self.entity)
        journal = DownloadJournal(self.out, self.entity.id)
        for taken in {path, journal.data}:
            self.claims.claim(taken, self.entity.id)
        stored = self._stored()
        self._require_registered(stored)
        if self.repair:
            journal.finish_move(path, None)
        if journal.begun and (path == journal.data or not is_there(path)):
            if not self.repair:
                raise Conflict(
                    f"{path}: its download is not finished.", hint="Run the download again, or verify with --repair."
                )
            return self._fetch()
        if not is_there(path):
            if not self.repair:
                raise NotFound(f"{path}: No such file.", hint="To fetch it: --repair.")
            return self._fetch()
        bad = self._damage(path, stored)
        md5 = to_hex(stored.object_md5)
        if bad is None:
            if self.repair:
                journal.forget_at(path)
            return Outcome(self.entity.id, State.VERIFIED, path, stored.object_size, md5)
        if not self.repair:
            raise Integrity(f"{path} is not the object: {bad.text}.", hint=REPAIR)
        self.engine.listener(Note(str(path), f"{bad.text}; fetching that again"))
        self._set_aside(path, journal, stored, bad)
        return self._fetch()

    def _stored(self) -> Specification:
        found = self.engine.persist(
            lambda: self.score.download(self.entity.id, urls=False), f"{self.entity.file_name}: asking for the object"
        )
        return found.with_parts(part.changed(source_md5=to_hex(part.source_md5)) for part in found.parts)

    def _require_registered(self, stored: Specification) -> None:
        """Raises Integrity where the registry knows another size or MD5 than the store."""
        record = self.engine.persist(
            lambda: self.song.file(self.entity.project_code, self.entity.id),
            f"{self.entity.file_name}: asking the metadata service",
        )
        if record is None:
            return
        size, md5, known = record.size, record.md5, to_hex(stored.object_md5)
        if size is not None and size != stored.object_size:
            raise Integrity(
                f"{self.entity.id}: {size:,} bytes are registered, but the store holds {stored.object_size:,}.",
                hint=_FOR_GOOD,
            )
        if md5 and known and md5 != known:
            raise Integrity(
                f"{self.entity.id}: MD5 {md5} is registered, but the store's object has {known}.", hint=_FOR_GOOD
            )

    def _damage(self, path: Path, stored: Specification) -> Damage | None:
        """What of the file is not the object, None where it is all there. Good files are read once."""
        source = Source(path)
        self.engine.listener(Planned(str(path), source.size, len(stored.parts)))
        whole = to_hex(stored.object_md5)
        if whole and source.size == stored.object_size:
            (found,) = self.engine.workers.each([source], lambda whole: checked_md5(self.engine, whole))
            if found == whole:
                return None
        if any(part.source_md5 is None for part in stored.parts):
            if whole is None:
                raise Refused(
                    f"{path}: the server knows no checksum to compare it with.",
                    hint="Download it again to compare it: another --output-dir.",
                )
            return Damage(tuple(stored.parts), stored, source.size)

        def check(part: Part) -> Part | None:
            inside = part.span.end <= source.size
            return None if inside and checked_md5(self.engine, source, part.span) == part.source_md5 else part

        bad = [part for part in self.engine.workers.each(stored.parts, check) if part is not None]
        if not bad and source.size == stored.object_size:
            if whole is None:
                return None
            raise Integrity(
                f"{path}: every part is as it was uploaded, but the whole has not the registered MD5, {whole}.",
                hint="The object in the store is not the registered file; tell whoever submitted it.",
            )
        return Damage(tuple(sorted(bad, key=lambda part: part.offset)), stored, source.size)

    def _set_aside(self, path: Path, journal: DownloadJournal, stored: Specification, bad: Damage) -> None:
        """Make of the file a download that was interrupted: with the good parts finished and the bad ones missing.

        So it is not at its place while it is damaged, an interruption loses nothing, and the same proof is given in
        the end as for every download.
        """
        if path.is_symlink():
            raise Refused(f"{path} is a link, which is not repaired.", hint="Repair the file where it lies.")
        if path != journal.data and is_there(journal.data) and not journal.begun:
            raise Conflict(
                f"{journal.data} is in the way: the object's bytes are gathered there.",
                hint="Move it away, then run the same command again.",
            )
        journal.begin(stored, keep=path == journal.data)
        damaged = {part.part_number for part in bad.parts}
        for part in stored.parts:
            if part.part_number not in damaged:
                journal.record(part.changed(md5=part.source_md5))
        if path != journal.data:
            with translated(path):
                os.replace(path, journal.data)

    def _fetch(self) -> Outcome:
        wanted = Wanted(self.out, self.layout)
        done = Download(self.engine, self.score, self.entity, wanted, self.claims).run()
        return replace(done, state=State.REPAIRED) if done.state is State.DOWNLOADED else done


@dataclass(frozen=True)
class Damage:
    """The parts of an object that a file of ``size`` bytes does not hold as they were uploaded."""

    parts: tuple[Part, ...]
    stored: Specification
    size: int

    @property
    def text(self) -> str:
        """What is wrong, for people."""
        said = []
        if self.size != self.stored.object_size:
            said.append(f"it has {self.size:,} bytes instead of {self.stored.object_size:,}")
        if self.parts:
            first = self.parts[0].offset
            count = sum(part.part_size for part in self.parts)
            said.append(
                f"{len(self.parts)} of {len(self.stored.parts)} parts ({count:,} bytes, from byte {first:,}) differ"
            )
        return ", ".join(said)


def verify(
    client: Client,
    object_ids: Iterable[str],
    out: Path,
    *,
    layout: Layout = Layout.FILENAME,
    index: bool = True,
    repair: bool = False,
    skip: Container[str] = (),
) -> Iterator[Outcome]:
    """Compare objects with the files of a folder, several at once, and give what became of each as they end.

    With ``repair`` what is damaged or missing is fetched again, and nothing else.
    """
    claims = Claims()
    if repair:
        make_folder(out)

    def one(entity: Entity) -> Outcome:
        alone = held([out], entity.id, str(place(out, layout, entity))) if repair else nullcontext()
        with alone:
            return Verification(client.engine, client.score, client.song, entity, out, layout, claims, repair).run()

    return each_entity(client, object_ids, one, lambda entity: place(out, layout, entity), index=index, skip=skip)
