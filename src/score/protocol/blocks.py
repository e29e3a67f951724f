"""Names of the blocks of a block blob. Protocol, section 10.

The name holds where the block begins and the MD5 of its bytes, so that whoever lists the blocks of an unfinished
upload knows what is there, and no record has to be kept beside them. All names have one length, as Azure demands.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import NamedTuple

from score.protocol.parts import Span

_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{32})\Z")

MOST_BLOCKS = 50_000
"""Blocks of one object."""
LARGEST_BLOCK = 4000 * 1024 * 1024
"""Bytes."""


UPLOAD_FIELD = "scoreupload"
"""User metadata of an object, given by the client that commits it: the upload that it came from."""


class FinishedBlock(NamedTuple):
    """A block that the store holds: the bytes of the object that it covers, and their MD5 in hex."""

    span: Span
    md5: str


def block_size(total: int, wanted: int) -> int:
    """Bytes of each block (but the last) of an object of ``total`` bytes: raised so that there are not too many."""
    return min(max(wanted, total // (MOST_BLOCKS // 2) + 1), LARGEST_BLOCK)


def block_id(offset: int, md5: str) -> str:
    """The id of the block that begins at ``offset`` and has this MD5, in base64 as it travels."""
    return base64.b64encode(f"{offset:016x}-{md5}".encode()).decode()


ID_LENGTH = len(block_id(0, "0" * 32))
"""Characters of each of our ids. Azure refuses a block beside one that waits under an id of another length."""


def read_block(identity: str, size: int) -> FinishedBlock | None:
    """What a block of ``size`` bytes holds, by its id; None for an id of another program."""
    try:
        name = base64.b64decode(identity, validate=True).decode("ascii")
    except ValueError:
        return None
    found = _NAME.match(name)
    return FinishedBlock(Span(int(found.group(1), 16), size), found.group(2)) if found else None


def lay(blocks: Iterable[FinishedBlock], total: int) -> list[tuple[Span, str | None]]:
    """An object of ``total`` bytes as consecutive spans, each with its MD5 where a block holds it, else None.

    Of blocks that overlap the one that begins first counts; blocks beyond the end do not. An empty object has one
    span.
    """
    spans: list[tuple[Span, str | None]] = []
    at = 0
    for span, md5 in sorted(blocks):
        if span.offset < at or span.end > total or not span.length:
            continue
        if span.offset > at:
            spans.append((Span(at, span.offset - at), None))
        spans.append((span, md5))
        at = span.end
    if at < total or not spans:
        spans.append((Span(at, total - at), None))
    return spans
