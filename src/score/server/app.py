"""The web application: calls of the protocol, health, description of the API, and what a local store adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from score._version import __version__
from score.server import problems
from score.server.build import Service
from score.server.calls import Call
from score.server.cors import Cors
from score.server.edge import Edge
from score.server.htsget import add_htsget_routes
from score.server.limits import PerToken
from score.server.page.routes import add_page_routes
from score.server.probes import Readiness, Standing
from score.server.routes import Broker, add_score_routes
from score.server.settings import Settings
from score.server.trail import Templates

if TYPE_CHECKING:
    from score.server.metrics import Metrics

_ACTUATOR = "application/vnd.spring-boot.actuator.v3+json"
_FRESH = {"Cache-Control": "no-cache, no-store, max-age=0, must-revalidate"}


def create_app(service: Service, settings: Settings, standing: Standing) -> ASGIApp:
    """The application for one service. Of the ``settings`` those about callers count; ``standing`` tells when the
    server leaves."""
    broker = service.broker
    app = FastAPI(
        title="Score",
        version=__version__,
        summary="File transfer for genomics data, on top of object storage",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        servers=[{"url": settings.context_path}] if settings.context_path else None,
        redirect_slashes=False,
        # It would send paths, queries with signatures, and values of parameters to any OpenTelemetry that is set up.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.router.route_class = Call
    add_score_routes(app, broker)
    add_htsget_routes(app, broker.tickets, settings)
    _add_service_routes(app, broker, standing)
    if service.metrics is not None:
        _add_metrics_route(app, service.metrics)
    add_page_routes(app, broker, settings)
    app.router.routes.extend(service.routes)
    problems.install(app)
    limited = PerToken(app, settings.token_requests) if settings.token_requests else app
    return Edge(
        Cors(limited, settings.allowed_origins),
        settings.trusted_proxies,
        standing,
        service.metrics,
        Templates(service.routes),
        service.tracing,
        settings.context_path,
    )


def _add_service_routes(app: FastAPI, broker: Broker, standing: Standing) -> None:
    readiness = Readiness(broker.health, standing)

    @_probe(app, "/live", "/actuator/health/liveness")
    async def live() -> Response:
        return _health({"status": "UP"}, True, "application/json")

    @_probe(app, "/ready", "/actuator/health/readiness")
    async def ready() -> Response:
        status = await readiness.status()
        return _health({"status": status}, status == "UP", "application/json")

    @_probe(app, "/actuator/health")
    async def actuator() -> Response:
        if standing.leaving:
            return _health({"status": "OUT_OF_SERVICE"}, False, _ACTUATOR)
        up = await broker.health.is_up()
        return _health({"status": "UP" if up else "DOWN"}, up, _ACTUATOR)

    @_probe(app, "/health")
    async def health() -> Response:
        report = await broker.health.report()
        components = {
            name: {"status": "DOWN", "problem": said} if said else {"status": "UP"}
            for name, said in report.problems.items()
        }
        document = {"status": "UP" if report.ok else "DOWN", "components": components}
        return _health(document, report.ok, "application/json")

    @app.get("/v2/api-docs", include_in_schema=False)
    async def description() -> Response:
        return Response(problems.dump(_describe(app)), media_type="application/json")

    @app.get("/swagger-ui.html", include_in_schema=False)
    async def documentation() -> Response:
        return Response(_page(_describe(app)), media_type="text/html;charset=UTF-8")


def _add_metrics_route(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def numbers(request: Request) -> Response:
        text, media_type = metrics.text(request.headers.get("accept", ""))
        return Response(text, media_type=media_type)


Answering = Callable[[], Awaitable[Response]]


def _probe(app: FastAPI, *paths: str) -> Callable[[Answering], Answering]:
    """Let ``app`` answer GET and HEAD of these paths."""

    def add(answering: Answering) -> Answering:
        for path in paths:
            app.add_api_route(path, answering, methods=["GET", "HEAD"], include_in_schema=False)
        return answering

    return add


def _health(document: dict[str, Any], up: bool, media_type: str) -> Response:
    return Response(problems.dump(document), 200 if up else 503, _FRESH, media_type)


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description; a wrong parameter is a 400 here."""
    description = app.openapi()
    for path in description["paths"].values():
        for call in path.values():
            if call["responses"].pop("422", None):
                call["responses"]["400"] = {"description": "A parameter is missing or wrong."}
    description.pop("components", None)
    return description


def _page(description: dict[str, Any]) -> str:
    """All calls on one page that loads nothing."""
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td>"
        f"<td>{', '.join(_parameter(one) for one in call.get('parameters', ()))}</td>"
        f"<td>{escape(call.get('description', ''))}</td></tr>"
        for path, calls in description["paths"].items()
        for method, call in calls.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Score API</title>"
        "<style>body{font-family:sans-serif;margin:2em}td,th{text-align:left;padding:.3em 1em .3em 0;"
        "border-bottom:1px solid #ccc;vertical-align:top}</style>"
        f"<h1>Score {escape(__version__)}</h1><p>The description for programs is at "
        "<a href=v2/api-docs>/v2/api-docs</a>. <em>Parameters that may be left out are in italics.</em></p>"
        f"<table><tr><th>Method<th>Path<th>Parameters<th>What it does</tr>{rows}</table></html>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    name = escape(parameter["name"])
    return f"<code>{name}</code>" if parameter.get("required") else f"<em><code>{name}</code></em>"
