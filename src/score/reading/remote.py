"""One remote object, read at any place by any number of threads."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from urllib3.response import BaseHTTPResponse

from score.errors import Cancelled, Conflict, Integrity, Invalid, Refused, ScoreError
from score.protocol.digests import to_hex
from score.protocol.parts import MIB, Span, covers, cut
from score.protocol.wire import Specification
from score.reading import ranges
from score.reading.answers import check_range, is_of_another_size, read_exactly
from score.reading.checks import PartChecks
from score.reading.policy import ReadAhead
from score.reading.shared import Shared, Source
from score.transfer.engine import SharedUrl
from score.transfer.events import Moved
from score.transfer.http import store_error

T = TypeVar("T")

REQUEST = 4 * MIB
"""Bytes of one request at most; more is asked for by several at once."""
READ = 16 * MIB
"""Bytes of a read that are gathered at a time."""
GAP = 64 * 1024
"""Bytes between two pieces that are fetched along, rather than by a request of their own."""


class _Run:
    """Blocks that one request fetches. ``at`` is the next one to come."""

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers
        self.at = numbers.start
        self.blocks: dict[int, Future[bytes]] = {number: Future() for number in numbers}


class RemoteObject:
    """One version of one object. Nothing is asked of anybody before the first use, or :meth:`open`.

    Reads wait while store or server are away, as long as the client's patience lasts. URLs that expire are renewed.
    An object that is replaced meanwhile is noticed: what was read and what comes are never of two versions. A part
    whose blocks have all been fetched is compared with its MD5 before its last bytes are given out.

    Errors: NotFound, Forbidden, NotReady, Unauthenticated (not to be read), Conflict (replaced meanwhile), Integrity
    (not as uploaded), Unavailable (patience has ended), Refused, Cancelled (closed, or the user asked to stop).
    """

    def __init__(self, shared: Shared, source: Source, name: str = "") -> None:
        self.name = name or source.object_id
        self.shared = shared
        self._source = source
        self._engine = shared.engine
        self._length = shared.block
        self._lock = threading.Lock()
        self._opening: Future[Specification] | None = None
        self._specification: Specification | None = None
        self._checks: PartChecks | None = None
        self._version = ""
        self._urls = SharedUrl([], source.locate)
        self._policy = ReadAhead()
        self._pending: dict[int, Future[bytes]] = {}
        self._failure: ScoreError | None = None

    def __enter__(self) -> RemoteObject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def object_id(self) -> str:
        """The object's id."""
        return self._source.object_id

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return (self._specification or self.open()).object_size

    @property
    def version(self) -> str:
        """What tells this version of the object from others; new at each opening where the server tells no MD5."""
        self.open()
        return self._version

    @property
    def proven(self) -> frozenset[int]:
        """Numbers of the parts that were read whole and compared with their MD5."""
        return frozenset(self._checks.proven) if self._checks else frozenset()

    def open(self) -> Specification:
        """Ask the server for the object, once; gives its specification, without URLs. See the class for errors.

        Threads that ask at the same time share the answer, a failure too: else patience would be that of one after
        the other.
        """
        self.shared.check_process(self.name)
        with self._lock:
            opening = self._opening
            if opening is None:
                mine = self._opening = Future()
        if opening is not None:
            return self._await(opening)
        try:
            self._specification = self._begin()
        except BaseException as error:
            with self._lock:
                self._opening = None  # the next one begins anew
            mine.set_exception(_for_others(error))
            raise
        mine.set_result(self._specification)
        return self._specification

    def close(self) -> None:
        """End reading. What is read ahead is dropped; the cache keeps what it has."""
        with self._lock:
            self._failure = self._failure or Cancelled(f"{self.name} was closed.")
        self.shared.leave(id(self))

    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer only at the end. Raises Invalid where one is negative."""
        pieces = list(self._pieces(offset, length))
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` (of bytes) from ``offset``; gives the number of bytes, fewer only at the end."""
        at = 0
        for piece in self._pieces(offset, len(buffer)):
            buffer[at : at + len(piece)] = piece
            at += len(piece)
        return at

    def stream(self, spans: Iterable[Span], gap: int = GAP) -> Iterator[tuple[int, bytes]]:
        """The bytes of ``spans`` in ascending order, each byte once, as pieces: offset and bytes. For whoever knows
        beforehand what to read: past the cache, several requests at once, at most ``gap`` bytes fetched in vain
        between two spans. Spans are cut at the end of the object. Parts that come whole are compared with their MD5s.
        """
        self.shared.check_process(self.name)
        whole = Span(0, self.size)
        wanted = ranges.coalesce(ranges.overlap(span, whole) for span in spans)
        coming = (piece for span in ranges.coalesce(wanted, gap) for piece in cut(span, REQUEST))
        under_way: deque[tuple[Span, Future[bytes]]] = deque()
        checks = self._checks.in_order() if self._checks is not None else None
        at = 0
        try:
            while True:
                while len(under_way) < self.shared.parallel and (request := next(coming, None)) is not None:
                    under_way.append((request, self._submit(request)))
                if not under_way:
                    return
                request, future = under_way.popleft()
                data = memoryview(self._await(future))
                if checks is not None:
                    with self._told():
                        checks.take(request.offset, data)
                while at < len(wanted) and wanted[at].offset < request.end:
                    part = ranges.overlap(wanted[at], request)
                    start = part.offset - request.offset
                    yield part.offset, bytes(data[start : start + part.length])
                    if wanted[at].end > request.end:
                        break
                    at += 1
        finally:
            for _, future in under_way:
                future.cancel()

    def _begin(self) -> Specification:
        """Specification and URL, asked for at the same time."""
        url: Future[None] = Future()

        def locate() -> None:
            try:
                self._engine.persist(lambda: self._urls.use(1, _is_there), f"{self.name}: asking for a URL")
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                url.set_exception(error)
            else:
                url.set_result(None)

        threading.Thread(target=locate, name="locate", daemon=True).start()
        found = self._engine.persist(self._source.specify, f"{self.name}: asking for the object")
        url.result()
        spans = [part.span for part in found.parts]
        if found.object_size < 0 or not covers(spans, Span(0, found.object_size)):
            raise Refused(
                f"{self.name}: the server's specification contradicts itself.",
                hint="Tell the operator of the server.",
            )
        md5 = to_hex(found.object_md5)
        told_apart = md5 or found.upload_id != found.object_id
        version = f"{found.upload_id}:{found.object_size}:{md5}" if told_apart else uuid.uuid4().hex
        self._version = f"{found.object_id}:{version}"
        parts = [part.changed(source_md5=to_hex(part.source_md5)) for part in found.parts]
        self._checks = PartChecks(parts, found.object_size, self._cached, self._length)
        return found.with_parts(part.changed(url=None) for part in found.parts)

    def _pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        """The bytes of a read, block by block; a large one in several goes, so that little is held at a time."""
        self.shared.check_process(self.name)
        if offset < 0 or length < 0:
            raise Invalid(
                f"{self.name}: offset {offset} and length {length} must not be negative.",
                hint="Count from 0, from the start.",
            )
        for span in cut(ranges.overlap(Span(offset, length), Span(0, self.size)), READ):
            blocks = list(self._blocks(span))
            if self._checks is not None:
                self._settle(self._checks, span)
            for number, block in blocks:
                start = number * self._length
                part = ranges.overlap(span, Span(start, len(block)))
                yield memoryview(block)[part.offset - start : part.end - start]

    def _settle(self, checks: PartChecks, span: Span) -> None:
        """Let nothing through that is known to be damaged; a later read fetches it anew."""
        try:
            with self._told():
                checks.settle(span)
        except Integrity:
            for part in checks.forget(span):
                for number in ranges.blocks(part.span, self._length):
                    self.shared.cache.drop(self._key(number))
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Integrity as error:
            raise Integrity(f"{self.name}: {error.message}", hint=error.hint) from None

    def _blocks(self, span: Span) -> Iterator[tuple[int, bytes]]:
        """The blocks that ``span`` touches, in order. What is missing is asked for, what comes next too."""
        wanted = ranges.blocks(span, self._length)
        held: dict[int, bytes] = {}
        with self._lock:
            if self._failure is not None:
                raise self._failure
            limit = self.shared.window(id(self), self._policy.sequential)
            ahead = ranges.overlap(self._policy.note(span, limit), Span(0, self.size))
            waited = {number: self._pending[number] for number in wanted if number in self._pending}
            missing = []
            for number in wanted:
                if number not in waited:
                    block = self._cached(number)
                    if block is None:
                        missing.append(number)
                    else:
                        held[number] = block
            needed = self._register(missing)
            early = self._register(
                number
                for number in ranges.blocks(ahead, self._length)
                if number >= wanted.stop and number not in self._pending and not self._is_cached(number)
            )
        self.shared.count(hits=len(held), misses=len(wanted) - len(held))
        for run in [*needed[1:], *early]:
            if not self.shared.submit(self._task(run)):
                self._fail(run, Cancelled(f"{self.name}: reading has ended."))
        if needed:
            self._load(needed[0])
        for run in needed:
            waited |= run.blocks
        for number in wanted:
            yield number, held[number] if number in held else self._await(waited[number])

    def _await(self, future: Future[T]) -> T:
        """What another thread fetches; Cancelled soon after the user asked to stop, whatever that one waits for."""
        while not future.done() and not wait((future,), 0.5).done:
            self._engine.stop.check()
        return future.result()

    def _register(self, numbers: Iterable[int]) -> list[_Run]:
        """Requests for blocks, which from now on are under way. Under the lock."""
        made = [_Run(run) for run in ranges.runs(numbers, max(1, REQUEST // self._length))]
        for run in made:
            self._pending |= run.blocks
        return made

    def _task(self, run: _Run) -> Callable[[], None]:
        def load() -> None:
            try:
                if self._failure is not None:
                    raise self._failure
                self._load(run)
            except ScoreError as error:  # raised for whoever waits for one of the blocks
                self._fail(run, error)

        return load

    def _load(self, run: _Run) -> None:
        """Fetch the blocks of a run. What has come when a request fails is not asked for again."""
        end = min(run.numbers.stop * self._length, self.size)

        def rest() -> None:
            span = Span(run.at * self._length, end - run.at * self._length)
            self._urls.use(1, lambda url: self._get(url, span, lambda data: self._arrived(run, data)))

        try:
            self._engine.persist(rest, f"{self.name}: bytes from {run.at * self._length:,}")
        except BaseException as error:
            self._fail(run, error)
            raise

    def _arrived(self, run: _Run, data: bytes) -> None:
        number = run.at
        run.at += 1
        self.shared.cache.put(self._key(number), data)
        with self._lock:
            self._pending.pop(number, None)
        run.blocks[number].set_result(data)
        if self._checks is not None:
            self._checks.arrived(number)

    def _fail(self, run: _Run, error: BaseException) -> None:
        """Tell whoever waits for what did not come; a later read asks for it anew, unless the object is another."""
        error = _for_others(error)
        with self._lock:
            if isinstance(error, Conflict):
                self._failure = self._failure or error
            left = [number for number in run.numbers if self._pending.pop(number, None) is not None]
        for number in left:
            run.blocks[number].set_exception(error)

    def _submit(self, span: Span) -> Future[bytes]:
        """Fetch ``span`` past the cache, in a thread."""
        future: Future[bytes] = Future()
        got: list[bytes] = []

        def rest() -> None:
            have = sum(map(len, got))
            if have < span.length:
                left = Span(span.offset + have, span.length - have)
                self._urls.use(1, lambda url: self._get(url, left, got.append))

        def fetch() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                if self._failure is not None:
                    raise self._failure
                self._engine.persist(rest, f"{self.name}: bytes from {span.offset:,}")
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)
            else:
                future.set_result(got[0] if len(got) == 1 else b"".join(got))

        if not self.shared.submit(fetch):
            future.set_exception(Cancelled(f"{self.name}: reading has ended."))
        return future

    def _get(self, url: str, span: Span, take: Callable[[bytes], None]) -> None:
        """One request for ``span``, handed over block by block as it comes; the last one may be shorter."""
        headers = {"Range": span.http_range}
        etag = self.shared.etag(self._version)
        if etag and not etag.startswith("W/"):
            headers["If-Match"] = etag
        self.shared.count(requests=1)
        response = self._engine.http.request("GET", url, headers=headers, stream=True)
        whole = False
        try:
            if response.status >= 300:
                raise self._replaced() if response.status == 412 else store_error(response, "GET", url)
            self._check_answer(response, url, span)
            left = span.length
            while left:
                self._engine.stop.check()
                if isinstance(self._failure, Cancelled):
                    raise self._failure
                count = min(self._length, left)
                take(read_exactly(response, url, count))
                left -= count
                self.shared.count(received=count)
                self._engine.listener(Moved(self.name, count))
            whole = True
        finally:
            if whole:
                response.release_conn()
            else:
                response.close()

    def _check_answer(self, response: BaseHTTPResponse, url: str, span: Span) -> None:
        """Whether the answer is what was asked for, of the version that was asked for."""
        etag = response.headers.get("ETag", "")
        if (etag and self.shared.etag(self._version, etag) != etag) or is_of_another_size(response, self.size):
            raise self._replaced()
        check_range(response, url, span, self.size)

    def _replaced(self) -> Conflict:
        return Conflict(
            f"{self.name} was replaced in the store while it was being read.", hint="Open it again to read it anew."
        )

    def _key(self, number: int) -> tuple[str, int]:
        return self._version, number

    def _cached(self, number: int) -> bytes | None:
        return self.shared.cache.get(self._key(number))

    def _is_cached(self, number: int) -> bool:
        return self.shared.cache.holds(self._key(number))


def _for_others(error: BaseException) -> Exception:
    """What the failure of one thread is to those who wait for it: an interrupt is meant for the one it came to."""
    return error if isinstance(error, Exception) else Cancelled("Stopped.")


def _is_there(url: str) -> None:
    """What is done with a URL that is only to be had."""
