"""The embedded registry, through its interface."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from score.errors import AlreadyExists, Conflict, Invalid, Misconfigured, NotFound, Refused, Unavailable
from score.metadata.base import AnalysisState
from score.metadata.embedded import EmbeddedRegistry, OtherStudy, Suppressed, UnknownAnalysis, UnknownStudy
from score.protocol.ids import is_uuid, object_id
from score.protocol.wire import Entity

EMPTY_MD5 = hashlib.md5(b"").hexdigest()

T = TypeVar("T")
STUDY = "TEST-CA"
NOBODY = "00000000-0000-4000-8000-00000000ffff"


def payload(*names: str, access: str = "open", study: str = STUDY) -> dict[str, Any]:
    files = [{"fileName": name, "fileSize": 5, "fileMd5sum": EMPTY_MD5, "fileAccess": access} for name in names]
    return {"studyId": study, "analysisType": {"name": "variantCall"}, "files": files}


def use(folder: Path, work: Callable[[EmbeddedRegistry], Awaitable[T]], **options: Any) -> T:
    """The result of ``work`` with a registry that is opened and closed around it."""

    async def run() -> T:
        registry = EmbeddedRegistry(folder, **options)
        try:
            return await work(registry)
        finally:
            await registry.close()

    return asyncio.run(run())


def test_what_was_submitted_is_there_after_a_restart(tmp_path: Path) -> None:
    async def submit(registry: EmbeddedRegistry) -> str:
        await registry.create_study(STUDY, {"studyId": STUDY, "name": "n", "info": {"a": 1}})
        return await registry.submit(STUDY, payload("b.bam", "a.bam", access="controlled") | {"experiment": {"x": 1}})

    analysis = use(tmp_path, submit)
    assert is_uuid(analysis)

    async def look(registry: EmbeddedRegistry) -> None:
        assert await registry.studies() == [STUDY]
        assert await registry.study(STUDY) == {"studyId": STUDY, "name": "n", "info": {"a": 1}}
        document = await registry.analysis(STUDY, analysis)
        assert document["analysisState"] == "UNPUBLISHED"
        assert document["experiment"] == {"x": 1}
        assert [file["fileName"] for file in document["files"]] == ["b.bam", "a.bam"]
        assert [file.file_name for file in await registry.bundle(analysis)] == ["b.bam", "a.bam"]
        assert await registry.bundle(NOBODY) == []
        assert document["files"] == await registry.files(STUDY, analysis)
        wanted = object_id(analysis, "a.bam")
        assert await registry.file(STUDY, wanted) == document["files"][1]
        assert await registry.entity(wanted) == Entity(
            id=wanted, gnos_id=analysis, file_name="a.bam", project_code=STUDY, access="controlled"
        )
        assert await registry.analysis_state(STUDY, analysis) is AnalysisState.UNPUBLISHED
        assert await registry.probe() == ""

    use(tmp_path, look)


def test_a_study_is_created_once(tmp_path: Path) -> None:
    async def work(registry: EmbeddedRegistry) -> None:
        await registry.create_study(STUDY, {})
        with pytest.raises(AlreadyExists):
            await registry.create_study(STUDY, {"name": "another"})
        with pytest.raises(Invalid):
            await registry.create_study("../x", {})
        assert await registry.studies() == [STUDY]
        assert await registry.study(STUDY) == {"studyId": STUDY}

    use(tmp_path, work)


def test_a_bad_payload_leaves_nothing(tmp_path: Path) -> None:
    async def work(registry: EmbeddedRegistry) -> None:
        with pytest.raises(UnknownStudy):
            await registry.submit(STUDY, payload("a.bam"))
        await registry.create_study(STUDY, {})
        with pytest.raises(Invalid):
            await registry.submit(STUDY, payload("a.bam", "../b.bam"))
        with pytest.raises(Conflict):
            await registry.submit(STUDY, payload("a.bam", study="ABC123"))
        assert await registry.analyses(STUDY, list(AnalysisState)) == []
        assert await registry.entities({}, offset=0, limit=10) == ([], 0)

    use(tmp_path, work)


def test_files_with_an_md5_that_is_known_are_objects_of_their_own(tmp_path: Path) -> None:
    async def work(registry: EmbeddedRegistry) -> None:
        await registry.create_study(STUDY, {})
        first = await registry.submit(STUDY, payload("a", "b"))
        second = await registry.submit(STUDY, payload("a", "b"))
        assert first != second
        found, total = await registry.entities({}, offset=0, limit=10)
        assert (len({entity["id"] for entity in found}), total) == (4, 4)

    use(tmp_path, work)


def test_what_is_not_there(tmp_path: Path) -> None:
    async def work(registry: EmbeddedRegistry) -> None:
        await registry.create_study(STUDY, {})
        await registry.create_study("OTHER", {})
        analysis = await registry.submit(STUDY, payload("a"))
        with pytest.raises(NotFound):
            await registry.entity(NOBODY)
        with pytest.raises(UnknownAnalysis):
            await registry.analysis_state(STUDY, NOBODY)
        with pytest.raises(UnknownStudy):
            await registry.analysis_state("NOWHERE", analysis)
        with pytest.raises(OtherStudy):
            await registry.analysis_state("OTHER", analysis)
        with pytest.raises(OtherStudy):
            await registry.file("OTHER", object_id(analysis, "a"))
        with pytest.raises(NotFound):
            await registry.file(STUDY, NOBODY)
        with pytest.raises(UnknownStudy):
            await registry.study("NOWHERE")
        with pytest.raises(UnknownStudy):
            await registry.analyses("NOWHERE", list(AnalysisState))

    use(tmp_path, work)


def test_states_and_their_history(tmp_path: Path) -> None:
    times = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(10))

    async def work(registry: EmbeddedRegistry) -> None:
        await registry.create_study(STUDY, {})
        analysis = await registry.submit(STUDY, payload("a"))
        wanted = [AnalysisState.PUBLISHED, AnalysisState.UNPUBLISHED, AnalysisState.PUBLISHED]
        for state in wanted:
            await registry.change_state(STUDY, analysis, state)
            assert await registry.analysis_state(STUDY, analysis) is state
        document = await registry.analysis(STUDY, analysis)
        assert document["createdAt"] == "2026-01-01T00:00:00.000000"
        assert document["updatedAt"] == document["publishedAt"] == "2026-01-01T03:00:00.000000"
        assert document["firstPublishedAt"] == "2026-01-01T01:00:00.000000"
        assert document["analysisStateHistory"] == [
            {"initialState": was, "updatedState": became, "updatedAt": f"2026-01-01T0{hour}:00:00.000000"}
            for hour, (was, became) in enumerate(
                [("UNPUBLISHED", "PUBLISHED"), ("PUBLISHED", "UNPUBLISHED"), ("UNPUBLISHED", "PUBLISHED")], 1
            )
        ]
        assert await registry.analyses(STUDY, [AnalysisState.PUBLISHED]) == [document]
        assert await registry.analyses(STUDY, [AnalysisState.UNPUBLISHED, AnalysisState.SUPPRESSED]) == []

    use(tmp_path, work, now=lambda: next(times))


def test_a_suppressed_analysis_stays_so(tmp_path: Path) -> None:
    async def work(registry: EmbeddedRegistry) -> None:
        await registry.create_study(STUDY, {})
        analysis = await registry.submit(STUDY, payload("a"))
        await registry.check_not_suppressed(STUDY, analysis)
        await registry.change_state(STUDY, analysis, AnalysisState.SUPPRESSED)
        await registry.change_state(STUDY, analysis, AnalysisState.SUPPRESSED)
        for state in (AnalysisState.PUBLISHED, AnalysisState.UNPUBLISHED):
            with pytest.raises(Suppressed):
                await registry.change_state(STUDY, analysis, state)
        with pytest.raises(Suppressed):
            await registry.check_not_suppressed(STUDY, analysis)
        assert await registry.analysis_state(STUDY, analysis) is AnalysisState.SUPPRESSED

    use(tmp_path, work)


def test_entities_are_found_by_any_field_in_the_order_of_ids(tmp_path: Path) -> None:
    async def work(registry: EmbeddedRegistry) -> None:
        for study in (STUDY, "OTHER"):
            await registry.create_study(study, {})
        one = await registry.submit(STUDY, payload("a", "b", "c"))
        two = await registry.submit("OTHER", payload("a", access="controlled", study="OTHER"))

        async def find(offset: int = 0, limit: int = 10, /, **wanted: str) -> tuple[list[str], int]:
            found, total = await registry.entities(wanted, offset=offset, limit=limit)
            return [entity["id"] for entity in found], total

        of_one = sorted(object_id(one, name) for name in "abc")
        of_two = object_id(two, "a")
        everything = sorted([*of_one, of_two])
        assert await find() == (everything, 4)
        assert await find(1, 2) == (everything[1:3], 4)
        assert await find(4, 2) == ([], 4)
        assert await find(gnosId=one) == (of_one, 3)
        assert await find(projectCode="OTHER") == ([of_two], 1)
        assert await find(access="controlled") == ([of_two], 1)
        assert await find(fileName="a", gnosId=one) == ([object_id(one, "a")], 1)
        assert await find(id=of_two, fileName="b") == ([], 0)
        assert await find(fileName="a' OR '1'='1") == ([], 0)

    use(tmp_path, work)


def test_two_registries_share_the_file(tmp_path: Path) -> None:
    async def work() -> None:
        registries = [EmbeddedRegistry(tmp_path) for _ in range(2)]
        await registries[0].create_study(STUDY, {})
        submitted = await asyncio.gather(
            *(registries[number % 2].submit(STUDY, payload(str(number))) for number in range(40))
        )
        for registry in registries:
            documents = await registry.analyses(STUDY, list(AnalysisState))
            assert {document["analysisId"] for document in documents} == set(submitted)
            await registry.close()

    asyncio.run(work())


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite3"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Misconfigured, match="99"):
        use(tmp_path, lambda registry: registry.studies())
    assert "99" in use(tmp_path, lambda registry: registry.probe())


def test_what_is_no_registry(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"something else" * 100)
    with pytest.raises(Refused, match=r"registry\.sqlite3"):
        use(tmp_path, lambda registry: registry.studies())
    assert use(tmp_path, lambda registry: registry.probe())


FULL = f"""
import asyncio, resource, sys
from pathlib import Path
from score.metadata.embedded import EmbeddedRegistry

async def work():
    registry = EmbeddedRegistry(Path(sys.argv[1]))
    await registry.create_study("S", {{}})
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    file = {{"fileSize": 5, "fileMd5sum": "{EMPTY_MD5}", "fileAccess": "open"}}
    files = [{{"fileName": f"{{n}}.bam", **file}} for n in range(5000)]
    try:
        await registry.submit("S", {{"studyId": "S", "files": files}})
    except Exception as error:
        print(type(error).__name__)
    await registry.submit("S", {{"studyId": "S", "files": files[:1]}})
    print((await registry.entities({{}}, offset=0, limit=10))[1])
    await registry.close()

asyncio.run(work())
"""


def test_a_disk_that_takes_no_more_leaves_the_registry_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    # SQLite tells a file that may not grow (the limit here) from a disk without room.
    assert done.stdout.split() == [Unavailable.__name__, "1"]
