"""Errors as HTTP answers: status, and a JSON body in Spring Boot's shape. Protocol, section 2.

The only place where errors get a status: 400 and 404 mean "do not retry this call", 401, 403 and 500 "stop", anything
else "retry".
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from score import errors
from score.broker.audit import TRAIL
from score.broker.htsget import refusals
from score.protocol.ids import is_uuid

log = logging.getLogger(__name__)

CONTEXT: ContextVar[str] = ContextVar("context", default="")
"""Path below which the server is, where that of the request at hand begins with it."""
STATUS: dict[type[errors.ScoreError], int] = {
    errors.NotFound: 404,
    errors.AlreadyExists: 500,  # clients of the reference stop on it
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Invalid: 400,
    errors.Conflict: 400,
    errors.NotReady: 400,
    errors.Expired: 400,
    errors.Integrity: 500,
    errors.Refused: 500,
    errors.NoSpace: 507,
    errors.Unavailable: 503,
    errors.Misconfigured: 500,
    errors.Cancelled: 503,
}
_TROUBLES = (errors.NoSpace, errors.Refused, errors.Integrity, errors.Unavailable, errors.Misconfigured)
HTSGET = "/htsget/"
"""Where the paths of htsget begin, whose refusals have a shape and, in part, statuses of their own."""
_HTSGET_STATUS: dict[type[errors.ScoreError], int] = {
    refusals.PayloadTooLarge: 413,
    errors.NotReady: 403,
    errors.Conflict: 404,
}
HTSGET_NAMES: dict[type[errors.ScoreError], str] = {
    refusals.InvalidRange: "InvalidRange",
    refusals.UnsupportedFormat: "UnsupportedFormat",
}
HTSGET_ERRORS = {
    400: "InvalidInput",
    401: "InvalidAuthentication",
    403: "PermissionDenied",
    404: "NotFound",
    413: "PayloadTooLarge",
    414: "InvalidInput",
    500: "InternalServerError",
}
"""Errors of htsget by their status; others have the phrase of theirs."""
TEXT = "text/plain;charset=UTF-8"
"""Media type of plain texts, as the reference writes it."""
_RFC = "https://tools.ietf.org/html/rfc6750#section-3.1"


def status_of(error: errors.ScoreError, path: str = "") -> int:
    """The status of an error, that of its nearest ancestor in the table."""
    table = STATUS | _HTSGET_STATUS if path.startswith(HTSGET) else STATUS
    return next((table[kind] for kind in type(error).__mro__ if kind in table), 500)


def body(status: int, path: str, message: str, request_id: str = "", name: str = "") -> bytes:
    """The JSON document of a refusal; without a ``request_id`` that of the request at hand. ``name`` is the error's
    in htsget, where its status does not tell."""
    if path.startswith(HTSGET):
        name = name or HTSGET_ERRORS.get(status) or HTTPStatus(status).phrase.replace(" ", "")
        return dump({"htsget": {"error": name, "message": message}})
    trail = TRAIL.get()
    document = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": status,
        "error": HTTPStatus(status).phrase,
        "path": CONTEXT.get() + path,
        "message": message,
    }
    if named := request_id or (trail.request_id if trail else ""):
        document["requestId"] = named
    return dump(document)


def dump(document: Mapping[str, object]) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def problem(
    status: int, path: str, message: str, headers: Mapping[str, str] | None = None, name: str = ""
) -> Response:
    """A refusal."""
    return Response(body(status, path, message, name=name), status, headers, "application/json")


def answer(request: Request, error: errors.ScoreError) -> Response:
    """The answer to a request that ended with this error."""
    log_trouble(error)
    path = request.url.path
    status = status_of(error, path)
    name = next((HTSGET_NAMES[kind] for kind in type(error).__mro__ if kind in HTSGET_NAMES), "")
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = _challenge(request, error)
    return problem(status, path, str(error), headers | when_again(error), name)


def log_trouble(error: errors.ScoreError) -> None:
    """Say in the log what keeps the server from its work, as a disk that is full or fails: who has to mend it sees no
    answers. What is to be asked again in a moment is no trouble."""
    if isinstance(error, _TROUBLES) and not (isinstance(error, errors.Unavailable) and error.retry_after is not None):
        trail = TRAIL.get()
        log.error("Request %s: %s", trail.request_id if trail else "-", error)


def when_again(error: errors.ScoreError) -> dict[str, str]:
    """The header that says when to ask again, where that is known."""
    if isinstance(error, errors.Unavailable) and error.retry_after is not None:
        return {"Retry-After": str(max(1, round(error.retry_after)))}
    return {}


def install(app: FastAPI) -> None:
    """Let ``app`` answer every error in this way."""

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.ScoreError)
        return answer(request, error)

    async def refuse_parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(400, request.url.path, " ".join(_parameter(one) for one in error.errors()))

    async def refuse_call(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        message = error.detail
        if error.status_code == 404:
            message = "There is no such call."
            if b"%2f" in request.scope.get("raw_path", b"").lower():
                message += " %2F counts as a slash here: ids of objects, studies and analyses have none."
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed(app.routes, request.url.path))
            message = f"{request.method} is not possible here, only {headers['Allow']}."
        return problem(error.status_code, request.url.path, message, headers)

    async def refuse_unforeseen(request: Request, error: Exception) -> Response:
        return problem(500, request.url.path, "The server has a defect; its log says more.")

    app.add_exception_handler(errors.ScoreError, refuse)
    app.add_exception_handler(RequestValidationError, refuse_parameters)
    app.add_exception_handler(HTTPException, refuse_call)
    app.add_exception_handler(Exception, refuse_unforeseen)


def _challenge(request: Request, error: errors.ScoreError) -> str:
    """Value of ``WWW-Authenticate``: with the reason where a JWT was refused, as the reference's."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    if not token or is_uuid(token):
        return "Bearer"
    why = "".join(one if one.isprintable() and one.isascii() else "?" for one in error.message)
    why = why.replace("\\", "").replace('"', "'")
    return f'Bearer error="invalid_token", error_description="{why}", error_uri="{_RFC}"'


def _parameter(problem: Mapping[str, object]) -> str:
    """One sentence about a parameter that is missing or wrong."""
    place = problem.get("loc")
    name = place[-1] if isinstance(place, tuple) and place else "?"
    if problem.get("type") == "missing":
        return f"The parameter {name} is missing."
    context = problem.get("ctx")
    expected = context.get("error") if isinstance(context, dict) else None
    return f"The parameter {name} must be {expected}." if expected else f"The parameter {name} is wrong."


def _allowed(routes: list[BaseRoute], path: str) -> list[str]:
    """The methods of all routes to a path."""
    found: dict[str, None] = {}
    for route in routes:
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(path):
            found.update(dict.fromkeys(sorted(getattr(route, "methods", None) or ())))
    return list(found)
