"""HTTP as both the bytes and the control calls use it: one pool of connections, failures as errors of Score.

Signed URLs are secrets: they are never part of a message; :func:`place` names a URL by its host and path.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.response import BaseHTTPResponse

from score._version import __version__
from score.errors import (
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    ScoreError,
    Unauthenticated,
    Unavailable,
)
from score.transfer.connections import is_forbidden, pool_classes, refuse
from score.transfer.outage import server_of

USER_AGENT = f"score-client/{__version__}"
_LONGEST_ERROR = 1024 * 1024
"""Bytes; Song's documents hold a stack trace, and the ids of all files that they are about."""
_BUSY = (408, 429)
_XML_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_OTHER_NAME = re.compile(r"(?i)hostname mismatch|ip address mismatch|certificate is of another host")
_PASSING_CODES = ("RequestTimeout", "SlowDown", "ServerBusy", "OperationTimedOut")
_HUNG_UP = "closed the connection while data were sent"
_WHY_HUNG_UP = "A store that refuses what is sent does that, as with a full quota; ask its operator."
_XML_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")


def place(url: str) -> str:
    """A URL without its query, which may hold a signature, and without user information: for messages.

    Of a text that is no URL, its first characters up to anything that might be a query.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        host = ""
    if not host:
        start = re.split(r"[?#&@]", url, maxsplit=1)[0]
        return repr(start if len(start) <= 60 else start[:60] + "...")
    return f"{parts.scheme}://{host}{port}{parts.path}"


def expiry(url: str) -> datetime | None:
    """When a pre-signed URL ends, as far as it says so: SigV4, SigV2, SAS of Azure, the local store."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        query = dict(pair.partition("=")[::2] for pair in urlsplit(url).query.split("&"))
        if "X-Amz-Date" in query and "X-Amz-Expires" in query:
            start = datetime.fromisoformat(query["X-Amz-Date"]).replace(tzinfo=UTC)
            return start + timedelta(seconds=int(query["X-Amz-Expires"]))
        for name in ("Expires", "expires"):
            if name in query:
                return datetime.fromtimestamp(int(query[name]), UTC)
        if "se" in query:
            end = datetime.fromisoformat(unquote(query["se"]))
            return end if end.tzinfo else end.replace(tzinfo=UTC)
    return None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: ``client.connectTimeoutSeconds`` and ``client.readTimeoutSeconds``."""

    connect: float = 60.0
    read: float = 60.0


class Http:
    """A pool of connections for all threads of a client. Proxies and ``SSL_CERT_FILE`` of the environment count."""

    def __init__(
        self,
        connections: int,
        timeouts: Timeouts,
        context: ssl.SSLContext | None = None,
        *,
        trusted_name: str = "",
        answered: Callable[[str], object] = lambda url: None,
    ) -> None:
        """``context`` says whom to believe, None: the authorities of the system; ``trusted_name`` see
        :func:`score.transfer.connections.pool_classes`. ``answered`` is called with the URL of each call that a
        server answers, whatever it says, unless that it is busy or broken."""
        self._answered = answered
        self._trusted_name = trusted_name
        self._pool_classes = pool_classes(trusted_name)
        self._connections = connections
        self._timeout = urllib3.Timeout(connect=timeouts.connect, read=timeouts.read)
        self._context = context
        self._proxies = urllib.request.getproxies()
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._process = os.getpid()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme, self._proxies.get("all", ""))
        if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        if proxy and "://" not in proxy:
            proxy = f"http://{proxy}"
        pool = self._pools.get(proxy)
        if pool is None:
            options = {"maxsize": self._connections, "block": False, "ssl_context": self._context, "retries": False}
            if self._trusted_name:
                options["assert_hostname"] = False  # our connections look at the name
            if proxy:
                pool = urllib3.ProxyManager(proxy, proxy_headers=_proxy_headers(proxy), **options)  # type: ignore[arg-type]
            else:
                pool = urllib3.PoolManager(**options)  # type: ignore[arg-type]
            pool.pool_classes_by_scheme = self._pool_classes
            pool = self._pools.setdefault(proxy, pool)
        return pool

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes | memoryview] | None = None,
        timeouts: Timeouts | None = None,
        stream: bool = False,
    ) -> BaseHTTPResponse:
        """One call, made once, redirects not followed. Gives whatever status comes.

        With ``stream`` the body is not read yet: read it, then ``release_conn``, or ``close`` to drop the connection.
        That of a refusal (300 and above) is not read either: :func:`refusal_message` does.
        Raises Unavailable where no answer comes, Invalid for a URL that is none, and in a forked process, Refused
        where trust is missing.
        """
        if os.getpid() != self._process:  # the connections are those of the other one, and its threads stayed there
            raise Invalid(
                "This client was made before this process was forked, and cannot be used in it.",
                hint="Make a client of its own in the new process.",
            )
        timeout = self._timeout if timeouts is None else urllib3.Timeout(connect=timeouts.connect, read=timeouts.read)
        if not url.startswith(("http://", "https://")):
            raise _no_address(method, url)
        try:
            if is_forbidden(urlsplit(url).hostname or ""):
                raise refuse(urlsplit(url).hostname or "")
            response = self._pool(url).request(
                method,
                url,
                headers={"User-Agent": USER_AGENT, **(headers or {})},
                body=body,  # type: ignore[arg-type]
                timeout=timeout,
                redirect=False,
                preload_content=False,
                decode_content=not stream,
            )
            if not stream and response.status < 300:
                response.read(cache_content=True)  # of a refusal as much as there is will do, see refusal_message
            if response.status < 500 and response.status not in _BUSY:
                self._answered(url)
            return response
        except (HTTPError, OSError) as error:
            told = translate(error, method, url, sending=method == "PUT" and bool(body))
            if isinstance(told, Unavailable):
                told.server = server_of(url)
            raise told from None
        except ValueError:
            raise _no_address(method, url) from None

    def close(self) -> None:
        """Close the connections that are not in use."""
        for pool in self._pools.values():
            pool.clear()


def _no_address(method: str, url: str) -> Invalid:
    return Invalid(f"{method} {place(url)}: that is not an address that can be called.", hint="Check the address.")


def read_piece(response: BaseHTTPResponse, url: str, count: int) -> bytes:
    """At most ``count`` bytes of the body of an answer to GET, none at its end. Raises Unavailable, Refused."""
    try:
        return response.read(count, decode_content=False)
    except (HTTPError, OSError) as error:
        raise translate(error, "GET", url) from None


def _proxy_headers(proxy: str) -> dict[str, str]:
    """What a proxy is told of the user named in its address (``http://user:password@proxy:3128``)."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    return dict(urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}"))


def translate(error: Exception, method: str, url: str, *, sending: bool = False) -> ScoreError:
    """The error for a call that got no answer. ``sending``: it brings data to a store."""
    where = place(url)
    if isinstance(error, LocationValueError):
        return _no_address(method, url)
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, SSLError | ssl.SSLError):
        if _OTHER_NAME.search(str(cause)):
            return Refused(
                f"{method} {where}: the server's certificate is of another host.", hint="Check the address."
            )
        if "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return Refused(
                f"{method} {where}: the server's certificate is not trusted.",
                hint="If your site has its own authority, name its certificate in client.ssl.trustStore.",
            )
        return Unavailable(
            f"{method} {where}: the encrypted connection failed ({type(cause).__name__}).",
            hint="Check the address, whether it is https or http, and the proxy.",
        )
    if isinstance(cause, NameResolutionError):
        return Unavailable(
            f"{method} {where}: no connection ({_reason(cause)}).", hint="Check the address, and the network."
        )
    if isinstance(cause, NewConnectionError):
        return Unavailable(f"{method} {where}: no connection ({_reason(cause)}).")
    if sending and isinstance(_innermost(cause), ConnectionError):
        return Unavailable(f"{method} {where}: the store {_HUNG_UP}.", hint=_WHY_HUNG_UP)
    return Unavailable(f"{method} {where}: {_reason(cause)}.")


def _reason(error: BaseException) -> str:
    """A few words for a failure, from the innermost cause; never the URL that urllib3 puts into its texts."""
    seen = _innermost(error)
    if isinstance(seen, TimeoutError) or "timed out" in str(error):
        return "timed out"
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror.lower()
    names = {"IncompleteRead": "the answer was cut short", "RemoteDisconnected": "the connection was closed"}
    return names.get(type(seen).__name__, type(seen).__name__)


def _innermost(error: BaseException) -> BaseException:
    """The first cause: what an error was raised from, or holds as urllib3's do. Contexts do not count: the outermost
    may be an error that the caller was just handling."""
    held = (one for one in error.args if isinstance(one, BaseException))
    inner = error.__cause__ or next(held, None)
    return error if inner is None else _innermost(inner)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for; None where there is none or it is nonsense."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    return None


def last_modified(response: BaseHTTPResponse) -> datetime | None:
    """What ``Last-Modified`` says, None where it is missing or nonsense."""
    with contextlib.suppress(ValueError):
        return parsedate_to_datetime(response.headers.get("Last-Modified", "")).astimezone(UTC)
    return None


def one_line(text: str, longest: int) -> str:
    """The first of what another side says, as characters that can be seen: it goes to terminals and into reports."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:longest]


def refusal_message(response: BaseHTTPResponse) -> str:
    """The server's own words of a refusal: the message of a document, or a plain text; of a page nothing."""
    text = _read_refusal(response)[0].strip()
    if text.startswith("<"):
        return ""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return one_line(text, 300)
    return one_line(str(found.get("message") or ""), 1000) if isinstance(found, dict) else ""


def _read_refusal(response: BaseHTTPResponse) -> tuple[str, bool]:
    """The first of a refusal's body, as text, as much as came; and whether the connection ended before it was whole:
    a store that refuses a part while it is still being sent may drop the connection at once, and take back the end
    of what it said."""
    data = b""
    cut = False
    try:
        while len(data) < _LONGEST_ERROR and (piece := response.read1(_LONGEST_ERROR, decode_content=True)):
            data += piece
    except (HTTPError, OSError):
        cut = True
        response.close()
    if len(data) < _LONGEST_ERROR:
        response.release_conn()
    else:
        response.close()
    return data[:_LONGEST_ERROR].decode("utf-8", "replace"), cut


_ROOM = "Ask its operator for room; then run the same command again, it goes on where it was."


def store_error(response: BaseHTTPResponse, method: str, url: str) -> ScoreError:
    """The error for a store's refusal (status 300 and above). Protocol, section 5, "Errors of the store".

    Expired: a new URL helps. Unavailable: the same call may. Everything else is for good.
    """
    status = response.status
    text, cut = _read_refusal(response)
    code = (
        one_line(found.group(1), 80)
        if (found := _XML_CODE.search(text))
        else response.headers.get("x-ms-error-code", "")
    )
    detail = one_line(found.group(1), 300) if (found := _XML_MESSAGE.search(text)) else ""
    told = code or "".join(_SANE.findall(response.headers.get("Score-Error", ""))[:1])  # where the body is lost
    what = f"{method} {place(url)}: the store answered {status}" + (f" {told}" if told else "")
    if status == 403 and ("expired" in detail.lower() or code in ("ExpiredToken", "RequestExpired")):
        return Expired(f"{what}: the URL has expired")
    if status == 400 and code == "ExpiredToken":
        return Expired(f"{what}: the URL's credential has expired")
    if code in ("AuthorizationPermissionMismatch", "ContainerNotFound"):
        return Refused(
            f"{what}.", hint="Tell the operator of the server: its container or its policies are not right."
        )
    if code.endswith("QuotaExceeded"):
        return Refused(f"{what}: its quota is full.", hint=_ROOM)
    if status in (401, 403):
        if cut and method == "PUT" and not code:
            return Expired(f"{what} and {_HUNG_UP}", hint=_WHY_HUNG_UP)
        if code == "RequestTimeTooSkewed":
            return Refused(f"{what}: the clocks of server and store differ.", hint="Tell the operator of the server.")
        return Expired(f"{what}: the URL has expired, or this network may not reach the store")
    if status == 404:
        return NotFound(
            f"{what}.", hint="Run the same command again; if it stays so, tell the operator of the server."
        )
    if status in (409, 412):
        return Conflict(f"{what}: the object was replaced meanwhile.", hint="Run the same command again.")
    if status == 416:
        return Conflict(f"{what}: the object is shorter than the server said.", hint="Run the same command again.")
    if status in _BUSY or status >= 500 or code in _PASSING_CODES:
        after = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        return Unavailable(what, hint=_ROOM if status == 507 else "", retry_after=after, server=server_of(url))
    return Refused(
        f"{what}{': ' + detail if detail else ''}.", hint="Tell the operator of the server what the store says."
    )


_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def service_error(status: int, message: str, what: str, after: float | None, request: str = "") -> ScoreError:
    """The error for a status of Score's or Song's own API; ``message`` is the server's word, ``request`` the id under
    which its log has more, if it told one. Protocol, section 2."""
    text = f"{what}: {message}" if message else f"{what}: the server answered {status}."
    if status != 404 and _SANE.fullmatch(request):
        text += f" (request {request})"
    match status:
        case 400 | 409:
            return Conflict(text, hint="Run the same command again; if it stays so, tell the operator of the server.")
        case 401:
            return Unauthenticated(text, hint="Check the access token: ACCESSTOKEN, or accessToken in the settings.")
        case 403:
            return Forbidden(
                text, hint="Ask for that right, and then for a new token; score-client check shows what it has."
            )
        case 404:
            return NotFound(text, hint="Check the ids, and that the addresses are those of the right site.")
        case 405 | 411 | 413 | 414 | 431 | 500 | 501:
            return Refused(text, hint="Tell the operator of the server, with this message.")
        case _ if 300 <= status < 400:
            return Refused(
                f"{what}: the server sends us elsewhere, which is not followed.", hint="Check the address."
            )
        case _:
            return Unavailable(text, retry_after=after)
