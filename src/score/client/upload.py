"""Uploading one object. Protocol, section 5."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

from score.client.calls import Score
from score.client.outcome import Outcome, State
from score.client.registered import Registered
from score.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    Forbidden,
    Integrity,
    NotFound,
    Refused,
    ScoreError,
    Unavailable,
)
from score.protocol.digests import to_hex
from score.protocol.parts import SMALLEST_PART, Span, covers
from score.protocol.wire import Part
from score.transfer.blocks import BlockPush, cut_blocks
from score.transfer.checking import checked_md5
from score.transfer.engine import Engine, SharedUrl, Urls
from score.transfer.events import Note, Planned
from score.transfer.files import Source
from score.transfer.journal import UploadJournal, elsewhere
from score.transfer.push import Push
from score.transfer.verify import Stale

T = TypeVar("T")

_FORGOTTEN = "the server does not know the upload that was begun from here any more; starting over"


@dataclass(frozen=True)
class Upload:
    """One file on its way to be an object. ``md5`` is what the file's MD5 has to be, in hex; where it is empty,
    :attr:`expected` is."""

    engine: Engine
    score: Score
    registered: Registered
    object_id: str
    path: Path
    md5: str
    force: bool = False
    state_folder: Path | None = None
    _in_blocks: ClassVar[bool] = False
    """Whether a part can be gone on with where it was interrupted."""

    @cached_property
    def expected(self) -> str:
        """The MD5, in hex, that the file has to have: the one that was given, else the registered one, which is
        compared while the file is sent, so that it is read once; its own where none is registered, or where an object
        may be replaced: a wrong one is to be found before that."""
        return self.md5 or ("" if self.force else self.registered.md5) or self._own_md5

    @cached_property
    def _own_md5(self) -> str:
        source = Source(self.path)
        self.engine.listener(Planned(str(self.path), source.size, 1))
        return checked_md5(self.engine, source)

    def run(self) -> Outcome:
        """Send the file, or the rest of it. Gives an outcome of state ``uploaded`` or ``already there``.

        Raises the error that stopped it; whatever was finished is kept for the same command to go on with.
        """
        source = Source(self.path)
        folder = self.state_folder or self.path.parent
        journal = UploadJournal(folder, self.object_id, elsewhere(folder), self._say)
        if (begun := self._begin(source, journal)) is not None:
            try:
                return self._finish(source, journal, *begun, kept=source.size > SMALLEST_PART)
            except NotFound:
                self._say(_FORGOTTEN)
        if (present := self._present(source)) is not None:
            journal.forget()
            return present
        if (found := self._resume(source, journal)) is not None:
            resumed = self if self.md5 else replace(self, md5=journal.md5() or self._own_md5)
            try:
                return resumed._finish(source, journal, *found)
            except Stale:
                self._say("the file changed since its upload was begun; starting over")
            except AlreadyExists:
                if not self.force:
                    raise
                self._say("its upload was begun without --force, and may replace nothing; starting over")
        try:
            begun = self._start(source, journal)
        except AlreadyExists:  # it came meanwhile, or the server has just finished what a crash had left
            if (present := self._present(source)) is None:
                raise
            journal.forget()
            return present
        return self._finish(source, journal, *begun)

    def _present(self, source: Source) -> Outcome | None:
        """The outcome where the object is there and this file, None where it is not there or may be replaced. Raises
        AlreadyExists where it is another one."""
        if not self._exists() or self.force:
            return None
        return Outcome(self.object_id, State.PRESENT, self.path, source.size, self._require_same(source))

    def _finish(
        self, source: Source, journal: UploadJournal, upload_id: str, parts: list[Part], *, kept: bool = True
    ) -> Outcome:
        """Send what is missing of an upload, and complete it. ``kept``: the server has state of it; else NotFound,
        where only that would have helped."""
        try:
            self._send(source, journal, upload_id, parts, kept)
        except NotFound as error:
            if not kept:
                raise
            raise Conflict(
                f"{self.path}: the upload of object {self.object_id} was replaced or cancelled meanwhile "
                f"({error.message}).",
                hint="If nobody else is uploading it, run the same command again.",
            ) from error
        journal.forget()
        return Outcome(self.object_id, State.UPLOADED, self.path, source.size, self.expected)

    def rehearse(self) -> Outcome:
        """What :meth:`run` would do: an outcome of state ``would move`` or ``already there``. Raises what is known to
        stand in its way."""
        source = Source(self.path)
        self.registered.require_known(self.path)
        if not self.md5:
            self.registered.require_size(self.path, source.size)
            return replace(self, md5=self._own_md5).rehearse()
        folder = self.state_folder or self.path.parent
        journal = UploadJournal(folder, self.object_id, elsewhere(folder), self._say)
        if (present := self._present(source)) is not None:
            return present
        if self._resume(source, journal) is None:
            self._require_registered(source)
        return Outcome(self.object_id, State.PLANNED, self.path, source.size, self.md5)

    def _what(self, doing: str) -> str:
        return f"{self.path.name}: {doing}"

    def _say(self, text: str) -> None:
        self.engine.listener(Note(str(self.path), text))

    def _replacing(self, call: Callable[[], T], doing: str) -> T:
        """A call that puts the object in its place, or begins to. Raises AlreadyExists where one is there that is not
        to be replaced."""
        try:
            return self.engine.persist(call, self._what(doing))
        except Refused as error:
            if f"The object {self.object_id} exists" not in error.message:
                raise
            raise AlreadyExists(
                f"{self.path}: object {self.object_id} is in the store; it was not replaced.",
                hint="To replace it: --force.",
            ) from error

    def _exists(self) -> bool:
        return self.engine.persist(lambda: self.score.exists(self.object_id), self._what("asking for the object"))

    def _require_same(self, source: Source) -> str:
        """The MD5 of both, in hex. Raises AlreadyExists where the object in the store is not this file, by size and
        MD5."""
        what = f"{self.path}: object {self.object_id} is in the store already"
        try:
            stored = self.engine.persist(
                lambda: self.score.download(self.object_id, urls=False), self._what("comparing with the object")
            )
        except (Forbidden, NotFound) as error:
            raise AlreadyExists(
                f"{what}, and cannot be compared ({error.message}).", hint="To replace it: --force."
            ) from error
        if stored.object_size != source.size:
            raise AlreadyExists(
                f"{what}, with {stored.object_size:,} bytes instead of {source.size:,}.",
                hint="To replace it: --force.",
            )
        md5 = to_hex(stored.object_md5)
        if md5 is None:
            raise AlreadyExists(f"{what}, and the server does not know its MD5.", hint="To replace it: --force.")
        own = self.md5 or self._own_md5
        if md5 != own:
            raise AlreadyExists(f"{what}, with MD5 {md5} instead of {own}.", hint="To replace it: --force.")
        return md5

    def _resume(self, source: Source, journal: UploadJournal) -> tuple[str, list[Part]] | None:
        """The upload in progress, where it is ours; None where a new one is to be started."""
        recorded = journal.upload_id()
        if self.force and recorded is None:
            return None
        try:
            progress = self.engine.persist(
                lambda: self.score.status(self.object_id, source.size), self._what("asking for an upload in progress")
            )
        except NotFound:
            if recorded is not None:
                self._say(_FORGOTTEN)
            return None
        except Conflict as error:
            if self.force:
                return None
            what = (
                "it had another size when its upload was begun, or that upload cannot be gone on with"
                if recorded
                else "an upload of it was begun elsewhere"
            )
            raise Conflict(f"{self.path}: {what} ({error.message}).", hint="To start over: --force.") from error
        only = [to_hex(part.source_md5) for part in progress.parts]
        if (recorded == progress.upload_id and _cover(progress.parts, source.size)) or (
            journal.intended and len(only) == 1 and only[0] and only == [self.md5 or self._own_md5]
        ):
            if self.md5 and journal.md5() not in ("", self.md5):  # which the server would say of the object for good
                self._say("its upload was begun with another MD5; starting over")
                return None
            return progress.upload_id, list(progress.parts)
        untouched = not any(part.source_md5 for part in progress.parts)
        if self.force or (journal.intended and untouched):
            return None
        if journal.begun and not journal.intended:
            raise Conflict(
                f"{self.path}: an upload of object {self.object_id} is in progress; it was begun elsewhere, or from "
                "here, and its state cannot be used.",
                hint="Go on where it was begun, with the version that began it; to start over from here: --force.",
            )
        raise Conflict(
            f"{self.path}: an upload of object {self.object_id} was begun elsewhere and is in progress.",
            hint="Go on where it was begun; to start over from here: --force.",
        )

    def _begin(self, source: Source, journal: UploadJournal) -> tuple[str, list[Part]] | None:
        """Start the upload of a file of which nothing is known, in one call. None where that does not go: what is in
        the way is then found step by step."""
        if self.force or journal.begun or not self.score.shortens:
            return None
        try:
            self._require_registered(source)
            md5 = self.expected
            journal.intend(md5)
            made = self.score.begin(self.object_id, source.size, md5)
        except (Unavailable, Cancelled):
            return None  # it may have been started
        except ScoreError:
            journal.relent()
            return None
        if not _cover(made.parts, source.size):
            return None
        if self._in_blocks or len(made.parts) > 1:  # else there is nothing to go on with
            journal.record(made.upload_id, md5)
        return made.upload_id, made.parts

    def _start(self, source: Source, journal: UploadJournal) -> tuple[str, list[Part]]:
        self._require_registered(source)
        md5 = self.expected
        journal.intend(md5)
        try:
            made = self._replacing(
                lambda: self.score.start(self.object_id, source.size, md5, overwrite=self.force),
                "starting the upload",
            )
        except (Unavailable, Cancelled):
            raise  # it may have been started
        except ScoreError:
            journal.relent()
            raise
        if not _cover(made.parts, source.size):
            raise Refused(
                f"{self.path}: the server's specification does not fit a file of {source.size:,} bytes.",
                hint="Tell the operator of the server.",
            )
        journal.record(made.upload_id, md5)
        return made.upload_id, made.parts

    def _require_registered(self, source: Source) -> None:
        """Compare size and MD5 with Song's record, where it gives one, before a byte moves. Raises Integrity."""
        self.registered.require_size(self.path, source.size)
        if self.md5 or self.force:
            self.registered.require_md5(self.path, self.expected)

    def _send(self, source: Source, journal: UploadJournal, upload_id: str, parts: list[Part], kept: bool) -> None:
        parts, push = self._prepare(source, upload_id, parts)
        remaining = [part for part in parts if not part.source_md5]
        sent = sum(part.part_size for part in parts) - sum(part.part_size for part in remaining)
        done = len(parts) - len(remaining)
        self.engine.listener(Planned(str(self.path), source.size, len(parts), sent, done))
        whole = push.send(parts, remaining)
        if whole != self.expected:
            with contextlib.suppress(ScoreError):
                self.score.cancel(self.object_id, upload_id)
                journal.forget()
            raise Integrity(
                f"{self.path} has MD5 {whole}, but {self.expected} was given or registered; nothing was completed.",
                hint="Find the right file, or register this one.",
            )
        push.commit()
        if push.completed:
            return
        self._replacing(lambda: self.score.complete(self.object_id, upload_id), "completing the upload")
        if not self._exists():
            if not kept:  # the reference calls any upload completed of which there is no state
                raise NotFound(
                    f"{self.path}: the server has no state of the upload of object {self.object_id}.",
                    hint="Run the same command again.",
                )
            raise Integrity(
                f"{self.path}: the server reported the upload as completed, but the object is not there.",
                hint="Run the same command again; if it stays so, tell the operator of the server.",
            )

    def _prepare(self, source: Source, upload_id: str, parts: list[Part]) -> tuple[list[Part], Push]:
        """The parts to send, and what sends them."""

        def finish(part: Part, md5: str, etag: str) -> bool:
            # A part that is the whole file, and as it has to be, needs no second call to complete it.
            size = source.size if len(parts) == 1 else None
            complete = size is not None and md5 == self.expected and source.unchanged
            return self._replacing(
                lambda: self.score.finish_part(
                    self.object_id, upload_id, part.part_number, md5, etag, size=size, complete=complete
                ),
                f"reporting part {part.part_number}",
            )

        urls = Urls(parts, lambda: self._renew(source, upload_id))
        return parts, Push(self.engine, str(self.path), source, urls, finish)

    def _renew(self, source: Source, upload_id: str) -> list[Part]:
        progress = self.score.status(self.object_id, source.size)
        if progress.upload_id != upload_id:
            raise NotFound("another upload is in progress")
        return progress.parts


@dataclass(frozen=True)
class BlockUpload(Upload):
    """One file on its way to Azure, in blocks of ``block_size`` bytes."""

    block_size: int = 104_857_600
    _in_blocks: ClassVar[bool] = True

    def _prepare(self, source: Source, upload_id: str, parts: list[Part]) -> tuple[list[Part], Push]:
        blocks = cut_blocks(parts, self.block_size)
        urls = SharedUrl(blocks, lambda: self._renew(source, upload_id))
        # The reference keeps no state with Azure and writes no MD5: its upload ids are the objects' ids.
        md5 = base64.b64encode(bytes.fromhex(self.expected)).decode() if upload_id == self.object_id else ""
        # Nor does it say whose an object is, where an answer was lost.
        replacing = self.force or upload_id == self.object_id
        return blocks, BlockPush(
            self.engine,
            str(self.path),
            source,
            urls,
            lambda *_: False,
            upload_id=upload_id,
            md5=md5,
            replace=replacing,
        )

    def _renew(self, source: Source, upload_id: str) -> list[Part]:
        if upload_id == self.object_id:
            return self.score.start(self.object_id, source.size, self.expected, overwrite=True).parts
        return super()._renew(source, upload_id)


def _cover(parts: list[Part], size: int) -> bool:
    """Whether the parts are a file of ``size`` bytes; an empty one has a part too."""
    return bool(parts) and covers((part.span for part in parts), Span(0, size))
