"""The few XML documents of S3: built from values, parsed into values. Document types and entities are refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, XMLParser
from xml.sax.saxutils import escape

from score.errors import Integrity
from score.storage.base import ObjectStat, OpenUpload, Prefix, StoredPart, UploadId

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Fault(NamedTuple):
    """An error document, or one key's error in the answer to a deletion."""

    code: str
    message: str
    key: str = ""


class ObjectsPage(NamedTuple):
    """One page of a listing of objects. ``next`` continues it, None after the last page."""

    items: list[ObjectStat | Prefix]
    next: str | None


class PartsPage(NamedTuple):
    """One page of the parts of an upload. ``next`` is the marker of the page after it, None after the last page."""

    parts: list[StoredPart]
    next: int | None


class UploadsPage(NamedTuple):
    """One page of uploads in progress. ``next`` is key and upload id that continue it, None after the last page."""

    uploads: list[OpenUpload]
    next: tuple[str, str] | None


def build_completion(parts: Iterable[StoredPart]) -> bytes:
    """The body of CompleteMultipartUpload, parts in the order given."""
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{escape(part.etag)}&quot;</ETag></Part>"
        for part in parts
    )
    return f'{_HEAD}<CompleteMultipartUpload xmlns="{_NAMESPACE}">{listed}</CompleteMultipartUpload>'.encode()


def build_deletion(keys: Iterable[str]) -> bytes:
    """The body of DeleteObjects; the answer then names only what failed. Keys must be :func:`representable`."""
    listed = "".join(f"<Object><Key>{escape(key, _CONTROLS)}</Key></Object>" for key in keys)
    return f'{_HEAD}<Delete xmlns="{_NAMESPACE}"><Quiet>true</Quiet>{listed}</Delete>'.encode()


_CONTROLS = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


def representable(key: str) -> bool:
    """Whether XML 1.0 can hold this key; it has no place for most control characters."""
    return all(char >= " " or char in _CONTROLS for char in key) and not {"\ufffe", "\uffff"} & set(key)


def parse_fault(document: bytes) -> Fault | None:
    """The error that the document is, None where it is something else, or no XML at all."""
    if b"<Error" not in document:
        return None
    try:
        root = parse(document)
    except Integrity:
        return None
    return _fault(root) if root.tag == "Error" else None


def parse_upload_id(document: bytes) -> UploadId:
    """The answer to CreateMultipartUpload. Raises Integrity where it has no upload id."""
    upload = parse(document, "InitiateMultipartUploadResult").findtext("UploadId")
    if not upload:
        raise Integrity("The store began an upload without naming its id.")
    return UploadId(upload)


def parse_completion(document: bytes) -> str:
    """The ETag in the answer to CompleteMultipartUpload, bare; empty where the store leaves it out, as Ceph does."""
    return _bare(parse(document, "CompleteMultipartUploadResult").findtext("ETag"))


def parse_deletion(document: bytes) -> list[Fault]:
    """What DeleteObjects could not delete."""
    return [_fault(error) for error in parse(document, "DeleteResult").iterfind("Error")]


def parse_objects(document: bytes) -> ObjectsPage:
    """The answer to ListObjectsV2; objects and prefixes in the order of their keys."""
    root = parse(document, "ListBucketResult")
    decode = _decoder(root)
    items: list[ObjectStat | Prefix] = [
        ObjectStat(
            key=decode(_text(item, "Key")),
            size=_number(item, "Size"),
            last_modified=_time(item, "LastModified"),
            etag=_bare(item.findtext("ETag")),
        )
        for item in root.iterfind("Contents")
    ]
    items += [Prefix(decode(_text(item, "Prefix"))) for item in root.iterfind("CommonPrefixes")]
    items.sort(key=lambda item: item.key)
    # A token is not a key: it is passed back as it came, encoding-type or not.
    return ObjectsPage(items, _text(root, "NextContinuationToken") if _truncated(root) else None)


def parse_parts(document: bytes, numbers: Collection[int] = ()) -> PartsPage:
    """The answer to ListParts; where ``numbers`` are given and all are there, without the other parts.

    To take apart thousands of parts costs more than all else of a call about a few of them.
    """
    root = parse(_cut(document, numbers) if numbers else document, "ListPartsResult")
    parts = [
        StoredPart(_number(item, "PartNumber"), _number(item, "Size"), _bare(item.findtext("ETag")))
        for item in root.iterfind("Part")
    ]
    parts.sort(key=lambda part: part.number)
    return PartsPage(parts, _number(root, "NextPartNumberMarker") if _truncated(root) else None)


def _cut(document: bytes, numbers: Collection[int]) -> bytes:
    """A list of parts without those of other numbers, where it has these, written in the usual way."""
    begin, end = document.find(b"<Part>"), document.rfind(b"</Part>")
    kept, at = [], begin
    for number in sorted(numbers):
        found = document.find(b"<PartNumber>%d</PartNumber>" % number, at)
        start, at = document.rfind(b"<Part>", begin, found), document.find(b"</Part>", found)
        if not -1 < begin <= start < found < at <= end:
            return document
        kept.append(document[start:at])
    return b"".join([document[:begin], *(part + b"</Part>" for part in kept), document[end + len(b"</Part>") :]])


def parse_uploads(document: bytes) -> UploadsPage:
    """The answer to ListMultipartUploads."""
    root = parse(document, "ListMultipartUploadsResult")
    decode = _decoder(root)
    uploads = [
        OpenUpload(decode(_text(item, "Key")), UploadId(_text(item, "UploadId")), _time(item, "Initiated"))
        for item in root.iterfind("Upload")
    ]
    if not _truncated(root):
        return UploadsPage(uploads, None)
    return UploadsPage(uploads, (decode(_text(root, "NextKeyMarker")), _text(root, "NextUploadIdMarker")))


def parse(document: bytes, name: str = "") -> Element:
    """The root element, names without namespace. Raises Integrity where this is no plain XML, or no ``name``."""
    if b"<!DOCTYPE" in document:  # escaped where it is text
        raise Integrity("The store's answer has a document type declaration, which no answer of S3 has.")
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - no entities without a declaration, and none hides in UTF-8
    try:
        parser.feed(document.lstrip())  # some stores send blanks while they think, before everything else
        root: Element = parser.close()
    except ParseError as error:
        raise Integrity(f"The store's answer is not XML: {error}.") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if name and root.tag != name:
        raise Integrity(
            f"The store answered a {root.tag[:60]!r} where a {name} was due.",
            hint="Check that the endpoint is the store and no proxy answers in its place.",
        )
    return root


def _fault(element: Element) -> Fault:
    return Fault(*(element.findtext(name) or "" for name in ("Code", "Message", "Key")))


def _decoder(root: Element) -> Callable[[str], str]:
    """Of keys, which are encoded as in a form only where the store says that it obeyed ``encoding-type=url``."""
    return unquote_plus if root.findtext("EncodingType") == "url" else str


def _truncated(root: Element) -> bool:
    return root.findtext("IsTruncated") == "true"


def _text(element: Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise Integrity(f"The store's answer lacks {name} in {element.tag}.")
    return text


def _number(element: Element, name: str) -> int:
    text = _text(element, name)
    try:
        return int(text)
    except ValueError as error:
        raise Integrity(f"The store's answer has {text[:40]!r} for {name}.") from error


def _time(element: Element, name: str) -> datetime:
    text = _text(element, name)
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Integrity(f"The store's answer has {text[:40]!r} for {name}.") from error


def _bare(etag: str | None) -> str:
    return (etag or "").strip().strip('"')
