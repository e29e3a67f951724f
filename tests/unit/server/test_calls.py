"""How calls get their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest
import urllib3
from fastapi import Depends, FastAPI, Header, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from score.server.calls import Call
from score.server.routes import Switch, Whole
from score.testing.serving import Serving


@pytest.fixture
def address() -> Iterator[str]:
    app = FastAPI()
    app.router.route_class = Call

    @app.get("/things/{name}")
    async def things(
        request: Request,
        name: str,
        first: Annotated[Whole, Query(alias="from")],
        last: Whole,
        all_of_them: Annotated[Switch, Query(alias="all")] = False,
    ) -> Response:
        return PlainTextResponse(f"{request.method} {name} {first} {last} {all_of_them}")

    @app.get("/nothing")
    async def nothing() -> Response:
        return PlainTextResponse("nothing")

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return PlainTextResponse(" ".join(f"{one['type']}:{one['loc'][-1]}" for one in error.errors()), 400)

    app.add_exception_handler(RequestValidationError, refuse)
    with Serving(app) as serving:
        yield serving.url


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("/things/a%2Bb?from=1&last=2", "GET a+b 1 2 False"),
        ("/things/x?last=2&all=true&from=1&unknown=3", "GET x 1 2 True"),
        ("/things/x?from=1&from=5&last=2", "GET x 5 2 False"),
        ("/nothing?whatever", "nothing"),
        ("/things/x", "missing:from missing:last"),
        ("/things/x?from=one&all=perhaps", "value_error:from missing:last value_error:all"),
        ("/things/x?from=&last=2", "value_error:from"),
    ],
)
def test_parameters(address: str, asked: str, answered: str) -> None:
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("GET", address + asked).data.decode() == answered


def test_functions_that_take_other_things_are_refused() -> None:
    async def with_header(name: Annotated[str, Header()]) -> Response:
        raise NotImplementedError

    async def with_dependency(name: Annotated[str, Depends(lambda: "x")]) -> Response:
        raise NotImplementedError

    async def with_body(name: dict[str, str]) -> Response:
        raise NotImplementedError

    async def with_number(number: int) -> Response:
        raise NotImplementedError

    for endpoint in (with_header, with_dependency, with_body):
        with pytest.raises(TypeError, match=f"{endpoint.__name__} has parameters that are neither"):
            Call("/call", endpoint, methods=["POST"])
    with pytest.raises(TypeError, match="not texts"):
        Call("/call/{number}", with_number)
