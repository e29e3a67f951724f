"""MD5 checksums as they travel: hex or base64. Protocol, section 3."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import partial

from score.errors import Invalid

_HEX = re.compile(r"[0-9a-fA-F]{32}\Z")
new_md5 = partial(hashlib.md5, usedforsecurity=False)
"""A new MD5, perhaps of some bytes. It guards no secret: systems in FIPS mode refuse it to who does not say so."""


def is_md5(text: str) -> bool:
    """Whether ``text`` is an MD5 in hex."""
    return _HEX.match(text) is not None


def check_md5(text: str) -> str:
    """``text`` in lower case. Raises Invalid where it is no MD5 in hex."""
    if not is_md5(text):
        raise Invalid(f"md5 {text[:60]!r} is not an MD5 checksum.", hint="Expected 32 hex digits.")
    return text.lower()


def to_hex(text: str | None) -> str | None:
    """An MD5 given in hex or base64, as lower-case hex; None for None, for the empty text and for nonsense."""
    if not text:
        return None
    if is_md5(text):
        return text.lower()
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw.hex() if len(raw) == 16 else None


def to_base64(md5: str) -> str:
    """An MD5 given in hex, as the header ``Content-MD5`` has it."""
    return base64.b64encode(bytes.fromhex(md5)).decode()


def etag_md5(etag: str) -> str | None:
    """The MD5 that an ETag holds, quotes or not; None where it is no MD5 (a multipart object's, SSE-KMS)."""
    bare = etag.strip().removeprefix("W/").strip('"')
    return bare.lower() if is_md5(bare) else None


def combined_etag(md5s: Sequence[str]) -> str:
    """The ETag that S3 gives to an object of parts with these MD5s (hex, in the order of the parts)."""
    together = new_md5(b"".join(map(bytes.fromhex, md5s)))
    return f"{together.hexdigest()}-{len(md5s)}"
