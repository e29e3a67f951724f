"""The files that can be mounted, as the metadata service tells of them: listed page by page in the background, single
analyses and objects at once, sizes when they are wanted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from score.client.client import Client
from score.client.records import Record, records
from score.errors import Cancelled, Forbidden, NotFound, NotReady, ScoreError, Unauthenticated, Unavailable
from score.mount.index import File, Index
from score.protocol.ids import is_uuid
from score.protocol.wire import Entity

AGAIN = 60.0
"""Seconds after which what was not there, or was refused, is asked for again."""
AWAY = 10.0
"""Seconds in which nobody waits again for a service that did not answer: long enough for a program that asks for one
file of a folder after the other."""
_REMEMBERED = 10_000
_LOCKS = 64

Say = Callable[[str], None]
T = TypeVar("T")


class Repository:
    """The files of a server, or with ``wanted`` the objects of a manifest and their index files. Safe for threads.

    Errors are those of the calls: NotFound, Forbidden, Unauthenticated, Unavailable (patience has ended), Cancelled.
    """

    def __init__(self, client: Client, index: Index, say: Say, wanted: Sequence[str] | None = None) -> None:
        self.index = index
        self._client = client
        self._say = say
        self._wanted = wanted
        self._run = 0
        self._changed = threading.Condition()
        self._filling = False
        self._filled = False
        self._known = index.complete
        self._failure: ScoreError | None = None
        self._asked = _Recent(AGAIN)
        self._refused = _Recent(AGAIN)
        self._away = _Recent(AWAY)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._expected: frozenset[str] = frozenset()
        self._pool = ThreadPoolExecutor(client.settings.parallel, thread_name_prefix="metadata")

    def start(self) -> None:
        """Begin to list. A list that is known from before serves until this one is whole."""
        with self._changed:
            self._run = self._run or self.index.begin()
            if not self._filling:
                self._filling = True
                threading.Thread(target=self._fill, name="list", daemon=True).start()

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def complete(self) -> bool:
        """Whether the list is there, from now or from before."""
        return self._known or self._filled

    def wait(self) -> None:
        """Return when the list is there, from now or from before.

        Raises what kept it from being filled; the next call tries again.
        """
        if self._known:
            return
        with self._changed:
            if not self._filling and not self._filled:
                self.start()
            while self._filling:
                self._changed.wait(0.5)
                self._client.stop.check()
            if self._failure is not None and not self._filled:
                raise self._failure

    def bundle(self, analysis: str) -> list[File]:
        """The files of an analysis. Raises NotFound where it is unknown."""
        if self._wanted is not None:
            self.wait()
        found = self.index.bundle(analysis)
        if self._wanted is None and not (found and self.complete):  # a page may have brought a part of it
            self._look(lambda: self._client.song.entities(analysis), analysis)
            found = self.index.bundle(analysis)
        if not found:
            raise NotFound(f"There is no analysis {analysis}.")
        return found

    def object(self, object_id: str) -> File:
        """A file by its object id. Raises NotFound."""
        if self._wanted is not None:
            self.wait()
        found = self.index.object(object_id)
        if found is None and self._wanted is None and is_uuid(object_id):
            self._look(lambda: [self._client.song.entity(object_id)], object_id)
            found = self.index.object(object_id)
        if found is None:
            raise NotFound(f"There is no object {object_id}.")
        return found

    def sized(self, file: File, following: Callable[[], Iterable[File]]) -> File:
        """The file with its size and time. ``following`` gives files that come next in the same folders: whoever goes
        through them finds their sizes known.

        Raises Forbidden, NotReady or Unauthenticated where the metadata service does not tell and the server refuses.
        """
        if file.size is not None:
            return file
        coming = list(following())
        expected, self._expected = self._expected, frozenset(one.analysis for one in coming)
        if file.analysis in expected:
            for one in {one.analysis: one for one in coming}.values():
                self._ahead(one)
        return self._learn(file)

    def found(self, file: File, size: int) -> None:
        """The server said another size than was known."""
        self.index.learn([Record(file.object_id, size)])

    def _ahead(self, file: File) -> None:
        def learn() -> None:
            with contextlib.suppress(ScoreError):  # said when it is asked for
                self._learn(file)

        if file.size is None:
            try:
                self._pool.submit(learn)
            except RuntimeError:
                return  # closed

    def _learn(self, file: File) -> File:
        """Ask for the sizes of all files of an analysis, or of one file where that does not help; each once."""
        with self._locks[hash(file.analysis) % _LOCKS]:
            known = self.index.object(file.object_id) or file
            if known.size is not None:
                return known
            what = f"{file.analysis}: asking for sizes"
            if file.study and self._asked.may(f"sizes of {file.analysis}"):
                try:
                    document = self._ask(lambda: self._client.song.document(file.study, file.analysis), what)
                except (Cancelled, Unavailable, Unauthenticated):
                    raise
                except ScoreError:
                    document = {}
                self.index.learn(records(document))
                known = self.index.object(file.object_id) or file
            if known.size is not None:
                return known
            refusal = self._refused.get(file.object_id)
            if refusal is not None:
                raise refusal
            try:
                found = self._ask(
                    lambda: self._client.score.download(file.object_id, urls=False), f"{file.object_id}: asking"
                )
            except (Forbidden, NotReady, NotFound, Unauthenticated) as error:
                self._refused.put(file.object_id, error)
                raise
            self.index.learn([Record(file.object_id, found.object_size)])
        return self.index.object(file.object_id) or file

    def _ask(self, call: Callable[[], T], what: str) -> T:
        """Have an answer, with patience; where that just ended for others, have their failure at once. The Score
        server asks the metadata service as well: where one of the two is away, nothing is to be had of the other."""
        failure = self._away.get("")
        if failure is not None:
            raise failure
        try:
            return self._client.engine.persist(call, what)
        except Unavailable as error:
            self._away.put("", error)
            raise

    def _look(self, ask: Callable[[], Iterable[Entity]], key: str) -> None:
        """Ask for a few files before their turn, once in a while; whoever comes meanwhile waits for the answer."""
        with self._locks[hash(key) % _LOCKS]:
            if not self._asked.may(key):
                return
            try:
                found = self._ask(lambda: list(ask()), f"{key}: asking the metadata service")
            except NotFound:
                return
            except ScoreError:
                self._asked.forget(key)
                raise
            self.index.add(found, self._run)

    def _fill(self) -> None:
        failure: ScoreError | None = None
        try:
            if self._wanted is None:
                self._list()
            else:
                self._list_wanted(self._wanted)
            self.index.finish(self._run)
        except Cancelled as error:
            failure = error
        except ScoreError as error:
            failure = error
            self._say(f"The list of files is not complete: {error}")
        finally:
            with self._changed:
                self._filling = False
                self._filled = failure is None
                self._failure = failure
                self._changed.notify_all()

    def _list(self) -> None:
        for page in self._client.catalog.pages("asking the metadata service for the list of files"):
            self.index.add(page, self._run)
        self._say(f"{self.index.count:,} files are listed.")

    def _list_wanted(self, wanted: Sequence[str]) -> None:
        def one(object_id: str) -> None:
            try:
                entity = self._client.catalog.entity(object_id)
                index = self._client.catalog.index_of(entity)
            except (Cancelled, Unavailable, Unauthenticated):
                raise
            except ScoreError as error:
                self._say(f"{object_id}: left out: {error}")
                return
            self.index.add([entity, index] if index else [entity], self._run)

        for _ in self._pool.map(one, wanted):
            self._client.stop.check()


class _Recent:
    """What was asked for or refused in the last ``seconds``. Safe for threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._at: OrderedDict[str, tuple[float, ScoreError | None]] = OrderedDict()

    def may(self, key: str) -> bool:
        """Whether ``key`` was not asked for in the last while; it is now."""
        with self._lock:
            if self._fresh(key):
                return False
            self._put(key, None)
            return True

    def get(self, key: str) -> ScoreError | None:
        """The refusal of a short time ago."""
        with self._lock:
            return self._at[key][1] if self._fresh(key) else None

    def put(self, key: str, error: ScoreError) -> None:
        """Note a refusal."""
        with self._lock:
            self._put(key, error)

    def forget(self, key: str) -> None:
        """It may be asked for again."""
        with self._lock:
            self._at.pop(key, None)

    def _fresh(self, key: str) -> bool:
        return key in self._at and time.monotonic() - self._at[key][0] < self._seconds

    def _put(self, key: str, error: ScoreError | None) -> None:
        self._at[key] = (time.monotonic(), error)
        self._at.move_to_end(key)
        while len(self._at) > _REMEMBERED:
            self._at.popitem(last=False)
