"""The routes of the page: its HTML, its files, and what its scripts ask.

Its HTML and scripts come with a Content-Security-Policy of their own: scripts, styles and workers of this server
alone, nothing inline, calls to this server and to the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from score._version import described
from score.errors import Forbidden, ScoreError
from score.server.edge import BASE
from score.server.page import assets, status
from score.server.page.pulse import Pulse
from score.server.page.questions import add_questions
from score.server.problems import dump
from score.server.routes import Broker, bearer
from score.server.settings import Settings

INDEX = "index.html"


def add_page_routes(app: FastAPI, broker: Broker, settings: Settings) -> None:
    """Let ``app`` answer ``/`` and ``/page/``, unless the settings say that there is no page."""
    if not settings.page_enabled:
        return
    kept = assets.load()
    before, after = kept[INDEX].content.decode().split(status.BEFORE_HEALTH)
    facts = status.facts(settings, described()) | {"profile": broker.profile}
    pulse = Pulse(broker.health)

    def policy() -> dict[str, str]:
        return {"Content-Security-Policy": policy_of(_origin(broker))}

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        address = settings.public_url or BASE.get()
        values = facts | {"address": address, "commands": status.commands(address, settings)}
        headers = policy() | {"Cross-Origin-Opener-Policy": "same-origin"}

        async def content() -> AsyncIterator[str]:
            yield status.fill(before, values)  # shown at once, however slow the components are
            report = await pulse.report()
            problems = report.problems if report else None
            rest = status.fill(after, values | {"summary": status.summary(problems)})
            yield rest.replace(status.PARTS, status.health(problems))

        return StreamingResponse(content(), headers=headers, media_type="text/html;charset=UTF-8")

    add_questions(app, broker)

    @app.get("/page/health", include_in_schema=False)
    async def health(request: Request) -> Response:
        report = await pulse.report()
        shown = await _may_see_all(broker, request)
        problems = report.problems if report else {}
        parts = [
            {
                "name": status.NAMES.get(name, name),
                "up": not problem,
                "says": status.MEANINGS.get(name, "") if problem else "",
                "cause": problem if shown else "",
            }
            for name, problem in problems.items()
        ]
        document = {"summary": status.summary(report.problems if report else None), "parts": parts}
        return Response(dump(document), media_type="application/json")

    @app.api_route("/page/files/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        asset = kept.get(name)
        if asset is None or name == INDEX:
            return Response(status_code=404)
        headers = policy() | {"ETag": asset.etag, "Cache-Control": "no-cache"}
        if asset.is_known(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, headers=headers, media_type=asset.media_type)


def policy_of(store: str) -> str:
    """The Content-Security-Policy of a page that sends bytes to this origin, beside its own."""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": f"'self' {store}".strip(),
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "score",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _origin(broker: Broker) -> str:
    """Where the browser sends and fetches bytes; empty where it is this server, or not known now."""
    try:
        origin = broker.downloads.origin()
    except ScoreError:
        return ""
    own = f"{BASE.get()}/".startswith(f"{origin}/")
    return "" if own or not urlsplit(origin).netloc else origin


async def _may_see_all(broker: Broker, request: Request) -> bool:
    """Whether the caller may look everywhere. Raises Unauthenticated for a token that is none."""
    token = bearer(request)
    if token is None and broker.access.restricted:
        return False
    try:
        await broker.access.upload_everywhere(token)
    except Forbidden:
        return False
    return True
