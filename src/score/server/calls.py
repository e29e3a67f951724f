"""How the calls of the web application get their parameters.

FastAPI declares, checks and describes them; its own way from a request to a function, made for calls with bodies,
dependencies and models of answers, costs as much processor time as all that a server does to record a part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


class Call(APIRoute):
    """A route whose function takes the request, texts of the path and parameters of the query, and gives a response.

    Whoever may GET may ask for the head alone, as in Spring; the description does not tell.
    A parameter that is given more than once counts as it was given last. Raises RequestValidationError for parameters
    that are missing or wrong, all of them at once.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **named: Any) -> None:
        super().__init__(path, endpoint, **named)
        takes = self.dependant
        if self.body_field or takes.header_params or takes.cookie_params or takes.dependencies:
            raise TypeError(f"{endpoint.__name__} has parameters that are neither of the path nor of the query.")
        if any(field.field_info.annotation is not str for field in takes.path_params):
            raise TypeError(f"{endpoint.__name__} has parameters of the path that are not texts.")
        self.app = self._answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this is the route of a request."""
        match, found = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL and self._is_head(scope) else match), found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matches, of a HEAD without the body: that the server leaves out."""
        await (self.app if self._is_head(scope) else super().handle)(scope, receive, send)

    def _is_head(self, scope: Scope) -> bool:
        return scope["method"] == "HEAD" and "GET" in (self.methods or ())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        request = Request(scope, receive, send)
        values: dict[str, Any] = dict(scope["path_params"])
        if self.dependant.request_param_name:
            values[self.dependant.request_param_name] = request
        if fields := self.dependant.query_params:
            # Of what is given twice a dictionary keeps the last.
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            wrong: list[Any] = []
            for field in fields:
                if (text := query.get(field.alias)) is not None:
                    values[field.name], problems = field.validate(text, loc=("query", field.alias))
                    wrong += problems
                elif field.field_info.is_required():
                    wrong.append({"type": "missing", "loc": ("query", field.alias)})
                else:
                    values[field.name] = field.get_default()
            if wrong:
                raise RequestValidationError(wrong)
        response = await self.endpoint(**values)
        await response(scope, receive, send)
