"""What the scripts of the page ask beside the calls of the protocol, each with the token of its user.

Studies and files could be had of Song; but Song may be out of a browser's reach, and lets pages of other origins ask
nothing. Answers are JSON, made of the registry's words: the page shows them as text.
"""

from __future__ import annotations

from dataclasses import asdict

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from score.broker import catalogue
from score.server.problems import dump
from score.server.routes import Broker, Filled, Whole, bearer


def add_questions(app: FastAPI, broker: Broker) -> None:
    """Let ``app`` answer them."""

    @app.get("/page/studies", include_in_schema=False)
    async def studies(request: Request) -> Response:
        """The studies that the token's owner may do something with, and whether that is so everywhere."""
        token = bearer(request)
        found = await broker.catalogue.studies(token)
        rights = await broker.access.rights(token)
        return _json({"studies": [asdict(study) for study in found], "everywhere": rights.everywhere})

    @app.get("/page/analyses", include_in_schema=False)
    async def analyses(request: Request, study: Filled, first: Whole = 0) -> Response:
        """Some analyses of a study."""
        found, total = await broker.catalogue.analyses(bearer(request), study, first)
        return _json({"analyses": [asdict(one) for one in found], "total": total, "size": catalogue.ANALYSES})

    @app.get("/page/contents", include_in_schema=False)
    async def contents(request: Request, study: Filled, analysis: Filled, first: Whole = 0) -> Response:
        """Some files of an analysis."""
        found = await broker.catalogue.contents(bearer(request), study, analysis, first)
        pairs = zip(found.files, found.uploaded, strict=True)
        return _json(
            {
                "study": asdict(found.study),
                "state": found.state,
                "files": [{**asdict(file), "uploaded": uploaded} for file, uploaded in pairs],
                "total": found.total,
                "size": catalogue.FILES,
            }
        )

    @app.get("/page/uploads", include_in_schema=False)
    async def uploads(request: Request) -> Response:
        """Uploads in progress, for who may upload everywhere."""
        return _json(asdict(await broker.progress.overview(bearer(request))))


def _json(document: dict[str, object]) -> Response:
    return Response(dump(document), media_type="application/json")
