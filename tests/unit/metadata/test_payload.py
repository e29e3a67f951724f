"""What is taken as an analysis."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from score.errors import Conflict, Invalid
from score.metadata.payload import analysis_document, check_payload, check_study_id, file_documents, free_keys
from score.metadata.publication import MissingObjects, OtherChecksums, OtherSizes, check_objects

EMPTY_MD5 = hashlib.md5(b"").hexdigest()


def payload(**changes: object) -> dict[str, Any]:
    file = {
        "fileName": "a.bam",
        "fileSize": 5,
        "fileMd5sum": EMPTY_MD5,
        "fileAccess": "open",
        "fileType": "BAM",
        "dataType": "Aligned Reads",
        "info": {"lane": 3},
    }
    return {"studyId": "TEST-CA", "analysisType": {"name": "variantCall"}, "files": [file]} | changes


def with_file(**changes: object) -> dict[str, Any]:
    document = payload()
    document["files"][0].update(changes)
    return document


def test_a_payload_is_taken_as_it_is() -> None:
    given = payload(experiment={"tool": "t"}, samples=[{"sampleType": "DNA"}])
    assert check_payload("TEST-CA", given) is given


@pytest.mark.parametrize(
    "changes", [{"fileSize": 0}, {"fileName": "ünï cöde (1).vcf.gz"}, {"fileAccess": "controlled"}]
)
def test_files_that_are_taken(changes: dict[str, object]) -> None:
    check_payload("TEST-CA", with_file(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"fileName": name}
        for name in ("", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b", "a\nb", "x" * 256, None, 7, "\ud800")
    ]
    + [{"fileSize": size} for size in (-1, 1.5, "5", None, True, 5 * 1024**4 + 1)]
    + [{"fileMd5sum": md5} for md5 in ("", "x" * 32, EMPTY_MD5[:-1], None, 5)]
    + [{"fileAccess": access} for access in ("", "OPEN", None, "public")],
)
def test_files_that_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        check_payload("TEST-CA", with_file(**changes))


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "text",
        payload(studyId=None),
        payload(files=[]),
        payload(files=None),
        payload(files=["a.bam"]),
        payload(files=payload()["files"] * 2),
        payload(analysisType="variantCall"),
        payload(analysisType={"version": 1}),
        payload(samples={}),
    ],
)
def test_payloads_that_are_refused(wrong: object) -> None:
    with pytest.raises(Invalid):
        check_payload("TEST-CA", wrong)


def test_the_payload_of_another_study() -> None:
    with pytest.raises(Conflict):
        check_payload("ABC123", payload())


@pytest.mark.parametrize("study", ["", ".hidden", "a/b", "a b", "x" * 256, "a\n"])
def test_study_ids_that_are_refused(study: str) -> None:
    with pytest.raises(Invalid):
        check_study_id(study)


def test_file_ids_follow_songs_rule() -> None:
    # As a Song answered.
    analysis = "6d732a42-da6c-40a6-b32a-42da6c50a61c"
    (file,) = file_documents("TEST-CA", analysis, with_file(fileName="s1795312233.txt", fileMd5sum=EMPTY_MD5.upper()))
    assert file == {
        "objectId": "f1308f2c-39dc-502c-8c98-65d083bfb544",
        "studyId": "TEST-CA",
        "analysisId": analysis,
        "fileName": "s1795312233.txt",
        "fileSize": 5,
        "fileType": "BAM",
        "fileMd5sum": EMPTY_MD5,
        "fileAccess": "open",
        "dataType": "Aligned Reads",
        "info": {"lane": 3},
    }


def test_ids_in_a_payload_do_not_count() -> None:
    given = with_file(objectId="evil", studyId="evil", analysisId="evil")
    (file,) = file_documents("TEST-CA", "A", given)
    assert "evil" not in file.values()


def test_free_keys_come_back_and_own_keys_cannot_be_set() -> None:
    given = payload(experiment={"tool": "t"}, analysisState="PUBLISHED", publishedAt="never", analysisId="evil")
    row = {
        "analysisId": "A",
        "studyId": "TEST-CA",
        "analysisState": "UNPUBLISHED",
        "createdAt": "2026-01-01T00:00:00.000000",
        "updatedAt": "2026-01-01T00:00:00.000000",
    }
    assert analysis_document(row, free_keys(given), [], []) == {
        **row,
        "firstPublishedAt": None,
        "publishedAt": None,
        "analysisStateHistory": [],
        "samples": [],
        "files": [],
        "analysisType": {"name": "variantCall", "version": 1},
        "experiment": {"tool": "t"},
    }


def files() -> list[dict[str, Any]]:
    return [{"objectId": name, "fileName": f"{name}.bam", "fileSize": 5, "fileMd5sum": EMPTY_MD5} for name in "abc"]


def test_objects_as_registered_may_be_published() -> None:
    check_objects("A", files(), {"a": (5, EMPTY_MD5), "b": (5, EMPTY_MD5.upper()), "c": (5, EMPTY_MD5)})
    check_objects("A", files(), dict.fromkeys("abc", (5, None)), ignore_undefined=True)


def test_what_is_missing_is_named_before_what_differs() -> None:
    with pytest.raises(MissingObjects, match=r"a \(a\.bam\), c \(c\.bam\)") as caught:
        check_objects("A", files(), {"a": None, "b": (6, EMPTY_MD5), "c": None})
    assert "b.bam" not in str(caught.value)


def test_of_many_files_some_are_named() -> None:
    many = [{"objectId": f"{number}", "fileName": f"{number}.bam"} for number in range(2500)]
    with pytest.raises(MissingObjects, match=r": 0 \(0\.bam\), .*, 4 \(4\.bam\) and 2495 more$"):
        check_objects("A", many, {})


def test_sizes_come_before_checksums() -> None:
    with pytest.raises(OtherSizes, match=r"\[b \(b\.bam\)\]"):
        check_objects("A", files(), {"a": (5, None), "b": (6, EMPTY_MD5), "c": (5, "0" * 32)})


@pytest.mark.parametrize(("ignore", "named"), [(False, ["a.bam", "c.bam"]), (True, ["c.bam"])])
def test_checksums(ignore: bool, named: list[str]) -> None:
    held = {"a": (5, None), "b": (5, EMPTY_MD5), "c": (5, "0" * 32)}
    with pytest.raises(OtherChecksums) as caught:
        check_objects("A", files(), held, ignore_undefined=ignore)
    assert [name for name in ("a.bam", "b.bam", "c.bam") if name in str(caught.value)] == named
