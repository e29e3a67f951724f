from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import Integrity
from score.storage.base import ObjectStat, OpenUpload, Prefix, StoredPart, UploadId
from score.storage.s3 import xml

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def test_a_listing_is_in_the_order_of_keys_and_decoded() -> None:
    page = xml.parse_objects(
        f"""<?xml version="1.0" encoding="UTF-8"?>
        <ListBucketResult {XMLNS}><Name>b</Name><Prefix>d</Prefix><EncodingType>url</EncodingType>
        <IsTruncated>true</IsTruncated><NextContinuationToken>1+2%3D</NextContinuationToken>
        <Contents><Key>data/with+space%2Bplus</Key><LastModified>2025-02-03T04:05:06.789Z</LastModified>
        <ETag>&#34;abc&#34;</ETag><Size>7</Size></Contents>
        <CommonPrefixes><Prefix>data/a%01/</Prefix></CommonPrefixes></ListBucketResult>""".encode()
    )
    moment = datetime(2025, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    assert page.items == [Prefix("data/a\x01/"), ObjectStat("data/with space+plus", 7, moment, "abc")]
    assert page.next == "1+2%3D"


def test_a_store_that_ignores_the_encoding_is_taken_at_its_word() -> None:
    page = xml.parse_objects(
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a+b%20c</Key>"
        b"<LastModified>2025-02-03T04:05:06Z</LastModified><Size>0</Size></Contents></ListBucketResult>"
    )
    assert [item.key for item in page.items] == ["a+b%20c"]
    assert page.next is None


def test_parts() -> None:
    page = xml.parse_parts(
        b"<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>9</NextPartNumberMarker>"
        b'<Part><PartNumber>9</PartNumber><ETag>"y"</ETag><Size>2</Size></Part>'
        b'<Part><PartNumber>3</PartNumber><ETag>"x"</ETag><Size>1</Size></Part></ListPartsResult>'
    )
    assert page == ([StoredPart(3, 1, "x"), StoredPart(9, 2, "y")], 9)


_NUMBER = st.integers(0, 4).map(str) | st.sampled_from([" 3 "])
_MARK = st.sampled_from(['"%s"', "&#34;%s&#34;", "&quot;%s&quot;", "%s", '" %s"', "<![CDATA[%s]]>"])
_FIELDS = st.fixed_dictionaries(
    {
        "PartNumber": _NUMBER,
        "Size": _NUMBER,
        "ETag": st.tuples(_MARK, st.sampled_from(["d41d8cd98f00b204e9800998ecf8427e-2", "", "a/b+c=", "&lt;é"])).map(
            lambda each: each[0] % each[1]
        ),
    },
    optional={"LastModified": st.just("2025-02-03T04:05:06Z"), "ChecksumCRC32": st.just("x")},
)


def _part(fields: dict[str, str], order: list[str]) -> str:
    written = sorted(fields, key=order.index)
    return "<Part>" + "".join(f"<{name}>{fields[name]}</{name}>" for name in written) + "</Part>"


@given(
    st.lists(_FIELDS, max_size=5, unique_by=lambda fields: fields["PartNumber"].strip()),
    st.permutations(["LastModified", "PartNumber", "ETag", "Size", "ChecksumCRC32"]) | st.none(),
    st.sampled_from(["<Part>", "<Part >"]),
    st.integers(0, 40),
    st.sets(st.integers(0, 4), min_size=1),
)
def test_of_many_parts_the_wanted_ones_are_picked_out(
    parts: list[dict[str, str]], order: list[str] | None, tag: str, missing: int, numbers: set[int]
) -> None:
    usual = ["PartNumber", "LastModified", "ETag", "Size", "ChecksumCRC32"]
    listed = "".join(_part(each, order or usual) for each in parts).replace("<Part>", tag)
    text = (
        '<ListPartsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>'
        f"<NextPartNumberMarker>9</NextPartNumberMarker>{listed}<StorageClass/></ListPartsResult>"
    )
    document = text.encode()[: len(text.encode()) - missing]
    try:
        page = xml.parse_parts(document)
    except Integrity:
        return  # only the whole of a document shows that a part that nobody asked for is broken
    found = xml.parse_parts(document, numbers)
    assert [part for part in found.parts if part.number in numbers] == [p for p in page.parts if p.number in numbers]
    assert found.next == page.next


def test_the_other_parts_are_not_even_taken_apart() -> None:
    part = "<Part><PartNumber>%d</PartNumber><ETag>x</ETag><Size>%s</Size></Part>"
    listed = part % (1, "?") + part % (2, "7") + part % (12, "?") + part % (20, "8") + part % (21, "?")
    document = f"<ListPartsResult>{listed}<IsTruncated>false</IsTruncated></ListPartsResult>".encode()
    assert xml.parse_parts(document, [20, 2]) == ([StoredPart(2, 7, "x"), StoredPart(20, 8, "x")], None)


def test_uploads() -> None:
    page = xml.parse_uploads(
        b"<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        b"<NextKeyMarker>a%2Fb</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>"
        b"<Upload><Key>a%2Fb</Key><UploadId>u1</UploadId><Initiated>2025-02-03T04:05:06Z</Initiated></Upload>"
        b"</ListMultipartUploadsResult>"
    )
    assert page.uploads == [OpenUpload("a/b", UploadId("u1"), datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC))]
    assert page.next == ("a/b", "u1")


def test_ceph_completes_without_an_etag() -> None:
    assert xml.parse_completion(b"<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>") == ""


def test_an_error_is_seen_and_nothing_else_is() -> None:
    error = b"<Error><Code>InternalError</Code><Message>again &amp; again</Message></Error>"
    assert xml.parse_fault(error) == ("InternalError", "again & again", "")
    assert xml.parse_fault(b"") is None
    assert xml.parse_fault(b"<html><body>Bad <Error gateway") is None
    result = b"<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    assert xml.parse_fault(result) is None
    assert xml.parse_deletion(result) == [("AccessDenied", "no", "k")]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"It works!",
        b"<ListBucketResult><Contents>",
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><ListBucketResult>&b;</ListBucketResult>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><ListBucketResult/>',
        b"<ListBucketResult><Contents><Key>k</Key><Size>1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>big</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>1</Size><LastModified>now</LastModified></Contents>"
        b"</ListBucketResult>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<html><body>It works!</body></html>",
    ],
)
def test_what_is_no_listing_is_refused(document: bytes) -> None:
    with pytest.raises(Integrity):
        xml.parse_objects(document)


@given(st.lists(st.text(min_size=1).filter(xml.representable)))
def test_a_deletion_names_exactly_the_keys(keys: list[str]) -> None:
    root = ElementTree.fromstring(xml.build_deletion(keys))
    assert [element.text for element in root.iterfind("{*}Object/{*}Key")] == keys


@pytest.mark.parametrize("key", ["a\x00b", "\x1f", "\ufffe", "x\uffff"])
def test_what_xml_cannot_hold(key: str) -> None:
    assert not xml.representable(key)


def test_a_completion_quotes_etags() -> None:
    root = ElementTree.fromstring(xml.build_completion([StoredPart(1, 5, 'a"<b'), StoredPart(2, 5, "c")]))
    assert [element.text for element in root.iterfind("{*}Part/{*}PartNumber")] == ["1", "2"]
    assert [element.text for element in root.iterfind("{*}Part/{*}ETag")] == ['"a"<b"', '"c"']
