"""A collector of traces: takes OTLP over HTTP, and keeps the spans that were posted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Posted
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from score.testing.faults import Exchange
from score.testing.secrecy import look_at
from score.testing.service import FakeService

TRACES = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it arrived; ids in hexadecimal digits, ``parent`` is empty at the root. ``service`` has the
    attributes of the program that made it."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    service: dict[str, Any]


class Collector(FakeService):
    """Keeps what is posted, and looks at all of it for secrets of the test run. A context manager."""

    def routes(self) -> Iterable[web.RouteDef]:
        """The call that takes spans."""
        return [web.post(TRACES, self._take)]

    async def _take(self, request: web.Request) -> web.Response:
        look_at((await request.read()).decode("latin-1"), "spans")
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    @property
    def spans(self) -> list[Span]:
        """All that arrived, each parent after its children."""
        return [span for posted in self.traffic.seen(path=TRACES, status=200) for span in _spans_of(posted)]

    def wait_until(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """All spans, as soon as there are ``enough``. TimeoutError where that does not happen."""
        self.traffic.wait(lambda _: enough(self.spans))
        return self.spans


def _spans_of(posted: Exchange) -> Iterable[Span]:
    request = ExportTraceServiceRequest.FromString(posted.body)
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    Posted.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.status.code == Status.STATUS_CODE_ERROR,
                    _values(span.attributes),
                    service,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
