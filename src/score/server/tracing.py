"""Traces for OpenTelemetry: a span for each request, and one for each call to store, registry and authorization.

Needs the extra ``tracing``; nothing imports this module unless ``management.tracing.enabled`` is set. Where spans go,
how many are taken and under which name is said by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME`` and others).

No span holds an id of an object, a path, a query, a header, an address of a caller or the text of an error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from score._version import __version__
from score.errors import NotFound
from score.protocol.onward import ONWARD
from score.server.logs import PROBED
from score.server.trail import UNMATCHED
from score.server.watching import Backend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from score.broker.audit import Trail

log = logging.getLogger(__name__)

_FLUSH = 5.0
"""Seconds that the last spans may take to be sent when the server ends."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PARENTS = (b"traceparent", b"tracestate")
_PROPAGATOR = TraceContextTextMapPropagator()
_REQUEST: ContextVar[Context | None] = ContextVar("request", default=None)
"""The span of the request at hand; None outside of any, and in one that is not traced."""


class Tracing:
    """Makes spans and sends them in batches, from a thread of its own, to where the environment says.

    Raises ValueError where OpenTelemetry cannot take its variables.
    """

    def __init__(self) -> None:
        given = Resource.create({"service.name": "score-server", "service.version": __version__})
        resource = given.merge(OTELResourceDetector().detect())
        self._collector = _Collector()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._collector))
        self._tracer = self._provider.get_tracer("score.server", __version__)
        # From here on it would tell of every failed batch, and of every odd header of a caller.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def begun(self, scope: Scope, trail: Trail) -> Span | None:
        """A request has arrived: its span, within that of the caller. Probes have none."""
        if scope["path"] in PROBED:
            _REQUEST.set(None)
            return None
        parent = _PROPAGATOR.extract(_parent_of(scope), Context())
        attributes = {
            "http.request.method": _method_of(scope),
            "url.scheme": scope["scheme"],
            "score.request.id": trail.request_id,
        }
        span = self._tracer.start_span(attributes["http.request.method"], parent, SpanKind.SERVER, attributes)
        _REQUEST.set(set_span_in_context(span, parent))
        trail.trace = format_trace_id(span.get_span_context().trace_id)
        return span

    def answered(self, span: Span, scope: Scope, route: str, status: int) -> None:
        """It is answered; status 0: not at all. ``route`` is a template."""
        if span.is_recording():
            if route != UNMATCHED:
                span.update_name(f"{_method_of(scope)} {route}")
                span.set_attribute("http.route", route)
            if status:
                span.set_attribute("http.response.status_code", status)
            if not status or status >= 500:
                span.set_attribute("error.type", str(status) if status else "unanswered")
                span.set_status(StatusCode.ERROR)
        span.end()

    def watch(self, backend: Backend, operation: str) -> _Call:
        """A span around a call that is made for a request."""
        return _Call(self._tracer, backend, operation)

    async def close(self) -> None:
        """Send what is left, in a few seconds at most."""
        self._collector.hurry()
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, _FLUSH)
        if sending.is_alive():
            log.warning("The collector did not take the last spans in %.0f s; they are lost.", _FLUSH)


def _method_of(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "_OTHER"


def _parent_of(scope: Scope) -> Mapping[str, list[str]]:
    """The headers that name the span of the caller; none where they are given twice."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        if name in _PARENTS:
            found.setdefault(name.decode(), []).append(value.decode("latin-1"))
    return found if len(found.get("traceparent", ())) == 1 else {}


class _Call:
    """A span within that of the request at hand. The trace goes on to Song and the authorization server, not to the
    store."""

    __slots__ = ("_backend", "_onward", "_operation", "_span", "_tracer")

    def __init__(self, tracer: Tracer, backend: Backend, operation: str) -> None:
        self._tracer = tracer
        self._backend: Backend = backend
        self._operation = operation
        self._span: Span | None = None
        self._onward: Token[Mapping[str, str]] | None = None

    def __enter__(self) -> None:
        request = _REQUEST.get()
        if request is None:
            return
        name = f"{self._backend} {self._operation}"
        span = self._span = self._tracer.start_span(name, request, SpanKind.CLIENT, {"peer.service": self._backend})
        if self._backend != "store":
            headers = dict(ONWARD.get())
            _PROPAGATOR.inject(headers, set_span_in_context(span, request))
            self._onward = ONWARD.set(headers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._onward is not None:
            ONWARD.reset(self._onward)
        if self._span is not None:
            if kind is not None and not issubclass(kind, NotFound):
                self._span.set_attribute("error.type", kind.__name__)
                self._span.set_status(StatusCode.ERROR)
            self._span.end()


class _Collector(SpanExporter):
    """Sends spans to the collector, and says once when it stops taking them, and once when it takes them again.

    The words of the libraries are not passed on: they come with every batch, and show addresses whole.
    """

    def __init__(self) -> None:
        session = requests.Session()
        session.hooks["response"].append(self._note)
        self._exporter: SpanExporter = OTLPSpanExporter(session=session)
        self._endpoint = _endpoint()
        self._status = 0
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; one that is not taken is thrown away."""
        self._status = 0
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            log.warning(
                "The collector of traces at %s %s. Spans are lost until it takes them; everything else goes on."
                " Check OTEL_EXPORTER_OTLP_ENDPOINT: it has to take OTLP over HTTP.",
                self._endpoint,
                f"answers {self._status}" if self._status else "cannot be reached, or does not answer in time",
            )
        elif self._away and not away:
            log.info("The collector of traces takes spans again.")
        self._away = away
        return result

    def hurry(self) -> None:
        """The server ends: try no longer where spans were not taken."""
        if self._away:
            self._exporter.shutdown()

    def shutdown(self) -> None:
        """Nothing will be sent any more."""
        self._exporter.shutdown()

    def _note(self, answer: requests.Response, **_: Any) -> None:
        self._status = answer.status_code


def _endpoint() -> str:
    """Scheme, host and port that spans go to, without what may be a secret. ValueError where there are none."""
    named = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    parts = urlsplit(named or "http://localhost:4318")
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("OTEL_EXPORTER_OTLP_ENDPOINT has to be of the form http://host:4318")
    return f"{parts.scheme}://{host}"
