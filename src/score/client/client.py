"""The SDK's face: one object that uploads and downloads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from score.client import settings as configuration
from score.client.calls import Endpoint, Score, Song
from score.client.catalog import Catalog
from score.client.download import Download
from score.client.lanes import Lanes, Later, is_large
from score.client.layout import Claims, Layout, place
from score.client.manifests import UploadEntry
from score.client.outcome import Outcome, State
from score.client.settings import Settings
from score.client.tls import unverified
from score.client.upload import BlockUpload, Upload
from score.errors import Cancelled, NoSpace, Refused, ScoreError, Unauthenticated, Unavailable
from score.protocol.digests import check_md5
from score.protocol.ids import check_object_id
from score.protocol.wire import Entity, Specification
from score.transfer.bandwidth import Throttle, parse
from score.transfer.budget import Budget
from score.transfer.engine import Engine
from score.transfer.events import Ended, Listener, ignore
from score.transfer.files import md5_of_file, translate
from score.transfer.http import Http
from score.transfer.retry import Stop
from score.transfer.workers import Workers

T = TypeVar("T")

GRACE = 3.0
"""Seconds for transfers to notice that the user asked to stop."""
PROFILES = ("s3", "az")
"""The kinds of stores that this client can upload to."""
FATAL = (Unauthenticated, NoSpace)
"""What every further item of a run would meet too."""


class Client:
    """Uploads and downloads objects of one Score server. Use it as a context manager, or call :meth:`close`.

    ``listener`` is called from many threads with the events of :mod:`score.transfer.events`.
    """

    def __init__(self, settings: Settings | None = None, *, listener: Listener = ignore) -> None:
        """Raises Misconfigured where no settings are given and none are found in the usual places."""
        if settings is None:
            settings = configuration.settings(configuration.read((), os.environ, Path()))
        self.settings = settings
        self.stop = Stop()
        context, name = settings.tls.context(), settings.tls.trusted_name
        self.http = Http(settings.parallel * 2, settings.timeouts, context, trusted_name=name)
        self._song_http = self.http
        song_token = settings.token
        if not settings.verify_metadata and settings.metadata_url.startswith("https:"):
            # Nobody knows who answers: whoever it is, it does not get the token.
            self._song_http, song_token = Http(settings.parallel, settings.timeouts, unverified()), ""
        budget = Budget.within(settings.parallel, settings.memory)
        throttle = Throttle(self.stop)
        workers = Workers(budget.parts)
        self.engine = Engine(self.http, workers, settings.patience, self.stop, listener, budget, throttle)
        self.score = Score(Endpoint(self.http, settings.storage_url, settings.token))
        self.song = Song(Endpoint(self._song_http, settings.metadata_url, song_token))
        self.catalog = Catalog(self.engine, self.song)
        self._profile: str | None = None
        self._asking = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back threads and connections."""
        self.stop.set()  # whatever still runs after a failure ends soon
        self.engine.workers.close()
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

    def upload(self, path: Path, object_id: str, md5: str = "", *, force: bool = False) -> Outcome:
        """Upload a file; without ``md5`` the file's own is computed first. Raises the error that stopped it."""
        return self._upload(path, object_id, md5, force, large=True)

    def _upload(self, path: Path, object_id: str, md5: str, force: bool, *, large: bool) -> Outcome:
        """Upload a file; Later where it is a large one, and ``large`` is false."""
        if not large and is_large(path):
            raise Later
        check_object_id(object_id)
        expected = check_md5(md5) if md5 else md5_of_file(path, self.stop.check)
        state = self.settings.upload_state
        given = (self.engine, self.score, self.catalog, object_id, path, expected, force, state)
        if self._kind() == "az":
            return BlockUpload(*given, self.settings.block_size).run()
        return Upload(*given).run()

    def _kind(self) -> str:
        """How the server wants uploads; asked once, by whichever thread comes first."""
        with self._asking:
            return self._profile or self.connect(verify=False)

    def upload_all(self, entries: Sequence[UploadEntry], *, force: bool = False) -> list[Outcome]:
        """Upload the files of a manifest, several at once. One that fails does not stop the rest."""

        def one(entry: UploadEntry, large: bool) -> list[Outcome]:
            return [self._upload(entry.path, entry.object_id, entry.md5, force, large=large)]

        return self._each(entries, one, lambda entry: (entry.object_id, entry.path))

    def download(
        self,
        object_ids: Iterable[str],
        out: Path,
        *,
        layout: Layout = Layout.FILENAME,
        index: bool = True,
        offset: int = 0,
        length: int = -1,
        force: bool = False,
        validate: bool = True,
    ) -> list[Outcome]:
        """Download objects into a folder, several at once. One that fails does not stop the rest.

        With ``index`` the index file of a BAM, CRAM or VCF comes along. Raises where the folder cannot be made.
        """
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate(error, out) from error
        claims = Claims()
        begun: set[str] = set()
        lock = threading.Lock()
        pairs: list[tuple[str, str]] = []

        def once(entity: Entity, large: bool) -> list[Outcome]:
            with lock:
                if entity.id in begun:
                    return []
                begun.add(entity.id)
            path: Path | None = None
            try:
                path = place(out, layout, entity)
                job = Download(
                    self.engine, self.score, entity, out, layout, claims, offset, length, force, validate, large
                )
                return [job.run()]
            except Later:
                begun.discard(entity.id)
                raise
            except (Cancelled, *FATAL):
                raise
            except ScoreError as error:
                return [Outcome(entity.id, State.FAILED, path, error=error)]

        def one(object_id: str, large: bool) -> list[Outcome]:
            entity = self.catalog.entity(object_id)
            found = self.catalog.index_of(entity) if index else None
            if found is None:
                return once(entity, large)
            pairs.append((entity.id, found.id))
            return once(entity, large) + once(found, True)

        ids = list(dict.fromkeys(check_object_id(object_id) for object_id in object_ids))
        outcomes = self._each(ids, one, lambda object_id: (object_id, None))
        _date_indexes({outcome.object_id: outcome for outcome in outcomes}, pairs)
        return outcomes

    def analysis(self, study: str, analysis: str) -> list[str]:
        """The object ids of an analysis. Raises NotFound where it has none."""
        return [entity.id for entity in self.catalog.analysis(study, analysis)]

    def url(self, object_id: str) -> str:
        """A pre-signed URL of an object for any HTTP client. It is a secret while it lasts."""
        check_object_id(object_id)
        found: Specification = self.engine.persist(
            lambda: self.score.download(object_id, external=True), f"{object_id}: asking for a URL"
        )
        if len(found.parts) != 1 or not found.parts[0].url:
            raise Refused(f"{object_id}: the server gave no URL.", hint="Tell the operator of the server.")
        return found.parts[0].url

    def _each(
        self,
        items: Sequence[T],
        one: Callable[[T, bool], list[Outcome]],
        name: Callable[[T], tuple[str, Path | None]],
    ) -> list[Outcome]:
        """Run ``one`` on every item in threads; failures become outcomes, in the order of the items. ``one`` is told
        whether it is in the lane of large files, and raises Later where it should be.

        An error that every further item would meet too ends the rest at once.
        """
        fatal: list[ScoreError] = []

        def guarded(item: T, large: bool) -> list[Outcome]:
            object_id, path = name(item)
            if fatal:
                return [Outcome(object_id, State.FAILED, path, error=fatal[0])]
            try:
                outcomes = one(item, large or len(items) == 1)
            except Cancelled:
                raise
            except ScoreError as error:
                if isinstance(error, FATAL):
                    fatal.append(error)
                outcomes = [Outcome(object_id, State.FAILED, path, error=error)]
            for outcome in outcomes:
                text = str(outcome.error) if outcome.error else ""
                self.engine.listener(Ended(str(outcome.path or outcome.object_id), outcome.state, text))
            return outcomes

        lanes = Lanes(min(self.engine.budget.files, len(items) or 1), self.engine.budget.parts)
        futures = [lanes.submit(partial(guarded, item)) for item in items]
        try:
            return [outcome for future in futures for outcome in self._result(future)]
        except (KeyboardInterrupt, Cancelled):
            self.stop.set()
            for future in futures:
                future.cancel()
            wait(futures, timeout=GRACE)
            raise self._interrupted(futures) from None
        finally:
            lanes.close()

    def _result(self, future: Future[list[Outcome]]) -> list[Outcome]:
        while not future.done():
            wait([future], timeout=0.5)  # in pieces, so that an interrupt is seen
            self.stop.check()
        return future.result()

    def _interrupted(self, futures: Sequence[Future[list[Outcome]]]) -> Cancelled:
        """What is said of a run that was stopped in the middle."""
        done = sum(one.done() and not one.cancelled() and one.exception() is None for one in futures)
        why = "The time of this run is over" if self.stop.is_late else "Interrupted"
        left = f"{done} of {len(futures)} files were dealt with, {len(futures) - done} remain"
        return Cancelled(
            f"{why}: {left}; what is finished is kept.", hint="Run the same command again to go on from there."
        )


def _date_indexes(outcomes: Mapping[str, Outcome], pairs: Iterable[tuple[str, str]]) -> None:
    """Make no index older than its data: tools that read it warn of that, or refuse it."""
    for data, index in pairs:
        paths = [outcomes[one].path for one in (data, index) if one in outcomes and outcomes[one].good]
        if len(paths) == 2 and paths[0] and paths[1]:
            with contextlib.suppress(OSError):
                if paths[1].stat().st_mtime_ns < paths[0].stat().st_mtime_ns:
                    os.utime(paths[1])
