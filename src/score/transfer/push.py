"""Sending the parts of a file. Protocol, section 5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from score.errors import Conflict, Integrity, ScoreError, Unavailable
from score.protocol.digests import etag_md5, new_md5
from score.protocol.wire import Part
from score.transfer.engine import Engine, Urls
from score.transfer.events import Moved, PartDone
from score.transfer.files import Source, read_span, translated
from score.transfer.http import place, store_error
from score.transfer.retry import Damaged
from score.transfer.verify import Follower, in_step

Finish = Callable[[Part, str, str], bool]
"""Reports a part to the server: the part, its MD5 in hex, its ETag without quotes. True: the upload is completed."""


@dataclass(frozen=True)
class Push:
    """One file on its way to the store."""

    engine: Engine
    item: str
    source: Source
    urls: Urls
    finish: Finish
    _completed: Event = field(default_factory=Event)

    @property
    def completed(self) -> bool:
        """Whether the upload is completed already."""
        return self._completed.is_set()

    def send(self, parts: Sequence[Part], remaining: Sequence[Part]) -> str:
        """Send the ``remaining`` ones of all ``parts``; gives the MD5 in hex of the whole file. The other parts are
        compared with the file meanwhile, as it is read for that MD5.

        Raises Stale where one of them holds other bytes, Integrity where the file changed meanwhile, Refused where
        the store says no for good, Unavailable when patience ends, Cancelled when the user asks to stop. Parts that
        were finished stay finished.
        """
        if len(parts) == 1 and remaining:  # then the part is the file, and is not read twice
            only: list[str] = list(self.engine.workers.each(remaining, self._send_part))
            if not self.completed:
                self.source.check()
            return only[0]
        finished = [part for part in parts if part.source_md5]
        follower = Follower(self.source.open(), self.engine.budget.hashed, finished)
        try:
            start = min((part.offset for part in remaining), default=self.source.size)
            follower.allow(start)

            def begin() -> Iterator[tuple[Part, int]]:
                for part, place in in_step(remaining, self.engine.workers.parallel):
                    # What a thread is about to read, the follower reads with it.
                    follower.allow(part.span.end)
                    yield part, place

            def send(item: tuple[Part, int]) -> None:
                part, place = item
                follower.wait_for(place, self.engine.stop.check)
                self._send_part(part)

            for _ in self.engine.workers.each(begin(), send):
                pass
            whole = follower.finish(self.source.size, partial(self.engine.tell_verifying, self.item))
            self.source.check()
            return whole
        finally:
            follower.stop()

    def commit(self) -> None:
        """Nothing: the server puts the parts together when the upload is completed."""

    def _send_part(self, part: Part) -> str:
        throttle = self.engine.throttle
        cuts = 0

        def once() -> str:
            nonlocal cuts
            try:
                with throttle.turn(part.part_size, up=True):
                    return self.urls.use(part.part_number, lambda url: self._put(part, url))
            except Unavailable:
                cuts += 1
                if cuts > 1:
                    throttle.ease()
                raise

        md5 = self.engine.persist(once, f"{self.item}: part {part.part_number}")
        self.engine.listener(PartDone(self.item, part.part_number))
        return md5

    def _put(self, part: Part, url: str) -> str:
        digest = new_md5()
        sent = 0

        def body() -> Iterator[memoryview]:
            nonlocal sent
            with translated(self.source.path), self.source.open() as file:
                for chunk in read_span(file, part.span, self.engine.budget.chunk):
                    digest.update(chunk)
                    for piece in self._paced(chunk):
                        yield piece
                        sent += len(piece)

        try:
            headers = {"Content-Length": str(part.part_size)}
            response = self.engine.http.request("PUT", url, headers=headers, body=body() if part.part_size else b"")
            if response.status >= 300:
                raise store_error(response, "PUT", url)
            md5 = digest.hexdigest()
            etag = (response.headers.get("ETag") or "").strip('"')
            self._compare(part, url, md5, etag, response.headers.get("x-amz-server-side-encryption"))
            self._report(part, md5, etag)
        except ScoreError:
            self.engine.listener(Moved(self.item, -sent))
            raise
        return md5

    def _paced(self, chunk: memoryview) -> Iterator[memoryview]:
        """A chunk in pieces, each when it may be sent; what was sent is told. Raises Cancelled."""
        throttle = self.engine.throttle
        while chunk:
            self.engine.stop.check()
            count = throttle.piece(len(chunk), up=True)
            throttle.up(count)
            yield chunk[:count]
            self.engine.listener(Moved(self.item, count))
            chunk = chunk[count:]

    def _compare(self, part: Part, url: str, md5: str, etag: str, encryption: str | None) -> None:
        if not etag:
            raise Damaged(f"PUT {place(url)}: the store's answer has no ETag, so part {part.part_number} is unproven")
        if encryption is not None and encryption.startswith("aws:kms"):
            return
        stored = etag_md5(etag)
        if stored is not None and stored != md5:
            raise Damaged(
                f"{self.source.path}: part {part.part_number} arrived with MD5 {stored}, but was sent with {md5}"
            )

    def _report(self, part: Part, md5: str, etag: str) -> None:
        try:
            if self.finish(part, md5, etag):
                self._completed.set()
        except (Conflict, Integrity) as error:
            # A server that looks for the part where it is not yet (the reference on MinIO, while an earlier part is
            # missing), or to which other bytes were reported: sending the part again helps.
            raise Damaged(error.message, hint=error.hint) from None
