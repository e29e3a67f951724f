"""What the server counts, in the text format of Prometheus. Each application has numbers of its own.

No label names an object, a study, a person or a path: values of labels are routes, methods, statuses, operations and
outcomes, of which there are few.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from score._version import __version__, commit
from score.broker.audit import Trail
from score.broker.cleanup import Swept
from score.server.watching import Backend

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STARTS = "/upload/{object_id}/uploads"

Lookups = Callable[[], tuple[int, int]]
"""How often something was found in a cache, and how often not."""


class Metrics:
    """Counts; ``text`` is what a scrape gets.

    What others count by themselves is read at each scrape: ``caches`` by name, ``retries`` by backend, and
    ``open_uploads``, None while nobody knows.
    """

    def __init__(self) -> None:
        self.caches: dict[str, Lookups] = {}
        self.retries: dict[Backend, Callable[[], int]] = {}
        self.open_uploads: Callable[[], int | None] = lambda: None
        self._registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        registry.register(_Read(self))
        self._requests = Counter(
            "score_http_requests", "Requests that were answered.", ["route", "method", "status"], registry=registry
        )
        self._durations = Histogram(
            "score_http_request_duration_seconds",
            "Time from the head of a request to the end of its answer.",
            ["route", "method"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._in_flight = Gauge("score_http_requests_in_flight", "Requests in work.", registry=registry)
        self._calls = Counter(
            "score_backend_calls",
            "Calls to the store, the registry and the authorization server; one that is repeated counts once.",
            ["backend", "operation", "outcome"],
            registry=registry,
        )
        self._call_durations = Histogram(
            "score_backend_call_duration_seconds",
            "Time of those calls; of listings, to their first entry.",
            ["backend", "operation"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._parts = Counter(
            "score_granted_parts", "Parts that URLs were handed out for.", ["direction"], registry=registry
        )
        self._bytes = Counter("score_granted_bytes", "Bytes of those parts.", ["direction"], registry=registry)
        self._uploads = Counter("score_uploads", "Uploads, by what became of them.", ["event"], registry=registry)
        self._cleanups = Counter("score_cleanup_runs", "Cleanups by schedule.", ["outcome"], registry=registry)
        self._swept = Counter(
            "score_cleanup_uploads", "Stale uploads that cleanups dealt with.", ["outcome"], registry=registry
        )
        self._cleaned = Gauge(
            "score_cleanup_last_success_timestamp_seconds",
            "When a cleanup last came to its end, since 1970; 0 before the first.",
            registry=registry,
        )
        for direction in ("upload", "download"):
            self._parts.labels(direction)
            self._bytes.labels(direction)
        for event in ("started", "completed", "cancelled"):
            self._uploads.labels(event)
        for outcome in ("done", "failed"):
            self._cleanups.labels(outcome)
        for outcome in ("removed", "failed"):
            self._swept.labels(outcome)
        self._request_series: dict[tuple[str, str, int], Counter] = {}
        self._duration_series: dict[tuple[str, str], Histogram] = {}
        self._call_series: dict[tuple[Backend, str, str], tuple[Counter, Histogram]] = {}

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All numbers and their media type, in the format that the header ``Accept`` prefers."""
        encode, media_type = choose_encoder(accept)
        return encode(_Plain(self._registry)), media_type

    def begun(self) -> None:
        """A request has arrived."""
        self._in_flight.inc()

    def answered(self, route: str, method: str, status: int, seconds: float, trail: Trail) -> None:
        """It is answered; status 0: not at all. ``route`` is a template."""
        self._in_flight.dec()
        method = method if method in _METHODS else "other"
        counter = self._request_series.get((route, method, status))
        if counter is None:
            counter = self._requests.labels(route, method, str(status) if status else "none")
            self._request_series[route, method, status] = counter
        counter.inc()
        histogram = self._duration_series.get((route, method))
        if histogram is None:
            histogram = self._duration_series[route, method] = self._durations.labels(route, method)
        histogram.observe(seconds)
        if trail.deed and 200 <= status < 300:
            self._did(route, trail)

    def _did(self, route: str, trail: Trail) -> None:
        match trail.deed:
            case "upload" | "download" as direction:
                self._parts.labels(direction).inc(int(trail.what.get("parts", 0)))
                self._bytes.labels(direction).inc(int(trail.what.get("bytes", 0)))
                if route == _STARTS:
                    self._uploads.labels("started").inc()
            case "completion":
                self._uploads.labels("completed").inc()
            case "cancellation":
                self._uploads.labels("cancelled").inc(int(trail.what.get("uploads", 1)))

    def watch(self, backend: Backend, operation: str) -> _Call:
        """Count what happens within, and how long it takes."""
        return _Call(self._call, backend, operation)

    def _call(self, backend: Backend, operation: str, error: type[BaseException] | None, seconds: float) -> None:
        outcome = "ok" if error is None else _outcome(error)
        series = self._call_series.get((backend, operation, outcome))
        if series is None:
            counter = self._calls.labels(backend, operation, outcome)
            series = counter, self._call_durations.labels(backend, operation)
            self._call_series[backend, operation, outcome] = series
        series[0].inc()
        series[1].observe(seconds)

    def cleaned(self, swept: Swept | None) -> None:
        """A cleanup is over; None where it failed."""
        self._cleanups.labels("failed" if swept is None else "done").inc()
        if swept is not None:
            self._cleaned.set_to_current_time()
            self._swept.labels("removed").inc(swept.removed)
            self._swept.labels("failed").inc(swept.failed)


class _Call:
    """Measures what happens within."""

    __slots__ = ("_backend", "_operation", "_start", "_tell")

    def __init__(
        self,
        tell: Callable[[Backend, str, type[BaseException] | None, float], None],
        backend: Backend,
        operation: str,
    ) -> None:
        self._tell = tell
        self._backend: Backend = backend
        self._operation = operation
        self._start = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._tell(self._backend, self._operation, kind, time.perf_counter() - self._start)


class _Read(Collector):
    """What is read at a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        """Nothing: the names are those below."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        caches = CounterMetricFamily(
            "score_cache_lookups", "Lookups of what is remembered.", labels=["cache", "result"]
        )
        for name, lookups in self._metrics.caches.items():
            for result, number in zip(("hit", "miss"), lookups(), strict=True):
                caches.add_metric([name, result], number)
        yield caches
        retries = CounterMetricFamily("score_backend_retries", "Repetitions within calls.", labels=["backend"])
        for backend, number_of in self._metrics.retries.items():
            retries.add_metric([backend], number_of())
        yield retries
        number_open = self._metrics.open_uploads()
        uploads = GaugeMetricFamily(
            "score_uploads_open",
            "Uploads in progress, of all servers; counted at most every 5 minutes.",
        )
        if number_open is not None:
            uploads.add_metric([], number_open)
        yield uploads
        info = GaugeMetricFamily("score_build_info", "1; the build is in the labels.", labels=["version", "commit"])
        info.add_metric([__version__, commit()], 1)
        yield info


class _Plain(Collector):
    """All of a registry but the times at which its series began, which double the text and help nobody."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _outcome(error: type[BaseException]) -> str:
    """``NotFound`` is ``not_found``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.__name__).removesuffix("_Error").lower()
