"""What a caller may browse: studies, analyses, files. For the page; programs ask the registry themselves.

Song's reads are public, but need not be within reach of everybody who reaches this server. So what is shown needs the
scope that the transfer would need: to download from the study, or to upload to it; and what is not published is
shown only to who may upload to it. What was withdrawn is not shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from score.broker.access import NO_DOWNLOAD, Access, Rights
from score.broker.blocks import BlockUploads
from score.broker.uploads import Uploads
from score.errors import Forbidden, Invalid, NotFound
from score.metadata.base import Analysis, AnalysisState, RegisteredFile, Registry

ANALYSES, FILES = 20, 100
"""How many are given at once."""
_AT_ONCE = 16
"""Objects looked for at the same time."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study, and what the caller may do with it."""

    id: str
    download: bool
    upload: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """Some of the files of an analysis, of ``total``. ``uploaded`` tells of each whether it is in the store, None
    where that is certain; ``study`` what the caller may do."""

    study: Study
    state: AnalysisState
    files: Sequence[RegisteredFile]
    uploaded: Sequence[bool | None]
    total: int


class Catalogue:
    """The registry, as far as a token reaches. Raises Unauthenticated, Forbidden, NotFound, and what the registry and
    the store do."""

    def __init__(self, access: Access, registry: Registry, uploads: Uploads | BlockUploads) -> None:
        self._access = access
        self._registry = registry
        self._uploads = uploads

    async def studies(self, token: str | None) -> list[Study]:
        """The studies that the owner of the token may do something with."""
        rights = await self._access.rights(token)
        studies = [_study(rights, name) for name in sorted(await self._registry.studies())]
        return [study for study in studies if study.download or study.upload]

    async def analyses(self, token: str | None, study: str, first: int) -> tuple[list[Analysis], int]:
        """Some of the analyses of a study, from number ``first``, and how many there are."""
        if first < 0:
            raise Invalid(f"from {first} is negative.")
        shown = _shown(await self._rights(token, study))
        return await self._registry.list_analyses(study, shown, offset=first, limit=ANALYSES)

    async def contents(self, token: str | None, study: str, analysis: str, first: int) -> Contents:
        """Some of the files of an analysis, from number ``first``."""
        if first < 0:
            raise Invalid(f"from {first} is negative.")
        allowed = await self._rights(token, study)
        state = await self._registry.analysis_state(study, analysis)
        if state not in _shown(allowed):
            raise NotFound(
                f"The analysis {analysis[:60]!r} of the study {study[:60]!r} is {state}.", hint="It is not shown."
            )
        files = await self._registry.list_files(study, analysis)
        some = files[first : first + FILES]
        uploaded: list[bool | None] = [None] * len(some)
        if state == AnalysisState.UNPUBLISHED:
            turn = asyncio.Semaphore(_AT_ONCE)

            async def look(file: RegisteredFile) -> bool:
                async with turn:
                    return await self._uploads.completed(file.object_id) is not None

            uploaded = list(await asyncio.gather(*map(look, some)))
        return Contents(allowed, state, some, uploaded, len(files))

    async def _rights(self, token: str | None, study: str) -> Study:
        rights = await self._access.rights(token)
        allowed = _study(rights, study)
        if not allowed.download and not allowed.upload:
            scopes = rights.scopes
            raise Forbidden(
                f"{NO_DOWNLOAD}: this needs {scopes.download.scope(study[:60])} or {scopes.upload.scope(study[:60])}."
            )
        return allowed


def _study(rights: Rights, study: str) -> Study:
    return Study(study, rights.download(study), rights.upload(study))


def _shown(study: Study) -> list[AnalysisState]:
    """The states of analyses that are shown to somebody with these rights."""
    return [AnalysisState.PUBLISHED, *([AnalysisState.UNPUBLISHED] if study.upload else [])]
