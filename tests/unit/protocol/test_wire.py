"""The JSON documents, field by field as the recordings have them."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.protocol.wire import (
    Entity,
    EntityPage,
    FinishedPart,
    Listed,
    Part,
    Progress,
    Specification,
    from_json,
    to_json,
)

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
RECORDED = (
    '{"objectKey":"data/5c0e0000-0000-4000-8000-000000000001","objectId":"5c0e0000-0000-4000-8000-000000000001",'
    '"uploadId":"MmJi","parts":[{"partNumber":1,"partSize":20971520,"offset":0,"url":null,"md5":null,'
    '"sourceMd5":"1d2b576ca73525cf7bd96f059c1108b4"},{"partNumber":2,"partSize":1000,"offset":20971520,'
    '"url":"http://store/object/data/x?X-Amz-Signature=y","md5":null}],'
    '"objectSize":20972520,"objectMd5":"368604824c4aeec2811267d425731c84"}'
)

TEXTS = st.none() | st.text(max_size=20)
PARTS = st.builds(
    Part,
    part_number=st.integers(1, 10_000),
    part_size=st.integers(-1, 2**42),
    offset=st.integers(0, 2**42),
    url=TEXTS,
    md5=TEXTS,
    source_md5=TEXTS,
)


def test_a_specification_is_written_byte_for_byte_as_recorded() -> None:
    assert to_json(from_json(Specification, RECORDED)).decode() == RECORDED


def test_null_urls_and_md5s_are_written_and_a_null_source_md5_is_not() -> None:
    part = Part(part_number=1, part_size=2, offset=3)
    assert to_json(part) == b'{"partNumber":1,"partSize":2,"offset":3,"url":null,"md5":null}'
    whole = Specification(object_key="k", object_id="i", upload_id="u", parts=[part], object_size=2)
    assert to_json(whole).endswith(b'"objectSize":2,"objectMd5":null}')
    progress = Progress(object_id="i", upload_id="u", parts=[part])
    assert to_json(progress) == b'{"objectId":"i","uploadId":"u","parts":[' + to_json(part) + b"]}"


@given(PARTS)
def test_parts_survive_the_wire(part: Part) -> None:
    document = json.loads(to_json(part))
    assert list(document)[:5] == ["partNumber", "partSize", "offset", "url", "md5"]
    assert ("sourceMd5" in document) == (part.source_md5 is not None)
    assert from_json(Part, to_json(part)) == part


@given(st.lists(PARTS, max_size=4), st.integers(-1, 2**43), TEXTS)
def test_specifications_survive_the_wire(parts: list[Part], size: int, md5: str | None) -> None:
    made = Specification(
        object_key="data/x", object_id=OBJECT, upload_id="u", parts=parts, object_size=size, object_md5=md5
    )
    assert from_json(Specification, to_json(made)) == made
    assert list(json.loads(to_json(made))) == [
        "objectKey",
        "objectId",
        "uploadId",
        "parts",
        "objectSize",
        "objectMd5",
    ]


def test_unknown_fields_are_ignored() -> None:
    document = json.loads(RECORDED) | {"relocated": True, "future": {"a": [1]}}
    document["parts"][0] |= {"completed": False}
    assert msgspec.convert(document, Specification) == from_json(Specification, RECORDED)
    entity = {"id": OBJECT, "gnosId": "a", "fileName": "f", "projectCode": "p", "access": "open", "createdTime": "0"}
    assert msgspec.convert(entity, Entity).file_name == "f"


def test_a_song_page_is_read_with_all_that_spring_puts_into_it() -> None:
    text = (
        '{"content":[{"id":"5c0eca11-0000-4000-8000-000000000020","gnosId":"a11aca11-0000-4000-8000-000000000020",'
        '"fileName":"f45.bin","projectCode":"TEST-CA","access":"open"}],"pageable":{"pageNumber":0},"last":true,'
        '"totalElements":1,"totalPages":1,"size":2000,"number":0,"sort":{"sorted":true},"first":true,'
        '"numberOfElements":1,"empty":false}'
    )
    page = from_json(EntityPage, text)
    assert page.last
    assert page.content[0].gnos_id == "a11aca11-0000-4000-8000-000000000020"


@pytest.mark.parametrize("access", [None, "", "open", "controlled", "null"])
def test_an_entity_may_have_any_access(access: str | None) -> None:
    assert msgspec.convert({"id": OBJECT, "gnosId": "a", "access": access}, Entity).access == access


@pytest.mark.parametrize("missing", ["objectKey", "objectId", "uploadId", "parts", "objectSize"])
def test_a_document_without_what_it_needs_is_refused(missing: str) -> None:
    document = json.loads(RECORDED)
    del document[missing]
    with pytest.raises(ValueError):
        from_json(Specification, json.dumps(document))


DEEP = RECORDED[:-1] + ',"future":' + "[" * 100_000


@pytest.mark.parametrize("text", ["", "null", "[]", "<html>", "{}", '{"objectId": "\\ud800"}', RECORDED[:-1], DEEP])
def test_garbage_is_no_specification(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(Specification, text)


def test_the_listing_and_the_finished_part_have_the_protocols_names() -> None:
    listed = from_json(Listed, f'{{"id":"{OBJECT}","lastModified":1700000000000,"size":5}}')
    assert (listed.id, listed.last_modified, listed.size) == (OBJECT, 1_700_000_000_000, 5)
    assert to_json(FinishedPart(part_number=1, md5="a", etag="b")) == b'{"partNumber":1,"md5":"a","etag":"b"}'


def test_documents_do_not_change() -> None:
    part = Part(part_number=1, part_size=2, offset=3)
    with pytest.raises(AttributeError):
        part.offset = 4


READERS = """
import sys, threading
from score.protocol.wire import Wire, from_json

def kind():
    class Part(Wire):
        number: int
        url: str | None = None
    class Specification(Wire):
        parts: list[Part]
        md5: str | None = None
    return Specification

sys.setswitchinterval(1e-6)
kinds = [kind() for _ in range(200)]
together = threading.Barrier(8)

def read():
    for kind in kinds:
        together.wait()
        from_json(kind, b'{"parts":[{"number":1,"url":"u"}],"md5":"m"}')

threads = [threading.Thread(target=read) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""


def test_threads_may_read_the_first_document_of_a_kind_at_the_same_moment() -> None:
    """In a process of its own: what goes wrong there ends the whole process."""
    done = subprocess.run([sys.executable, "-c", READERS], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
