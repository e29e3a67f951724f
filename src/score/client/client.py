"""The SDK's face: one object that uploads and downloads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sized
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeAlias, TypeVar

from score.client.calls import Endpoint, Score, Song
from score.client.catalog import Catalog
from score.client.download import Wanted
from score.client.downloads import Downloads
from score.client.layout import Layout
from score.client.manifests import UploadEntry
from score.client.many import Later, Many, is_large
from score.client.outcome import Outcome, Stored
from score.client.packed import packed_ids
from score.client.registered import Registered
from score.client.settings import Settings
from score.client.source import ObjectSource
from score.client.tls import unverified
from score.client.transfer import Transfer
from score.client.upload import BlockUpload, Upload
from score.errors import (
    Conflict,
    Forbidden,
    NotFound,
    NotReady,
    Refused,
    Unauthenticated,
    Unavailable,
)
from score.protocol.digests import check_md5, to_hex
from score.protocol.ids import check_object_id
from score.protocol.parts import MIB
from score.protocol.wire import Listed, Specification
from score.reading import RemoteFile, RemoteObject, Shared
from score.transfer.bandwidth import Throttle, parse
from score.transfer.budget import Budget
from score.transfer.engine import Engine
from score.transfer.events import Event, Listener, ignore
from score.transfer.files import TEMPORARY, translated
from score.transfer.http import Http, last_modified
from score.transfer.journal import places
from score.transfer.lock import held
from score.transfer.outage import Outage
from score.transfer.retry import Stop
from score.transfer.workers import Workers

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
ObjectIds: TypeAlias = list[str]
ObjectsByName: TypeAlias = dict[str, str]
Outcomes: TypeAlias = list[Outcome]  # within the class, ``list`` is a method

PROFILES = ("s3", "az")
"""The kinds of stores that this client can upload to."""


class Client:
    """Uploads and downloads objects of one Score server. Use it as a context manager, or call :meth:`close`.

    ``listener`` is called from many threads with the events of :mod:`score.transfer.events`.
    """

    def __init__(
        self, settings: Settings | None = None, *, listener: Listener = ignore, block: int | None = None
    ) -> None:
        """``block``: bytes that readers fetch and keep at a time; a large one makes long reads faster, a small one
        short ones. Raises Misconfigured where no settings are given and none are found in the usual places."""
        if settings is None:
            settings = Settings.load()
        self.settings = settings
        self.stop = Stop()
        self._listener = listener
        self._transfers: list[Transfer[Any]] = []
        context, name = settings.tls.context(), settings.tls.trusted_name
        outage = Outage()
        self.http = Http(
            settings.parallel * 2, settings.timeouts, context, trusted_name=name, answered=outage.answered
        )
        self._song_http = self.http
        song_token = settings.token
        if not settings.verify_metadata and settings.metadata_url.startswith("https:"):
            # Nobody knows who answers: whoever it is, it does not get the token.
            self._song_http = Http(settings.parallel, settings.timeouts, unverified(), answered=outage.answered)
            song_token = ""
        budget = Budget.within(settings.parallel, settings.memory)
        workers, throttle = Workers(budget.parts), Throttle(self.stop)
        self.engine = Engine(self.http, workers, settings.patience, self.stop, self._tell, budget, throttle, outage)
        self.score = Score(Endpoint(self.http, settings.storage_url, settings.token))
        self.song = Song(Endpoint(self._song_http, settings.metadata_url, song_token))
        self.catalog = Catalog(self.engine, self.song)
        self._profile: str | None = None
        self._asking = threading.Lock()
        self._shared: Shared | None = None
        self._block = block

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back threads and connections."""
        self.stop.end("This client is closed.")  # whatever still runs after a failure ends soon
        self.engine.workers.close()
        if self._shared is not None:
            self._shared.close()
        self.http.close()
        self._song_http.close()

    def limit_bandwidth(self, timetable: str) -> None:
        """Move bytes no faster than ``timetable`` says, over all files and threads: see
        :mod:`score.transfer.bandwidth`. Empty: no limit. Raises Invalid."""
        self.engine.throttle.limit(parse(timetable) if timetable else None)

    def stop_after(self, seconds: float) -> None:
        """Stop when ``seconds`` are over, as if the user had asked for it then: transfers raise Cancelled, and the
        same calls go on from there later."""
        self.stop.after(seconds)

    def connect(self, *, verify: bool = True) -> str:
        """Ask the server how to upload (``s3`` or ``az``), and with ``verify`` fetch the store's sentinel.

        Raises Refused where the server wants clients that this one is not, and what stands in the way of a call.
        """
        try:
            profile = self.engine.persist(self.score.profile, f"asking {self.settings.storage_url}")
        except Unauthenticated:
            profile = self.settings.default_profile
        if profile not in PROFILES:
            raise Refused(
                f"{self.settings.storage_url} keeps its objects in a store of kind {profile[:20]!r}, "
                "which this client cannot use.",
                hint="Check the address.",
            )
        self._profile = profile
        if verify:
            try:
                self.engine.persist(self.score.ping, "reaching the object store")
            except Unavailable as error:
                raise Unavailable(
                    f"The object store cannot be reached from here: {error.message}",
                    hint="Check the network and the proxy; --verify-connection false leaves this check out.",
                ) from error
        return profile

    def upload(self, path: Path | str, object_id: str, md5: str = "", *, force: bool = False) -> Outcome:
        """Upload a file; without ``md5`` it has to have the one that is registered, and where none is, its own is
        computed first. Raises the error that stopped it."""
        check_object_id(object_id)
        path = Path(path)
        state = self.settings.upload_state
        with held(places(path, state), object_id, str(path)):
            registered, expected = Registered(self.catalog, object_id), check_md5(md5) if md5 else ""
            given = (self.engine, self.score, registered, object_id, path, expected, force, state)
            if self._kind() == "az":
                return BlockUpload(*given, self.settings.block_size).run()
            return Upload(*given).run()

    def _kind(self) -> str:
        """How the server wants uploads; asked once, by whichever thread comes first."""
        with self._asking:
            return self._profile or self.connect(verify=False)

    def upload_each(self, entries: Iterable[UploadEntry], *, force: bool = False) -> Iterator[Outcome]:
        """Upload files, several at once, and give what became of each as they end.

        One that fails does not stop the rest. Entries are taken as they are needed, and outcomes are not kept:
        memory does not grow with their number.
        """
        for _, outcome in self._upload(entries, force):
            yield outcome

    def upload_all(self, entries: Iterable[UploadEntry], *, force: bool = False) -> Outcomes:
        """:meth:`upload_each`, with the outcomes in the order of the entries, when all have ended."""
        return _in_order(self._upload(entries, force))

    def _upload(self, entries: Iterable[UploadEntry], force: bool) -> Iterator[tuple[int, Outcome]]:
        def one(entry: UploadEntry, large: bool) -> Outcomes:
            if not large and is_large(Path(entry.path)):
                raise Later
            return [self.upload(entry.path, entry.object_id, entry.md5, force=force)]

        return self._run(entries, one, lambda entry: (entry.object_id, Path(entry.path)))

    def download_each(
        self,
        object_ids: Iterable[str],
        out: Path | str,
        *,
        layout: Layout = Layout.FILENAME,
        index: bool = True,
        offset: int = 0,
        length: int = -1,
        force: bool = False,
        validate: bool = True,
        skip: Container[str] = (),
    ) -> Iterator[Outcome]:
        """Download objects into a folder, several at once, and give what became of each as they end.

        One that fails does not stop the rest. With ``index`` the index file of a BAM, CRAM or VCF comes along, unless
        it is among ``skip``: others fetch it. Raises where the folder cannot be made, Invalid where an id is none.
        """
        wanted = Wanted(Path(out), layout, index, offset, length, force, validate, skip)
        for _, outcome in self._download(object_ids, wanted):
            yield outcome

    def download(
        self,
        object_ids: Iterable[str],
        out: Path | str,
        *,
        layout: Layout = Layout.FILENAME,
        index: bool = True,
        offset: int = 0,
        length: int = -1,
        force: bool = False,
        validate: bool = True,
    ) -> Outcomes:
        """:meth:`download_each`, with the outcomes in the order of the ids, when all have ended."""
        wanted = Wanted(Path(out), layout, index, offset, length, force, validate)
        return _in_order(self._download(object_ids, wanted))

    def _download(self, object_ids: Iterable[str], wanted: Wanted) -> Iterator[tuple[int, Outcome]]:
        downloads = Downloads(self.engine, self.score, self.catalog, wanted)
        yield from self._run(packed_ids(object_ids), downloads.one, lambda object_id: (object_id, None))
        downloads.date_indexes()

    def analysis(self, study: str, analysis: str) -> ObjectIds:
        """The object ids of an analysis. Raises NotFound where it has none."""
        return [entity.id for entity in self.catalog.analysis(study, analysis)]

    def files(self, study: str, analysis: str) -> ObjectsByName:
        """The object ids of an analysis by the names of its files. Raises NotFound where it has none."""
        return {entity.file_name: entity.id for entity in self.catalog.analysis(study, analysis)}

    def open(self, object_id: str, name: str = "") -> RemoteFile:
        """An object as a file: read-only, seekable, nothing is downloaded but what is read and what follows it.

        ``name`` is what messages call it. Errors, here and of reads, are those of
        :class:`score.reading.remote.RemoteObject`.
        """
        return RemoteFile(self.remote(object_id, name))

    def remote(self, object_id: str, name: str = "") -> RemoteObject:
        """An object to be read at any place, by any number of threads; nothing is asked before the first use."""
        return RemoteObject(self.shared, ObjectSource(self.score, check_object_id(object_id)), name)

    @property
    def shared(self) -> Shared:
        """Threads and cache of all objects that this client reads. Raises NotFound, Refused and NoSpace of the folder
        of the cache."""
        with self._asking:
            if self._shared is None:
                disk, folder = int(self.settings.cache_disk * 1024 * MIB), self.settings.cache_folder
                with translated(f"reading.cache.folder: {folder}" if folder else TEMPORARY):
                    self._shared = Shared(self.engine, block=self._block, disk=disk, folder=folder)
            return self._shared

    def url(self, object_id: str) -> str:
        """A pre-signed URL of an object for any HTTP client. It is a secret while it lasts."""
        check_object_id(object_id)
        found: Specification = self.engine.persist(
            lambda: self.score.download(object_id, external=True), f"{object_id}: asking for a URL"
        )
        if len(found.parts) != 1 or not found.parts[0].url:
            raise Refused(f"{object_id}: the server gave no URL.", hint="Tell the operator of the server.")
        return found.parts[0].url

    def exists(self, object_id: str) -> bool:
        """Whether the object is in the store, published or not."""
        check_object_id(object_id)
        with contextlib.suppress(NotFound):
            try:
                return self.engine.persist(
                    lambda: self.score.exists(object_id), f"{object_id}: asking for the object"
                )
            except (Unauthenticated, Forbidden):  # who may not upload is not told so
                return bool(self.stat(object_id))
        return False

    def modified(self, object_id: str) -> datetime:
        """When the object came into the store, by the store's clock. Raises NotFound.

        Of a server of the reference it costs the answer to :meth:`list`, where the object may not be read, as before
        its analysis is published; raises NotReady where that is older than the object.
        """
        try:
            url = self.url(object_id)
            response = self.engine.persist(
                lambda: self.http.request("GET", url, stream=True), f"{object_id}: its age"
            )
            response.close()  # only its head is wanted
            if response.status < 300 and (when := last_modified(response)):
                return when
        except (Conflict, Forbidden, Refused):
            pass
        with contextlib.suppress(Unauthenticated, Forbidden):  # who may not upload is not told so
            if when := self.engine.persist(
                lambda: self.score.completed(object_id), f"{object_id}: asking for its age"
            ):
                return when
        for listed in self.list():
            if listed.id == object_id:
                return datetime.fromtimestamp(listed.last_modified / 1000, UTC)
        if self.exists(object_id):
            raise NotReady(
                f"{object_id}: its age is not known yet: it is younger than the list of the server.",
                hint="Ask again in a few minutes.",
            )
        raise NotFound(f"{object_id}: there is no such object.", hint="Check the id, and whether it was uploaded.")

    def stat(self, object_id: str) -> Stored:
        """What is known of an object in the store, whether its analysis is published or not. Raises NotFound."""
        check_object_id(object_id)
        entity = self.catalog.entity(object_id)
        found = self.engine.persist(
            lambda: self.score.download(object_id, urls=False), f"{object_id}: asking for its size"
        )
        md5 = to_hex(found.object_md5)
        return Stored(
            entity.id, found.object_size, md5, entity.file_name, entity.gnos_id, entity.project_code, entity.access
        )

    def begin(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Transfer[R]:
        """Make a call of this client in a thread of its own, and come back at once.

        ::

            transfer = client.begin(client.download, ids, Path("data"))
            for event in transfer:
                ...
            outcomes = transfer.result()
        """
        transfer = Transfer(lambda: call(*args, **kwargs), self.cancel)
        with self._asking:
            self._transfers = [known for known in self._transfers if not known.done] + [transfer]
            transfer.start()
        return transfer

    def cancel(self) -> None:
        """End what runs, from any thread: calls raise Cancelled within seconds. What is finished is kept.

        The client is of no use afterwards; the same calls of another one go on from there.
        """
        self.stop.set()

    def list(self) -> Iterator[Listed]:
        """Every object of the store, published or not, as the server lists them; its list may be minutes old."""
        found = self.engine.persist(self.score.listing, "asking for the list of objects")
        return iter(found)

    def _tell(self, event: Event) -> None:
        self._listener(event)
        for transfer in self._transfers:
            transfer.tell(event)

    def _run(
        self, items: Iterable[T], one: Callable[[T, bool], Outcomes], name: Callable[[T], tuple[str, Path | None]]
    ) -> Iterator[tuple[int, Outcome]]:
        budget = self.engine.budget
        alone = isinstance(items, Sized) and len(items) == 1  # then there are no small ones to let pass
        many = Many(
            lambda item: one(item, alone),
            name,
            budget.files,
            self.stop,
            self.engine.listener,
            lambda item: one(item, True),
            budget.parts,
            self.engine.outage,
        )
        for number, outcomes in many.run(items):
            for outcome in outcomes:
                yield number, outcome


def _in_order(outcomes: Iterable[tuple[int, Outcome]]) -> Outcomes:
    return [outcome for _, outcome in sorted(outcomes, key=lambda numbered: numbered[0])]
