"""The few XML documents of Azure: built from values, parsed into values. Document types and entities are refused."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from score.errors import Integrity
from score.storage.azure.signing import Policy
from score.storage.base import Block, Blocks, ObjectStat, Prefix

_HEAD = '<?xml version="1.0" encoding="utf-8"?>'


class Page(NamedTuple):
    """One page of a listing of blobs. ``next`` continues it, empty after the last page."""

    items: list[ObjectStat | Prefix]
    next: str


def build_block_list(blocks: Iterable[str], kind: str = "Latest") -> bytes:
    """The body of Put Block List: ids of blocks in the order of the blob's bytes."""
    return f"{_HEAD}<BlockList>{''.join(f'<{kind}>{escape(one)}</{kind}>' for one in blocks)}</BlockList>".encode()


def parse_block_list(document: bytes) -> Blocks:
    """The answer to Get Block List."""
    root = parse(document, "BlockList")

    def blocks(name: str) -> list[Block]:
        return [
            Block((item.findtext("Name") or "").strip(), _number(item, "Size"))
            for item in root.iterfind(f"{name}/Block")
        ]

    return Blocks(blocks("CommittedBlocks"), blocks("UncommittedBlocks"))


def parse_listing(document: bytes) -> Page:
    """The answer to List Blobs."""
    root = parse(document, "EnumerationResults")
    items: list[ObjectStat | Prefix] = []
    for item in root.iterfind("Blobs/*"):
        name = _name(item)
        if item.tag == "BlobPrefix":
            items.append(Prefix(name))
        elif (properties := item.find("Properties")) is not None:
            items.append(
                ObjectStat(
                    key=name,
                    size=_number(properties, "Content-Length"),
                    last_modified=_date(properties.findtext("Last-Modified") or ""),
                    etag=(properties.findtext("Etag") or "").strip('"'),
                    content_md5=properties.findtext("Content-MD5") or None,
                )
            )
    # Azure orders keys by their UTF-16 form, emulators put prefixes last: put right within the page.
    return Page(sorted(items, key=lambda item: item.key), root.findtext("NextMarker") or "")


def parse_policies(document: bytes) -> dict[str, Policy]:
    """The answer to Get Container ACL: the stored access policies by name."""
    found = {}
    for item in parse(document, "SignedIdentifiers").iterfind("SignedIdentifier"):
        start, expiry = (item.findtext(f"AccessPolicy/{name}") or "" for name in ("Start", "Expiry"))
        found[(item.findtext("Id") or "").strip()] = Policy(
            item.findtext("AccessPolicy/Permission") or None, _time(start), _time(expiry)
        )
    return found


def parse_fault(document: bytes) -> tuple[str, str]:
    """Code and message of an error document; both empty where it is none."""
    try:
        root = parse(document)
    except Integrity:
        return "", ""
    if root.tag != "Error":
        return "", ""
    message = (root.findtext("Message") or "").partition("\n")[0]
    return (root.findtext("Code") or "")[:80], message[:300]


def parse(document: bytes, name: str = "") -> Element:
    """The root element. Raises Integrity where this is no plain XML, or no ``name``."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(document.removeprefix(b"\xef\xbb\xbf"), True)
    except expat.ExpatError as error:
        raise Integrity(f"The store's answer is not XML: {error}.") from error
    root = builder.close()
    if name and root.tag != name:
        raise Integrity(
            f"The store answered a {root.tag[:60]!r} where a {name} was due.",
            hint="Check that azure.endpoint is the store and no proxy answers in its place.",
        )
    return root


def _refuse(*_: object) -> None:
    raise Integrity("The store's answer has a document type declaration, which no answer of Azure has.")


def _name(item: Element) -> str:
    element = item.find("Name")
    if element is None or element.text is None:
        raise Integrity("The store's listing has a blob without a name.")
    return unquote(element.text) if element.get("Encoded") == "true" else element.text


def _number(item: Element, name: str) -> int:
    text = item.findtext(name) or ""
    if not text.isdecimal():
        raise Integrity(f"The store's answer has {text[:40]!r} for {name}.")
    return int(text)


def _date(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text)
    except ValueError as error:
        raise Integrity(f"The store's answer has {text[:40]!r} for a time.") from error


def _time(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Integrity(f"The store's answer has {text[:40]!r} for a time.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
