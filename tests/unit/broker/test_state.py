"""Names and documents in the store, as the reference writes them."""

from __future__ import annotations

import json

import pytest

from score.broker.state import Layout, Plan, new_upload, read_record, read_specification
from score.errors import Conflict
from score.protocol.parts import Span, plan_upload
from score.protocol.wire import FinishedPart, Specification, from_json, to_json
from score.storage.base import UploadId

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
MD5 = "1d2b576ca73525cf7bd96f059c1108b4"


def test_keys_are_those_of_the_reference() -> None:
    layout = Layout()
    assert layout.object(OBJECT) == f"data/{OBJECT}"
    assert layout.meta(OBJECT) == f"data/{OBJECT}.meta"
    assert layout.sentinel("heliograph") == "data/heliograph"
    assert layout.upload_meta(OBJECT, "u1") == f"upload/{OBJECT}_u1/.meta"
    record = FinishedPart(part_number=26, md5=MD5, etag=MD5)
    assert layout.record(OBJECT, "u1", record) == (
        f'upload/{OBJECT}_u1/part-0000001a|{{"partNumber":26,"md5":"{MD5}","etag":"{MD5}"}}'
    )
    assert Layout(data="").object(OBJECT) == OBJECT
    assert Layout(data="a/b", uploads="up").uploads_of(OBJECT) == f"up/{OBJECT}_"


@pytest.mark.parametrize("upload", ["u1", "2~abc_-.x", "TWpWak5UTmxNVGt0"])
def test_an_upload_is_known_by_its_folder(upload: str) -> None:
    layout = Layout()
    for key in (layout.folder(OBJECT, upload), layout.upload_meta(OBJECT, upload)):
        assert layout.upload_of(key) == (OBJECT, upload)


@pytest.mark.parametrize(
    "key", ["upload/", "upload/x_y/", f"upload/{OBJECT}/", f"upload/{OBJECT}_/", f"data/{OBJECT}_u/"]
)
def test_other_keys_are_no_uploads(key: str) -> None:
    assert Layout().upload_of(key) is None


def test_a_record_is_read_from_its_key() -> None:
    record = FinishedPart(part_number=3, md5=MD5, etag="not-an-md5-under-kms")
    assert read_record(Layout().record(OBJECT, "u", record)) == record
    assert read_record(Layout().upload_meta(OBJECT, "u")) is None


@pytest.mark.parametrize(
    "name",
    [
        "part-00000001",
        "part-00000001|",
        "part-00000001|{}",
        f'part-00000001|{{"partNumber":2,"md5":"{MD5}","etag":"{MD5}"}}',
        'part-00000001|{"partNumber":1,"md5":"x","etag":"y"}',
        f'part-0000000g|{{"partNumber":1,"md5":"{MD5}","etag":"{MD5}"}}',
    ],
)
def test_broken_records_are_refused(name: str) -> None:
    with pytest.raises(Conflict, match="broken"):
        read_record(f"upload/{OBJECT}_u/{name}")


def test_a_new_upload_is_written_as_its_model_reads_it() -> None:
    spans = plan_upload(100 * 1024 * 1024 + 1, 20 * 1024 * 1024)
    urls = [f'http://store/"quoted"?part={number}&x=\\é' for number in range(len(spans))]
    written = new_upload("data/k", OBJECT, UploadId("u-1"), Plan.cut(spans), None, urls)
    read = from_json(Specification, written)
    assert [part.span for part in read.parts] == spans
    assert [part.url for part in read.parts] == urls
    assert json.loads(written) == json.loads(to_json(read))
    assert (read.object_key, read.upload_id, read.object_size, read.object_md5) == (
        "data/k", "u-1", 100 * 1024 * 1024 + 1, None,
    )  # fmt: skip
    assert list(Plan.of(read).parts()) == list(Plan.cut(spans).parts())


def test_a_plan_knows_its_parts() -> None:
    plan = Plan.cut([Span(0, 5), Span(5, 5), Span(10, 1)])
    assert [plan.part(number) for number in (-1, 0, 1, 3, 4)] == [None, None, 5, 1, None]
    assert [span for _, span in plan.parts()] == [Span(0, 5), Span(5, 5), Span(10, 1)]
    assert plan.size == 11


def test_gaps_in_a_specification_are_found() -> None:
    document = {
        "objectKey": "k", "objectId": OBJECT, "uploadId": "u", "objectSize": 10, "objectMd5": None,
        "parts": [{"partNumber": 1, "partSize": 4, "offset": 0}, {"partNumber": 2, "partSize": 5, "offset": 5}],
    }  # fmt: skip
    with pytest.raises(Conflict, match=r"part 2"):
        read_specification(json.dumps(document).encode(), "k")
