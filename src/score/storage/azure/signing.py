"""Azure's signatures: of requests with the account key, and of URLs by a stored access policy. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import quote

VERSION: Final = "2021-12-02"
"""Of Azure's interface: what requests ask for and how URLs are signed."""
_SIGNED_HEADERS: Final = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """A stored access policy, as far as it says something: what a URL leaves out, since it may not be said twice.

    ``permissions`` is None where the policy leaves them to the URL.
    """

    permissions: str | None = ""
    start: datetime | None = None
    expiry: datetime | None = None


def encode_path(*segments: str) -> str:
    """An absolute path of these segments, percent-encoded; a ``/`` within a segment stays one."""
    return "".join("/" + quote(segment, safe="/-_.~") for segment in segments)


def encode_query(query: Sequence[tuple[str, str]]) -> str:
    """A query string, percent-encoded."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)


def sign_request(
    account: str,
    key: bytes,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    length: int,
    now: datetime,
) -> dict[str, str]:
    """The headers to send: those given, with time, version and signature. ``path`` is encoded, ``query`` is not."""
    signed = {name.lower(): value for name, value in headers.items()}
    signed |= {"x-ms-date": format_datetime(now.astimezone(UTC), usegmt=True), "x-ms-version": VERSION}
    known = signed | ({"content-length": str(length)} if length else {})
    lines = [method, *(known.get(name, "") for name in _SIGNED_HEADERS)]
    lines += [f"{name}:{signed[name]}" for name in sorted(signed) if name.startswith("x-ms-")]
    lines.append(f"/{account}{path}")
    lines += [f"{name.lower()}:{value}" for name, value in sorted(query)]
    signed["authorization"] = f"SharedKey {account}:{_sign(key, lines)}"
    return signed


def sign_url(
    account: str,
    key: bytes,
    container: str,
    blob: str,
    name: str,
    policy: Policy,
    permissions: str,
    start: datetime,
    expiry: datetime,
) -> str:
    """The query of a URL to one blob (a service SAS) by the stored access policy ``name``.

    What the policy sets itself is left out: Azure refuses a URL that says it again.
    """
    given = {
        "sp": "" if policy.permissions is not None else permissions,
        "st": "" if policy.start else _stamp(start),
        "se": "" if policy.expiry else _stamp(expiry),
    }
    resource = f"/blob/{account}/{container}/{blob}"
    # After the version: kind of resource, snapshot, encryption scope, five headers of the answer.
    lines = [given["sp"], given["st"], given["se"], resource, name, "", "", VERSION, "b", *[""] * 7]
    said = {"sv": VERSION, **given, "sr": "b", "si": name, "sig": _sign(key, lines)}
    return encode_query([(field, value) for field, value in said.items() if value])


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sign(key: bytes, lines: Sequence[str]) -> str:
    return base64.b64encode(hmac.digest(key, "\n".join(lines).encode(), hashlib.sha256)).decode()
