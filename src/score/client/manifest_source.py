"""Where a manifest comes from: a file, standard input, a URL, a portal; plain or gzipped, UTF-8 or UTF-16.

Protocol, section 5. No access token is sent to any of these places.
"""

from __future__ import annotations

import gzip
import io
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urljoin, urlsplit

from urllib3.response import BaseHTTPResponse

from score.errors import Forbidden, Invalid, Refused, ScoreError, Unauthenticated, Unavailable
from score.protocol.ids import is_uuid
from score.transfer.files import translate, translated
from score.transfer.http import Http, place, read_piece, refusal_message, retry_after, service_error

LARGEST = 256 * 1024 * 1024
"""Bytes that are taken from a URL or from standard input; what is longer is something else, named by mistake."""
LARGEST_TEXT = 2 * 1024**3
"""Bytes of a manifest, unpacked."""
LONGEST_LINE = 64 * 1024
"""Characters."""
REDIRECTIONS = 5
"""How often a URL may lead to another one."""
PATIENCE = 600.0
"""Seconds that a URL may take, from the first byte to the last."""
Persist = Callable[[Callable[[], bytes], str], bytes]
STDIN = "-"
"""Names standard input in the place of a manifest."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a manifest, read anew each time it is asked for. ``name`` is for messages; ``folder`` is what
    relative paths in it are relative to."""

    open: Callable[[], BinaryIO]
    name: str
    folder: Path

    @classmethod
    def of(cls, data: bytes, name: str, folder: Path = Path()) -> Source:
        """A manifest that is in memory."""
        return cls(lambda: io.BytesIO(data), name, folder)

    def lines(self) -> Iterator[str]:
        """The lines with their ends, one at a time, whatever the size.

        Raises Invalid where it is no text, has an endless line, or is larger than any manifest.
        """
        total = 0
        try:
            with self.open() as file, _text(file) as text:
                while line := text.readline(LONGEST_LINE):
                    total += len(line)
                    if len(line) == LONGEST_LINE or total > LARGEST_TEXT:
                        raise Invalid(f"{self.name} is no manifest: it is too large.", hint=_OTHER)
                    yield line
        except UnicodeError:
            raise Invalid(f"{self.name} is no manifest: it is neither UTF-8 nor UTF-16 text.", hint=_OTHER) from None
        except (gzip.BadGzipFile, zlib.error, EOFError):
            raise Invalid(
                f"{self.name} is cut short or damaged: it cannot be unpacked.",
                hint="Fetch it, or write it, anew.",
            ) from None
        except OSError as error:
            raise translate(error, self.name) from error


_OTHER = "A manifest is a text with tabs between its columns. To upload one file: --object-id, --file, --md5."


def _text(file: BinaryIO) -> io.TextIOWrapper:
    """The text of a file, by how it begins."""
    raw = io.BufferedReader(cast(io.RawIOBase, file))
    if raw.peek(2)[:2] == b"\x1f\x8b":
        raw = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)))
    head = raw.peek(4)[:4]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif head[1:2] == b"\0" and head[:1].isalnum():  # as some spreadsheets write it
        encoding = "utf-16-le"
    else:
        encoding = "utf-8-sig"
    return io.TextIOWrapper(raw, encoding, newline="")


def fetch(spec: str, portal_url: str, http: Http, persist: Persist = lambda call, what: call()) -> Source:
    """A manifest by what a user calls it: a path, an ``http(s)`` URL, ``-`` for standard input, or a UUID, which
    stands for a manifest of the portal.

    ``persist`` makes a call again while that may help. Raises NotFound, Invalid (a folder, a UUID without
    ``portal.url``), and what a URL answers.
    """
    if spec == STDIN:
        return Source.of(read_stdin(), "Standard input")
    if is_uuid(spec):
        if not portal_url:
            raise Invalid(
                f"Manifest {spec} is kept by a portal, but no portal is known.",
                hint="Set portal.url in conf/application.properties, PORTAL_URL in the environment, "
                "or give --portal.url=https://portal.example.org.",
            )
        spec = f"{portal_url}/api/v1/manifests/{spec}"
    if spec.startswith(("http://", "https://")):
        return Source.of(persist(lambda: download(spec, http), f"fetching {place(spec)}"), place(spec))
    path = Path(spec)
    try:
        if path.is_dir():
            raise Invalid(f"{path} is a folder, not a manifest.", hint="Name the manifest file in it.")
        if path.is_file():
            return Source(lambda: path.open("rb"), str(path), path.parent)
        with path.open("rb") as pipe:  # what a shell makes of <(...) can be read only once
            return Source.of(_read_all(pipe, str(path)), str(path))
    except OSError as error:
        raise translate(error, path) from error
    except ValueError:
        raise Invalid(f"{spec[:100]!r} cannot be the name of a file.", hint="Check --manifest.") from None


def read_stdin() -> bytes:
    """Standard input to its end. Raises Invalid where that is too much, Refused where it cannot be read."""
    with translated("Standard input"):
        return _read_all(sys.stdin.buffer, "Standard input")


def _read_all(file: BinaryIO, name: str) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Invalid(f"{name} is no manifest: it is too large.", hint=_OTHER)
    return data


def download(url: str, http: Http, largest: int = LARGEST, patience: float = PATIENCE) -> bytes:
    """The body that a URL leads to, perhaps by way of others; never from https to http."""
    until = time.monotonic() + patience
    current = url
    for _ in range(REDIRECTIONS + 1):
        response = http.request("GET", current, stream=True)
        try:
            target = response.headers.get("Location", "")
            if response.status in (301, 302, 303, 307, 308) and target:
                current = _follow(current, target)
                continue
            if response.status >= 300:
                raise _refusal(response, current)
            return _read_body(response, current, largest, until)
        finally:
            response.close()
    raise Refused(f"GET {place(url)}: it leads from one address to the next without end.", hint="Check the address.")


def _refusal(response: BaseHTTPResponse, url: str) -> ScoreError:
    after = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    error = service_error(response.status, refusal_message(response), f"GET {place(url)}", after)
    if isinstance(error, Unauthenticated | Forbidden):
        error.hint = "No access token is sent there: fetch the manifest by other means, and give its path."
    return error


def _follow(current: str, target: str) -> str:
    following = urljoin(current, target)
    if urlsplit(current).scheme == "https" and urlsplit(following).scheme != "https":
        raise Refused(
            f"GET {place(current)}: it leads to {place(following)}, which is not encrypted.",
            hint="Fetch the manifest by other means, and give its path.",
        )
    return following


def _read_body(response: BaseHTTPResponse, url: str, largest: int, until: float) -> bytes:
    too_large = Invalid(f"{place(url)} is no manifest: it is too large.", hint=_OTHER)
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > largest:
        raise too_large
    data = bytearray()
    while chunk := read_piece(response, url, 64 * 1024):
        data += chunk
        if len(data) > largest:
            raise too_large
        if time.monotonic() > until:
            raise Unavailable(f"GET {place(url)}: the manifest takes too long to arrive.")
    if announced.isdigit() and len(data) < int(announced):
        raise Unavailable(f"GET {place(url)}: the answer was cut short.")
    return bytes(data)
