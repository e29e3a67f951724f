"""Downloading one object. Protocol, section 5."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from score.client.calls import Score
from score.client.layout import Claims, Layout, place
from score.client.many import LARGE, Later
from score.client.outcome import Outcome, State
from score.errors import AlreadyExists, Conflict, Invalid, Refused
from score.protocol.digests import to_hex
from score.protocol.parts import Span, covers
from score.protocol.wire import Entity, Part, Specification
from score.transfer.checking import checked_md5
from score.transfer.engine import Engine, Urls
from score.transfer.events import Note, Planned
from score.transfer.fetch import Fetch, Replaced
from score.transfer.files import Source, Target, allocated, check_space, is_there, nearest_folder
from score.transfer.journal import DownloadJournal

_REPLACE = "To replace it: --force."


@dataclass(frozen=True)
class Wanted:
    """What is to be downloaded of every object, and where to: ``length`` bytes from ``offset`` (-1: to the end), and
    with ``index`` its index file, unless it is among ``skip``: others fetch it."""

    out: Path
    layout: Layout
    index: bool = True
    offset: int = 0
    length: int = -1
    force: bool = False
    validate: bool = True
    skip: Container[str] = ()

    @property
    def whole(self) -> bool:
        """Whether it is all bytes of each object."""
        return self.offset == 0 and self.length < 0

    @property
    def along(self) -> bool:
        """Whether index files come along: not with a range, which is one of the bytes of each object that was named;
        an index cut likewise is none."""
        return self.index and self.whole


@dataclass(frozen=True)
class Download:
    """One object, or a range of it, on its way to a folder.

    ``large``: in the lane of large ones. ``file`` is where the bytes of a small one are gathered, if there is one for
    that; it goes when the run ends.
    """

    engine: Engine
    score: Score
    entity: Entity
    wanted: Wanted
    claims: Claims
    large: bool = True
    file: Path | None = None

    def run(self) -> Outcome:
        """Fetch the object, or the rest of it. Gives an outcome that is no failure.

        Raises the error that stopped it; whatever was finished is kept for the same command to go on with. Later
        where it is a large one and ``large`` is false: it is asked for again when its turn comes, for fresh URLs.
        """
        object_id = self.entity.id
        target = place(self.wanted.out, self.wanted.layout, self.entity)
        journal = DownloadJournal(self.wanted.out, object_id, self._say)
        for path in {target, journal.data}:
            self.claims.claim(path, object_id)
        found = self._specify()
        if found.object_size > LARGE and not self.large:
            raise Later
        whole = to_hex(found.object_md5) if self.wanted.whole else None
        begun = journal.begun  # then what lies at journal.data is unfinished, whatever the layout
        journal.finish_move(target, self.file)
        if not self.wanted.force and is_there(target) and not (begun and target == journal.data):
            self._require_same(target, found, whole)
            journal.forget_at(target)
            return Outcome(object_id, State.PRESENT, target, found.object_size, whole)
        if not begun:
            self._require_free(journal)
        if len(found.parts) == 1 and not begun:
            journal.keep_nothing(self.file)
            finished = []
        else:
            finished = self._resume(journal, found)
        file = Target(journal.data, found.object_size, self.wanted.offset)
        check_space(self.wanted.out, found.object_size - allocated(journal.data))
        file.prepare()
        done = sum(part.part_size for part in finished)
        self.engine.listener(Planned(str(target), found.object_size, len(found.parts), done, len(finished)))
        fetch = Fetch(
            self.engine,
            str(target),
            file,
            Urls(found.parts, lambda: self._renew(found)),
            journal.record,
            journal.drop,
            self._rest,
            self.wanted.validate,
            journal.etag(),
            journal.keep_etag,
            found.object_size if self.wanted.whole else None,
        )
        try:
            md5 = fetch.receive(found.parts, finished, whole)
        except Replaced:
            if len(found.parts) > 1:
                journal.begin(found)  # nothing of it is of use to anybody
            if not finished:
                raise
            self._say("the object was replaced since its download was begun; starting over")
            return self.run()
        file.settle(target, replace=self.wanted.force, kept=file.path != self.file)
        journal.forget()
        proven = self.wanted.validate and (md5 is not None or all(part.source_md5 for part in found.parts))
        if not proven and self.wanted.validate:
            self.engine.listener(Note(str(target), "not verified: no checksum is known for these bytes"))
        return Outcome(
            object_id, State.DOWNLOADED if proven else State.UNVERIFIED, target, found.object_size, md5 or whole
        )

    def rehearse(self) -> Outcome:
        """What :meth:`run` would do: an outcome of state ``would move`` or ``already there``. Raises what is known to
        stand in its way."""
        target = place(self.wanted.out, self.wanted.layout, self.entity)
        journal = DownloadJournal(self.wanted.out, self.entity.id)
        for path in {target, journal.data}:
            self.claims.claim(path, self.entity.id)
        found = self._specify()
        whole = to_hex(found.object_md5) if self.wanted.whole else None
        there = not self.wanted.force and is_there(target) and not (journal.begun and target == journal.data)
        if there:
            self._require_same(target, found, whole)
        else:
            if not journal.begun:
                self._require_free(journal)
            check_space(nearest_folder(self.wanted.out), found.object_size - allocated(journal.data))
        state = State.PRESENT if there else State.PLANNED
        return Outcome(self.entity.id, state, target, found.object_size, whole)

    def _require_free(self, journal: DownloadJournal) -> None:
        """Raises AlreadyExists where something lies at the place of the bytes that is not to be replaced."""
        if not self.wanted.force and is_there(journal.data):
            raise AlreadyExists(
                f"{journal.data} is in the way: the object's bytes are gathered there. It may be an earlier download "
                "with --output-layout id.",
                hint="Move it away, name another --output-dir, or replace it: --force.",
            )

    def _say(self, text: str) -> None:
        self.engine.listener(Note(str(self.entity.file_name or self.entity.id), text))

    def _ask(self) -> Specification:
        return self.score.download(self.entity.id, self.wanted.offset, self.wanted.length)

    def _renew(self, found: Specification) -> list[Part]:
        now = self._ask()
        if _shape(now) != _shape(found):
            raise Conflict(
                f"{self.entity.id} was replaced in the store while it was being downloaded.",
                hint="Run the same command again.",
            )
        return now.parts

    def _specify(self) -> Specification:
        what = f"{self.entity.file_name or self.entity.id}: asking for the object"
        try:
            found = self.engine.persist(self._ask, what)
        except (Conflict, Refused):
            self._require_within(what)
            raise
        if found.object_size < 0:  # the reference's answer to an offset beyond the end
            self._require_within(what)
        numbers = {part.part_number for part in found.parts}
        whole = Span(self.wanted.offset, found.object_size)
        if len(numbers) < len(found.parts) or not covers((part.span for part in found.parts), whole):
            raise Refused(
                f"{self.entity.id}: the server's specification contradicts itself.",
                hint="Tell the operator of the server.",
            )
        parts = [part.changed(source_md5=to_hex(part.source_md5)) for part in found.parts]
        return found.with_parts(parts)

    def _rest(self, span: Span) -> Part:
        """A span within a part, or the beginning of it, with a URL of its own."""
        parts = self.score.download(self.entity.id, span.offset, span.length).parts
        if not parts or parts[0].offset != span.offset or not 0 < parts[0].part_size <= span.length:
            raise Refused(
                f"{self.entity.id}: the server gave another range than was asked for.",
                hint="Tell the operator of the server.",
            )
        return parts[0]

    def _require_within(self, what: str) -> None:
        """Raises Invalid where the wanted range is not within the object: servers do not say so, or not in the words
        of who asked."""
        if self.wanted.whole:
            return
        size = self.engine.persist(lambda: self.score.download(self.entity.id, urls=False), what).object_size
        object_id, end = self.entity.id, self.wanted.offset + max(self.wanted.length, 0)
        if self.wanted.offset > size:
            raise Invalid(
                f"--offset {self.wanted.offset:,} is beyond the end of {object_id}, which has {size:,} bytes.",
                hint="Give a smaller --offset.",
            )
        if end > size:
            raise Invalid(
                f"--offset and --length lead to {end:,}, beyond the end of {object_id}, which has {size:,} bytes.",
                hint="Give a smaller --length; without it all is downloaded, from --offset to the end.",
            )

    def _require_same(self, target: Path, found: Specification, whole: str | None) -> None:
        """Raises AlreadyExists where the file there is not the object, by size and MD5."""
        if not os.path.isfile(target) or not self.wanted.whole:
            raise AlreadyExists(f"{target} is there already.", hint=_REPLACE)
        size = target.stat().st_size
        if size != found.object_size:
            raise AlreadyExists(
                f"{target} is there already, with {size:,} bytes instead of {found.object_size:,}.",
                hint=_REPLACE,
            )
        if whole is None:
            raise AlreadyExists(f"{target} is there already, and no MD5 is known to compare it with.", hint=_REPLACE)
        if not self.wanted.validate:
            return
        self.engine.listener(Planned(str(target), size, len(found.parts)))
        if checked_md5(self.engine, Source(target)) != whole:
            raise AlreadyExists(f"{target} is there already, with other contents.", hint=_REPLACE)

    def _resume(self, journal: DownloadJournal, found: Specification) -> list[Part]:
        """The parts that are finished; none where the object is another one than before."""
        kept = journal.specification()
        why = "" if kept is None else self._why_anew(journal, kept, found)
        if why:
            self._say(f"{why}; starting over")
        if kept is None or why:
            journal.begin(found)
            return []
        recorded = journal.finished()
        whole = self.wanted.whole and to_hex(found.object_md5) is not None
        there = journal.data.stat().st_size + self.wanted.offset
        return [
            part
            for part in found.parts
            if part.span.end <= there and self._is_finished(part, recorded.get(part.part_number), whole)
        ]

    def _why_anew(self, journal: DownloadJournal, kept: Specification, found: Specification) -> str:
        """Why nothing is of use that was fetched before; empty where it may be."""
        if _shape(kept) != _shape(found):
            return "what was fetched before is of another version of the object, or another range of it"
        if not journal.data.is_file():
            return "the bytes that were fetched before are gone"
        proven = (self.wanted.whole and found.object_md5) or all(part.source_md5 for part in found.parts)
        if not proven and not journal.etag():
            return "nothing tells of which version of the object the bytes are that were fetched before"
        return ""

    def _is_finished(self, part: Part, recorded: Part | None, whole: bool) -> bool:
        """Whether a part need not be fetched; one that was not hashed will be, with the whole file."""
        if recorded is None or recorded.span != part.span:
            return False
        if recorded.md5 is None:
            return not self.wanted.validate or whole or not part.source_md5
        return not part.source_md5 or recorded.md5 == part.source_md5


def _shape(specification: Specification) -> object:
    """What must be equal for the parts of one specification to be of use for another."""
    parts = [(part.part_number, part.span, part.source_md5) for part in specification.parts]
    return specification.object_size, to_hex(specification.object_md5), specification.upload_id, parts
