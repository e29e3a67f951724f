"""Fetching the parts of an object into a file. Protocol, section 5."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from urllib3.response import BaseHTTPResponse

from score.errors import Cancelled, Conflict, Integrity, Refused, ScoreError, Unavailable
from score.protocol.digests import new_md5
from score.protocol.parts import MIB, Span
from score.protocol.wire import Part
from score.transfer.engine import Engine, Urls
from score.transfer.events import Moved, Note, PartDone
from score.transfer.files import Target, md5_of_span, write_all
from score.transfer.http import place, read_piece, store_error
from score.transfer.retry import Damaged, Exhausted
from score.transfer.verify import Follower, Prefix, in_step

SLACK = 64 * MIB
"""Bytes. Once the whole file's MD5 is further behind than this, parts are not hashed on their own as well: the
processor is what limits the transfer, and the whole MD5 finds every damage in the end."""

_NOT_IMPLEMENTED = 501
"""What gateways answer that do not take ``If-Match``."""


class Replaced(Conflict):
    """The object is not the one of which earlier parts are; they are of no use any more."""


@dataclass
class _Arrival:
    """What of a part is in the file already, over all tries: ``received`` bytes, hashed by ``digest`` where they are
    hashed on arrival."""

    received: int = 0
    digest: Any = None

    def rest(self, part: Part) -> Span:
        """What is still to come."""
        return Span(part.offset + self.received, part.part_size - self.received)


@dataclass
class Fetch:
    """One object on its way to a local file. ``record`` keeps a finished part, ``drop`` forgets one, ``keep_etag``
    keeps the ETag of the object that the parts are of, which is ``etag`` where it is known from an earlier run.
    ``size`` is that of the object, in bytes, where all of it is fetched. ``rest`` gives a URL for a span within a
    part, perhaps for its beginning only: that of the part is signed for all of it.

    Where the whole file's MD5 is known it is the proof, and the parts' MD5s tell, at once or afterwards, which part
    to fetch again. Where it is not known, the parts' MD5s are the proof.
    """

    engine: Engine
    item: str
    target: Target
    urls: Urls
    record: Callable[[Part], None]
    drop: Callable[[int], None]
    rest: Callable[[Span], Part]
    validate: bool = True
    etag: str = ""
    keep_etag: Callable[[str], None] = lambda etag: None
    size: int | None = None
    _conditional: bool = True
    _follower: Follower | None = None
    _limiting: bool = False
    _mending: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, parts: Sequence[Part], finished: Sequence[Part], whole: str | None) -> str | None:
        """Fetch all ``parts`` but the ``finished`` ones; gives the file's MD5 in hex where it was computed.

        ``whole`` is the MD5 that the file must have, None where nobody knows. A part whose bytes are not what was
        uploaded is fetched again. Raises Integrity where that does not help, Replaced where the object was replaced
        meanwhile, NoSpace, Refused, Unavailable, Cancelled. Finished parts stay finished.
        """
        if self.validate and whole is None:
            finished = self._keep_intact(finished)
        done = {part.part_number for part in finished}
        remaining = [part for part in parts if part.part_number not in done]
        if not self.validate or whole is None:
            for _ in self.engine.workers.each(remaining, self._fetch_part):
                pass
            return None
        if len(parts) == 1 and remaining and parts[0].source_md5 == whole:
            for _ in self.engine.workers.each(remaining, self._fetch_part):
                pass
            return whole
        found = self._follow(parts, finished, remaining)
        if found != whole:
            found = self._mend(parts, whole, found)
        return found

    def _follow(self, parts: Sequence[Part], finished: Sequence[Part], remaining: Sequence[Part]) -> str:
        prefix = Prefix([part.span for part in parts])
        follower = self._follower = Follower(
            self.target.open(), self.engine.budget.hashed, timed=self.engine.processors.tell
        )
        try:
            for part in finished:
                follower.allow(prefix.finish(part.span))
            for part in self.engine.workers.each(
                in_step(remaining, self.engine.workers.parallel), partial(self._fetch_in_step, follower)
            ):
                follower.allow(prefix.finish(part.span))
            return follower.finish(self.target.size, partial(self.engine.tell_verifying, self.item))
        finally:
            follower.stop()

    def _keep_intact(self, finished: Sequence[Part]) -> list[Part]:
        """The finished parts whose bytes on the disk are those that were uploaded, as far as that is known.

        Only for files without a whole MD5, which finds such damage otherwise.
        """

        def check(part: Part) -> Part | None:
            if not part.source_md5:
                return part
            with self.target.opened() as file:
                md5 = md5_of_span(file, Span(part.offset - self.target.start, part.part_size), self.engine.stop.check)
            return part if part.source_md5 == md5 else None

        kept = [part for part in self.engine.workers.each(finished, check) if part is not None]
        if len(kept) < len(finished):
            text = f"{len(finished) - len(kept)} parts changed on the disk since they were fetched; fetched again"
            self.engine.listener(Note(self.item, text))
            lost = sum(part.part_size for part in finished) - sum(part.part_size for part in kept)
            self.engine.listener(Moved(self.item, -lost))
        return kept

    def _mend(self, parts: Sequence[Part], whole: str, found: str) -> str:
        """The file is not what it has to be: find the parts that are not as uploaded and fetch them again."""
        bad = []
        with self.target.opened() as file:
            for part in parts:
                if part.source_md5 and md5_of_span(file, part.span, self.engine.stop.check) != part.source_md5:
                    bad.append(part)
                    self.drop(part.part_number)
        if bad:
            numbers = ", ".join(str(part.part_number) for part in bad[:10])
            text = f"parts were changed on their way or on the disk, fetched again: {numbers}"
            self.engine.listener(Note(self.item, text))
            self.engine.listener(Moved(self.item, -sum(part.part_size for part in bad)))
            self._mending = True
            numbered = {part.part_number for part in bad}
            found = self._follow(parts, [part for part in parts if part.part_number not in numbered], bad)
        if found != whole:
            message = f"{self.item}: the whole file has MD5 {found}, but {whole} is registered"
            unproven = [part for part in parts if not part.source_md5]
            if not unproven:
                raise Integrity(
                    f"{message}, though every part is as it was uploaded.",
                    hint="The object in the store is not the registered file; tell whoever submitted it.",
                )
            for part in unproven:
                self.drop(part.part_number)
            raise Integrity(
                f"{message}; no checksums of its parts are known, to tell which of them is damaged.",
                hint="Run the same command again to fetch it anew. If it stays so, tell whoever submitted it.",
            )
        return found

    def _fetch_in_step(self, follower: Follower, item: tuple[Part, int]) -> Part:
        part, place = item
        self._limiting |= follower.wait_for(place, self.engine.stop.check)
        return self._fetch_part(part)

    def _fetch_part(self, part: Part) -> Part:
        what = f"{self.item}: part {part.part_number}"
        arrival = _Arrival()
        with self.engine.throttle.turn(part.part_size, up=False):
            try:
                self._persist(part, arrival, what)
            except ScoreError:
                self._begin_anew(arrival)
                raise
        self.record(part.changed(md5=arrival.digest.hexdigest() if arrival.digest is not None else None))
        self.engine.listener(PartDone(self.item, part.part_number))
        return part

    def _persist(self, part: Part, arrival: _Arrival, what: str) -> None:
        """Fetch a part; patience begins anew where its tries brought some of it, more than a piece."""
        while True:
            had = arrival.received
            try:
                self.engine.persist(
                    lambda: self.urls.use(part.part_number, lambda url: self._get(part, arrival, url)), what
                )
                if arrival.received >= part.part_size:
                    return
            except Exhausted:
                if arrival.received - had <= self.engine.budget.chunk:
                    raise

    def _begin_anew(self, arrival: _Arrival) -> None:
        """What came of a part is of no use."""
        self.engine.listener(Moved(self.item, -arrival.received))
        arrival.received, arrival.digest = 0, None

    def _next_piece(self, part: Part, arrival: _Arrival) -> Part:
        """What to ask for: all of a part, or the rest. All of it again where the server gives no URL for the rest,
        for that of the part needs no server."""
        if arrival.received:
            try:
                return self.rest(arrival.rest(part))
            except Cancelled:
                raise
            except ScoreError:
                self._begin_anew(arrival)
        return part

    def _get(self, part: Part, arrival: _Arrival, url: str) -> None:
        """Fetch a part, or what is still to come of it, as far as one URL leads. What came before an error stays,
        where the rest can be asked for, and of the same object."""
        piece = self._next_piece(part, arrival)
        if piece is not part:
            url = piece.url or url
        end = piece.span.end - part.offset
        response = self._request(piece, url)
        whole = False
        try:
            if response.status == 412:
                raise self._replaced()
            if response.status >= 300:
                raise store_error(response, "GET", url)
            self._check_answer(piece, url, response)
            if not arrival.received:
                arrival.digest = new_md5() if self._hashes(part) else None
            with self.target.opened() as file:
                file.seek(piece.offset - self.target.start)
                while arrival.received < end:
                    self.engine.stop.check()
                    count = min(self.engine.budget.chunk, end - arrival.received)
                    count = self.engine.throttle.piece(count, up=False)
                    self.engine.throttle.down(count)
                    data = read_piece(response, url, count)
                    if not data:
                        raise Unavailable(f"GET {place(url)}: the answer was cut short.")
                    if arrival.digest is not None:
                        arrival.digest.update(data)
                    write_all(file, data)
                    arrival.received += len(data)
                    self.engine.listener(Moved(self.item, len(data)))
            complete = arrival.received == part.part_size
            if complete and arrival.digest and (md5 := arrival.digest.hexdigest()) != part.source_md5:
                raise Damaged(
                    f"{self.item}: part {part.part_number} arrived with MD5 {md5}, but was uploaded with "
                    f"{part.source_md5}"
                )
            whole = True
        except Damaged:
            self._begin_anew(arrival)
            raise
        except Unavailable:
            if response.status == 200 or not self.etag or self.etag.startswith("W/"):
                self._begin_anew(arrival)
            raise
        finally:
            if whole:
                response.release_conn()
            else:
                response.close()

    def _request(self, part: Part, url: str) -> BaseHTTPResponse:
        """Ask for a part, of the object of the other parts only, where the store can be asked so: not by a weak ETag,
        as proxies make them, which fulfils no condition (RFC 9110, section 13.1.1)."""
        headers = {"Range": part.span.http_range} if part.part_size else {}
        if self.etag and self._conditional and not self.etag.startswith("W/"):
            response = self.engine.http.request("GET", url, headers={**headers, "If-Match": self.etag}, stream=True)
            if response.status != _NOT_IMPLEMENTED:
                return response
            response.close()  # the ETags of answers are compared in any case
            plain = self.engine.http.request("GET", url, headers=headers, stream=True)
            self._conditional = plain.status >= 300
            return plain
        return self.engine.http.request("GET", url, headers=headers, stream=True)

    def _hashes(self, part: Part) -> bool:
        """Whether to hash a part while it arrives; one that is mended in any case: if it is damaged again, that is to
        be known of the part."""
        if not (self.validate and part.source_md5):
            return False
        if self._mending or self._follower is None:
            return True
        return self.engine.processors.to_spare and not self._limiting and self._follower.keeps_up(SLACK)

    def _check_answer(self, part: Part, url: str, response: BaseHTTPResponse) -> None:
        """Whether the answer is the part that was asked for, of the object of the other parts."""
        if self.size is not None and _total(response, part) not in (None, self.size):
            raise self._replaced()
        if part.part_size:
            given = response.headers.get("Content-Range", "")
            told = f"{response.status} {given}".rstrip()
            asked = f"bytes {part.offset}-{part.span.end - 1}/"
            if response.status != 206 or not given.startswith(asked):
                alone = response.status == 200 and response.headers.get("Content-Length") == str(part.part_size)
                if part.offset or not alone:
                    raise Refused(
                        f"GET {place(url)}: the store answered {told} for {asked[:-1]}.",
                        hint="The store, or a proxy before it, ignores ranges.",
                    )
        etag = response.headers.get("ETag", "")
        with self._lock:
            if etag and not self.etag:
                self.keep_etag(etag)
                self.etag = etag
            if etag and etag != self.etag:
                raise self._replaced()

    def _replaced(self) -> Replaced:
        return Replaced(
            f"{self.item} was replaced in the store while it was being downloaded.",
            hint="Run the same command again.",
        )


def _total(response: BaseHTTPResponse, part: Part) -> int | None:
    """Bytes of the object of which a good answer is, None where it does not tell."""
    if part.part_size:
        told = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:  # of an empty object no range is asked for
        told = response.headers.get("Content-Length", "")
    return int(told) if told.isascii() and told.isdigit() else None
