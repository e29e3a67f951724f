"""Answers of a store to one request for a range: whether they are what was asked for, and their bytes."""

from __future__ import annotations

from urllib3.response import BaseHTTPResponse

from score.errors import Refused, Unavailable
from score.protocol.parts import Span
from score.transfer.http import place, read_piece


def is_of_another_size(response: BaseHTTPResponse, size: int) -> bool:
    """Whether a part of an object (206) is of one that has not ``size`` bytes."""
    given = response.headers.get("Content-Range", "")
    return response.status == 206 and given.rpartition("/")[2] not in (str(size), "*", "")


def check_range(response: BaseHTTPResponse, url: str, span: Span, size: int) -> None:
    """Whether an answer brings ``span`` of an object of ``size`` bytes, or all of it. Raises Refused."""
    given = response.headers.get("Content-Range", "")
    told = f"{response.status} {given}".rstrip()
    asked = f"bytes {span.offset}-{span.end - 1}/"
    whole = span == Span(0, size) and response.headers.get("Content-Length") == str(size)
    if not (whole if response.status == 200 else given.startswith(asked)):
        raise Refused(
            f"GET {place(url)}: the store answered {told} for {asked[:-1]}.",
            hint="The store, or a proxy before it, ignores ranges.",
        )


def read_exactly(response: BaseHTTPResponse, url: str, count: int) -> bytes:
    """``count`` bytes of the answer's body. Raises Unavailable where there are fewer."""
    pieces: list[bytes] = []
    left = count
    while left:
        data = read_piece(response, url, left)
        if not data:
            raise Unavailable(f"GET {place(url)}: the answer was cut short.")
        pieces.append(data)
        left -= len(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
