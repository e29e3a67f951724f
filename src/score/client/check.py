"""Trying out whatever a transfer needs: addresses, token, clocks, store, disk. Each finding comes with its remedy."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from urllib3.response import BaseHTTPResponse

from score.client.calls import Endpoint, Score
from score.errors import (
    Conflict,
    Expired,
    Forbidden,
    Misconfigured,
    NoSpace,
    NotFound,
    Refused,
    ScoreError,
    Unauthenticated,
)
from score.protocol.digests import new_md5
from score.protocol.ids import is_uuid
from score.protocol.parts import MIB
from score.transfer.files import CHECK, translated
from score.transfer.http import Timeouts, place, store_error
from score.transfer.retry import LATER

if TYPE_CHECKING:
    from score.client.client import Client

SKEW = 60.0
"""Seconds that clocks may differ: that much is allowed for in tokens."""
SAMPLE = 64 * MIB
"""Bytes that are written and hashed to measure with."""
_TIMEOUTS = Timeouts(connect=10.0, read=10.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``error`` is set where a transfer would fail, and its hint is the remedy."""

    name: str
    text: str
    remedy: str = ""
    error: ScoreError | None = None

    def __str__(self) -> str:
        head = "WRONG" if self.error else "note" if self.remedy else "ok"
        text = f"{head:6} {self.name}: {self.text.rstrip('.')}."
        return f"{text} Mend it: {self.remedy}" if self.remedy else text


class Check:
    """The checks of a client, for downloads to, or uploads from, a folder."""

    def __init__(self, client: Client, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._client = client
        self._folder = folder
        self._now = now
        self._latency = 0.0

    def run(self) -> Iterator[Finding]:
        """All of them, each as soon as it is made."""
        where = self._client.settings
        reach = f"check storage.url (STORAGE_URL), {where.storage_url}, and the network."
        checks: tuple[tuple[str, Callable[[], Iterator[Finding]], str], ...] = (
            ("server", self._server, reach),
            ("metadata", self._metadata, f"check metadata.url (METADATA_URL), {where.metadata_url}."),
            ("token", self._token, reach),
            ("store", self._store, "check the network and the proxy between here and the store."),
            ("disk", self._disk, "name another --output-dir."),
            ("parallel", self._parallel, ""),
        )
        for name, check, remedy in checks:
            try:
                yield from check()
            except ScoreError as error:
                yield Finding(name, error.message, remedy if error.hint in ("", LATER, CHECK) else error.hint, error)

    def _ask(self, url: str) -> tuple[BaseHTTPResponse, float]:
        """An answer, and the seconds that it took."""
        start = time.monotonic()
        response = self._client.http.request("GET", url, timeouts=_TIMEOUTS)
        return response, time.monotonic() - start

    def _server(self) -> Iterator[Finding]:
        url = self._client.settings.storage_url
        try:
            profile = self._client.connect(verify=False)
        except Unauthenticated:
            profile = ""
        response, seconds = self._ask(f"{url}/profile")
        yield Finding("server", f"{url} answers in {seconds * 1000:.0f} ms, profile {profile}.")
        yield from self._clock("clock", response)

    def _clock(self, name: str, response: BaseHTTPResponse) -> Iterator[Finding]:
        with contextlib.suppress(ValueError, TypeError):
            told = parsedate_to_datetime(response.headers.get("Date", ""))
            skew = (self._now() - told).total_seconds()
            if abs(skew) > SKEW:
                text = f"this machine's is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the server's."
                yield Finding(name, text, "timedatectl set-ntp true", Misconfigured(text))
            else:
                yield Finding(name, f"as the server's, within {max(abs(skew), 1):.0f} s.")

    def _metadata(self) -> Iterator[Finding]:
        start = time.monotonic()
        count = len(self._client.song.studies())
        url = self._client.settings.metadata_url
        yield Finding("metadata", f"{url} answers in {(time.monotonic() - start) * 1000:.0f} ms, {count} studies.")

    def _token(self) -> Iterator[Finding]:
        token = self._client.settings.token
        if not self._asks_for_tokens():
            yield Finding(
                "token", "the server asks for none" + (", and does not look at the one set." if token else ".")
            )
            return
        if not token:
            yield Finding("token", "none is set; only open files can be downloaded.", "set ACCESSTOKEN.")
            return
        told = "an API key" if is_uuid(token) else "a JWT"
        claims = _claims(token)
        if "exp" in claims:
            end = datetime.fromtimestamp(claims["exp"], UTC)
            if end < self._now():
                raise Unauthenticated(
                    f"the JWT ended at {end:%Y-%m-%d %H:%M} UTC.",
                    hint="fetch a new token, and set it as ACCESSTOKEN or accessTokenFile.",
                )
            told += f", good until {end:%Y-%m-%d %H:%M} UTC"
        if scopes := _scopes(claims):
            told += f", scopes {', '.join(scopes)}"
        try:
            refused = self._may_upload()
        except Forbidden as error:
            yield Finding("token", f"{told}; it is good, but for no upload: {error.message}", "ask for the scope.")
            return
        if refused is Unauthenticated:
            raise Unauthenticated(
                f"{told}; the server does not accept it.",
                hint="fetch a new token, and set it as ACCESSTOKEN or accessTokenFile.",
            )
        may = (
            "uploads of every study are allowed" if refused is None else "whether uploads are allowed is the study's"
        )
        yield Finding("token", f"{told}; the server accepts it; {may}.")

    def _asks_for_tokens(self) -> bool:
        """Whether a caller without a token is turned away. Raises Refused, Unavailable where that cannot be told."""
        anonymous = Score(Endpoint(self._client.http, self._client.settings.storage_url))
        try:
            anonymous.test_upload(str(uuid.uuid4()))
        except (Unauthenticated, Forbidden, Conflict):  # 400: the reference, which wants the header
            return True
        except NotFound:
            pass
        return False

    def _may_upload(self) -> type[ScoreError] | None:
        """Why an object that does not exist may not be uploaded with this token, None where it may. Raises Forbidden,
        Unavailable."""
        try:
            self._client.score.test_upload(str(uuid.uuid4()))
        except (Unauthenticated, Conflict):
            return Unauthenticated
        except (NotFound, Refused) as error:
            return type(error)
        return None

    def _store(self) -> Iterator[Finding]:
        url = self._client.score.ping_url()
        response, seconds = self._ask(url)
        if response.status >= 300:
            error = store_error(response, "GET", url)
            raise Refused(error.message, hint=error.hint) if isinstance(error, Expired) else error
        self._latency = seconds
        yield Finding(
            "store", f"{place(url)} gave {len(response.data)} bytes in {seconds * 1000:.0f} ms, by the server's URL."
        )

    def _disk(self) -> Iterator[Finding]:
        with translated(self._folder):
            free = shutil.disk_usage(self._folder).free
            if free < 4 * SAMPLE:
                raise NoSpace(f"{self._folder}: {free:,} bytes are free.")
            data = os.urandom(MIB)
            start = time.monotonic()
            with tempfile.TemporaryFile(dir=self._folder) as file:
                for _ in range(SAMPLE // MIB):
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            seconds = time.monotonic() - start
        start = time.monotonic()
        for _ in range(SAMPLE // MIB):
            new_md5(data)
        hashing = SAMPLE / MIB / max(time.monotonic() - start, 1e-6)
        yield Finding(
            "disk",
            f"{self._folder} takes {SAMPLE / MIB / max(seconds, 1e-6):,.0f} MiB/s, {free / 1024**3:,.1f} GiB free;"
            f" MD5 is computed at {hashing:,.0f} MiB/s a core.",
        )

    def _parallel(self) -> Iterator[Finding]:
        set_to, wanted = self._client.settings.parallel, suggested(os.cpu_count() or 1, self._latency)
        if wanted > set_to:
            text = f"transport.parallel is {set_to}; {wanted} parts at once may be faster from here."
            yield Finding("parallel", text, f"--transport.parallel={wanted}")
        else:
            yield Finding("parallel", f"transport.parallel is {set_to}, which suits this machine.")


def suggested(cores: int, latency: float) -> int:
    """Parts to move at once, by a rule of thumb: two for each core, which are busy with MD5, and one more for each
    10 ms that the store is away, since a connection over a long way is slow by itself. ``latency`` in seconds."""
    return max(4, min(2 * cores + math.floor(latency * 100), 32))


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself, which proves nothing; nothing for another token."""
    with contextlib.suppress(ValueError, IndexError):
        body = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if isinstance(found, dict) and isinstance(found.get("exp", 0), int) and 0 <= found.get("exp", 0) < 1 << 33:
            return found
    return {}


def _scopes(claims: dict[str, Any]) -> list[str]:
    context = claims.get("context")
    found = context.get("scope") if isinstance(context, dict) else None
    return [one for one in found if isinstance(one, str) and one.isprintable()] if isinstance(found, list) else []
