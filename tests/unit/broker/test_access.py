"""Who may do what: the table of the contract, with an embedded registry and tokens that are their scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from score.auth.base import Identity
from score.broker.access import NO_DOWNLOAD, NO_UPLOAD, Access
from score.errors import Forbidden, Invalid, NotFound, NotReady, Refused, ScoreError, Unauthenticated
from score.metadata.base import AnalysisState, Registry
from score.metadata.embedded import EmbeddedRegistry
from score.protocol.wire import Entity

STUDY = "TEST-CA"
UNKNOWN = "dead0000-0000-4000-8000-000000000001"


class Words:
    """An authorization server to which a token is the list of its scopes."""

    async def identify(self, token: str) -> Identity:
        if token == "bad":
            raise Unauthenticated("bad")
        return Identity("someone", frozenset(token.split()))

    async def probe(self) -> str:
        return ""

    async def close(self) -> None:
        pass


class Odd:
    """A registry that answers with one entity, whatever it is asked about."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self.asked = 0

    async def entity(self, object_id: str) -> Entity:
        self.asked += 1
        return self._entity

    async def analysis_state(self, study: str, analysis: str) -> AnalysisState:
        return AnalysisState.PUBLISHED

    async def probe(self) -> str:
        return ""

    async def close(self) -> None:
        pass


class Place:
    """A registry with one file."""

    def __init__(self, registry: EmbeddedRegistry, analysis: str, object_id: str) -> None:
        self.registry = registry
        self.analysis = analysis
        self.object_id = object_id

    async def set_state(self, state: AnalysisState) -> None:
        await self.registry.change_state(STUDY, self.analysis, state)


def run(folder: Path, test: Callable[[Place], Awaitable[None]], access: str = "controlled") -> None:
    async def main() -> None:
        registry = EmbeddedRegistry(folder)
        await registry.create_study(STUDY, {})
        file = {"fileName": "f", "fileSize": 1, "fileMd5sum": "0" * 32, "fileAccess": access}
        analysis = await registry.submit(STUDY, {"studyId": STUDY, "files": [file]})
        (found,) = await registry.files(STUDY, analysis)
        try:
            await test(Place(registry, analysis, found["objectId"]))
        finally:
            await registry.close()

    asyncio.run(main())


async def outcome(call: Awaitable[None]) -> type[ScoreError] | None:
    try:
        await call
    except ScoreError as error:
        return NotFound if isinstance(error, NotFound) else type(error)
    return None


DOWNLOAD = [
    # token, of a controlled file, of an open file
    (None, Forbidden, None),
    ("bad", Unauthenticated, Unauthenticated),
    ("", Forbidden, None),
    ("song.READ", Forbidden, None),
    ("score.READ", None, None),
    ("SCORE.read", None, None),
    ("score.WRITE", Forbidden, None),
    ("PROGRAMDATA-TEST-CA.READ", None, None),
    ("programdata-test-ca.read", None, None),
    ("PROGRAMDATA-TEST-CA.WRITE", Forbidden, None),
    ("PROGRAMDATA-OTHER.READ", Forbidden, None),
    ("PROGRAMDATA-.READ", Forbidden, None),
]


@pytest.mark.parametrize(("token", "controlled", "open_"), DOWNLOAD)
def test_downloads(
    tmp_path: Path, token: str | None, controlled: type[ScoreError] | None, open_: type[ScoreError] | None
) -> None:
    for kind, expected in (("controlled", controlled), ("open", open_)):

        async def test(place: Place, expected: type[ScoreError] | None = expected) -> None:
            access = Access(place.registry, Words())
            assert await outcome(access.download(token, place.object_id, urls=False)) is expected
            unpublished = expected or NotReady
            assert await outcome(access.download(token, place.object_id)) is unpublished
            await place.set_state(AnalysisState.PUBLISHED)
            assert await outcome(access.download(token, place.object_id)) is expected

        folder = tmp_path / kind
        folder.mkdir()
        run(folder, test, kind)


UPLOAD = [
    (None, Unauthenticated, Unauthenticated),
    ("bad", Unauthenticated, Unauthenticated),
    ("", Forbidden, NotFound),
    ("score.READ", Forbidden, NotFound),
    ("score.WRITE", None, None),
    ("Score.Write", None, None),
    ("PROGRAMDATA-TEST-CA.WRITE", None, NotFound),
    ("PROGRAMDATA-OTHER.WRITE", Forbidden, NotFound),
]


@pytest.mark.parametrize(("token", "known", "unknown"), UPLOAD)
def test_uploads(
    tmp_path: Path, token: str | None, known: type[ScoreError] | None, unknown: type[ScoreError] | None
) -> None:
    async def test(place: Place) -> None:
        access = Access(place.registry, Words())
        assert await outcome(access.upload(token, place.object_id)) is known
        assert await outcome(access.upload(token, UNKNOWN)) is unknown
        assert await outcome(access.may_upload(token, STUDY)) is known
        everywhere = known or (None if token and token.lower() == "score.write" else Forbidden)
        assert await outcome(access.upload_everywhere(token)) is everywhere

    run(tmp_path, test)


def test_the_texts_are_those_of_the_reference(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        access = Access(place.registry, Words())
        with pytest.raises(
            Forbidden,
            match=f"^{NO_UPLOAD}: this needs score.WRITE or PROGRAMDATA-TEST-CA.WRITE, and the token has x.$",
        ):
            await access.upload("x", place.object_id)
        with pytest.raises(
            Forbidden, match=f"^{NO_DOWNLOAD}: this needs score.READ or PROGRAMDATA-TEST-CA.READ, and"
        ):
            await access.download("x", place.object_id)

    run(tmp_path, test)


def test_without_authorization_states_count_all_the_same(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        access = Access(place.registry)
        await access.upload(None, place.object_id)
        await access.look(None)
        await access.upload_everywhere(None)
        await access.check_unpublished(place.object_id)
        assert await outcome(access.download(None, place.object_id)) is NotReady
        assert await outcome(access.download(None, UNKNOWN)) is NotFound
        await access.download(None, place.object_id, urls=False)
        for state in (AnalysisState.PUBLISHED, AnalysisState.SUPPRESSED):
            await place.set_state(state)
            assert await outcome(access.check_unpublished(place.object_id)) is NotReady
        legacy = Access(place.registry, check_states=False)
        await legacy.check_unpublished(place.object_id)
        await legacy.download(None, place.object_id)
        assert await outcome(legacy.check_unpublished(UNKNOWN)) is NotFound

    run(tmp_path, test)


def test_ids_that_are_none_are_not_passed_on() -> None:
    registry = Odd(Entity(id=UNKNOWN, gnos_id="a"))
    access = Access(registry, Words())
    for call in (access.upload("x", "not-an-id"), access.download("x", "../x")):
        assert asyncio.run(outcome(call)) is Invalid
    assert registry.asked == 0


@pytest.mark.parametrize(
    ("access", "token", "expected"),
    [
        (None, None, Forbidden),
        ("", None, Forbidden),
        ("null", "score.READ", None),
        ("OPEN", None, None),
        ("Controlled", "PROGRAMDATA-S.READ", None),
        ("secret", None, Invalid),
        ("secret", "PROGRAMDATA-S.READ", Invalid),
        ("secret", "score.READ", None),
    ],
)
def test_kinds_of_access(access: str | None, token: str | None, expected: type[ScoreError] | None) -> None:
    registry: Registry = Odd(Entity(id=UNKNOWN, gnos_id="a", project_code="S", access=access))
    assert asyncio.run(outcome(Access(registry, Words()).download(token, UNKNOWN))) is expected


def test_a_registry_that_answers_about_another_object() -> None:
    registry: Registry = Odd(Entity(id=UNKNOWN[:-1] + "2", gnos_id="a", project_code="S", access="open"))
    access = Access(registry, Words())
    assert asyncio.run(outcome(access.download("score.READ", UNKNOWN))) is Refused
    assert asyncio.run(outcome(access.check_unpublished(UNKNOWN))) is Refused


def test_a_file_of_no_study_needs_the_right_to_all() -> None:
    registry: Registry = Odd(Entity(id=UNKNOWN, gnos_id="a", project_code="", access="controlled"))
    access = Access(registry, Words())
    assert asyncio.run(outcome(access.download("PROGRAMDATA-.READ", UNKNOWN))) is Forbidden
    assert asyncio.run(outcome(access.upload("PROGRAMDATA-.WRITE", UNKNOWN))) is Forbidden


def test_the_study_of_an_upload_is_asked_for_once_in_a_while() -> None:
    now = 0.0
    registry = Odd(Entity(id=UNKNOWN, gnos_id="a", project_code="S"))
    access = Access(registry, Words(), clock=lambda: now)

    async def several() -> None:
        for _ in range(5):
            await access.upload("PROGRAMDATA-S.WRITE", UNKNOWN)

    asyncio.run(several())
    assert registry.asked == 1
    now = 31.0
    asyncio.run(several())
    assert registry.asked == 2


def test_what_is_registered_is_asked_for_once_in_a_while_and_its_state_every_time(tmp_path: Path) -> None:
    """Claim: an object's study and access are remembered for a while; the state of its analysis never is."""

    async def test(place: Place) -> None:
        access = Access(place.registry, Words())
        await place.set_state(AnalysisState.PUBLISHED)
        await access.download("score.READ", place.object_id)
        await place.set_state(AnalysisState.SUPPRESSED)
        assert await outcome(access.download("score.READ", place.object_id)) is NotReady

    run(tmp_path, test)
    now = 0.0
    registry = Odd(Entity(id=UNKNOWN, gnos_id="a", project_code="S", access="open"))
    access = Access(registry, Words(), clock=lambda: now)
    for moment in (0.0, 29.0):
        now = moment
        assert asyncio.run(outcome(access.download(None, UNKNOWN))) is None
    registry._entity = registry._entity.changed(access="controlled")
    now = 30.0
    assert asyncio.run(outcome(access.download(None, UNKNOWN))) is Forbidden
    assert registry.asked == 2


def test_unknown_objects_and_wrong_answers_are_not_remembered(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        access = Access(place.registry, Words())
        for _ in range(2):
            assert await outcome(access.download("score.READ", UNKNOWN)) is NotFound

    run(tmp_path, test)
    registry = Odd(Entity(id=UNKNOWN[:-1] + "2", gnos_id="a", project_code="S", access="open"))
    access = Access(registry, Words())
    for _ in range(2):
        assert asyncio.run(outcome(access.download("score.READ", UNKNOWN))) is Refused
    assert registry.asked == 2


def test_open_files_may_need_a_token_too() -> None:
    """Claim: with auth.anonymous.open=false no file is handed out without a token; any valid one opens open ones."""
    registry = Odd(Entity(id=UNKNOWN, gnos_id="a", project_code="S", access="open"))
    access = Access(registry, Words(), anonymous_open=False)
    for urls in (True, False):
        assert asyncio.run(outcome(access.download(None, UNKNOWN, urls=urls))) is Unauthenticated
        assert asyncio.run(outcome(access.download("no.SCOPE", UNKNOWN, urls=urls))) is None


def test_a_refusal_shows_scopes_to_their_owner_only() -> None:
    registry: Registry = Odd(Entity(id=UNKNOWN, gnos_id="a", project_code="S", access="controlled"))
    access = Access(registry, Words())

    def said(token: str | None) -> str:
        with pytest.raises(Forbidden) as caught:
            asyncio.run(access.download(token, UNKNOWN))
        return str(caught.value)

    assert said(None) == f"{NO_DOWNLOAD}: this needs score.READ or PROGRAMDATA-S.READ, and no token was sent."
    assert said("").endswith("and the token has no scopes.")
    assert said("b.READ a.READ").endswith("and the token has a.READ, b.READ.")
    assert said(" ".join(f"s{number:02}" for number in range(30))).endswith("s19 and 10 more.")
