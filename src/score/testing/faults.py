"""Scripted faults and the record of what passed, shared by the fault proxy and the fake services.

::

    traffic.inject(Answer.unavailable(), method="PUT", part=2, times=3)   # three 503s, then it works
    traffic.inject(Reset(), path="/upload/", skip=1, times=None)          # all but the first, for ever
    gate = traffic.hold(method="PUT", after=1_000_000)                    # stops in the middle of a body ...
    gate.wait_for_arrival()
    gate.open()                                                           # ... until it is let go
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

_SECRET = re.compile(
    r"(?i)\b((?:x-amz-)?(?:signature|credential|security-token)|awsaccesskeyid|sig|apikey|token)=[^&]*"
)
PATIENCE = 60.0
"""Seconds that a test waits for something to happen before it fails."""


def blank(query: str) -> str:
    """The query with the values of signatures and credentials taken out."""
    return _SECRET.sub(r"\1=...", query)


@dataclass(slots=True)
class Exchange:
    """One request and what became of it.

    ``query`` has its signatures blanked. ``sent`` and ``received`` are bytes of bodies, as they passed; ``body`` is
    kept by the fakes only. ``status`` is None where the client got no answer; ``end`` says how it ended:
    ``answered``, ``fault``, ``client gone`` or ``upstream gone``, empty while it lasts.
    """

    number: int
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    status: int | None = None
    sent: int = 0
    received: int = 0
    end: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; the last one where a name comes twice."""
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}

    @property
    def part(self) -> int | None:
        """The part that the request is about, None where it names none."""
        number = self.parameters.get("partNumber", "")
        return int(number) if number.isdigit() else None

    @property
    def range(self) -> str:
        """Value of the ``Range`` header, empty without one."""
        return self.headers.get("range", "")


@dataclass(frozen=True, slots=True)
class Match:
    """Which exchanges are meant; what is not given matches all. ``path`` is a regular expression to be found in the
    path, ``query`` and ``range`` are parts of the text."""

    method: str | None = None
    path: str = ""
    query: str = ""
    part: int | None = None
    range: str = ""
    status: int | None = None

    def __call__(self, exchange: Exchange) -> bool:
        return (
            self.method in (None, exchange.method)
            and re.search(self.path, exchange.path) is not None
            and self.query in exchange.query
            and self.part in (None, exchange.part)
            and self.range in exchange.range
            and self.status in (None, exchange.status)
        )


class Gate:
    """Holds whatever arrives until it is opened. A closed gate opens when its service stops."""

    def __init__(self) -> None:
        self._opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._arrived = threading.Event()

    def open(self) -> None:
        """Let go what is held, and all that comes."""
        if not self._opened.done():
            self._opened.set_result(None)

    def wait_for_arrival(self, timeout: float = PATIENCE) -> None:
        """Return when something is held. TimeoutError where nothing came."""
        if not self._arrived.wait(timeout):
            raise TimeoutError(f"nothing arrived at the gate in {timeout:.0f} s")

    async def pass_through(self) -> None:
        """Wait at the gate; called by the services."""
        self._arrived.set()
        await asyncio.shield(asyncio.wrap_future(self._opened))


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer at once, in the place of the service behind."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def s3(cls, status: int, code: str, message: str, **headers: str) -> Answer:
        """An error as S3 stores word it."""
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        )
        return cls(status, body.encode(), {"Content-Type": "application/xml", **headers})

    @classmethod
    def unavailable(cls, retry_after: int | None = None) -> Answer:
        """503 SlowDown; ``retry_after`` in seconds."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return cls.s3(503, "SlowDown", "Please reduce your request rate.", **headers)

    @classmethod
    def failure(cls) -> Answer:
        """500 InternalError."""
        return cls.s3(500, "InternalError", "We encountered an internal error. Please try again.")

    @classmethod
    def denied(cls) -> Answer:
        """403 AccessDenied."""
        return cls.s3(403, "AccessDenied", "Access Denied.")

    @classmethod
    def expired(cls) -> Answer:
        """403 for a signed URL past its time."""
        return cls.s3(403, "AccessDenied", "Request has expired")

    @classmethod
    def request_timeout(cls) -> Answer:
        """400 for a body that did not come in time: the one 400 of S3 that passes."""
        return cls.s3(400, "RequestTimeout", "Your socket connection to the server was not read from or written to.")

    @classmethod
    def garbage(cls) -> Answer:
        """200 with a body that is no answer to anything."""
        return cls(200, b"<html><body>It works!</body></html>", {"Content-Type": "text/html"})


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection before anything is done."""


@dataclass(frozen=True, slots=True)
class CutRequest:
    """Pass ``after`` bytes of the request's body on, then drop both connections."""

    after: int


@dataclass(frozen=True, slots=True)
class CutResponse:
    """Pass ``after`` bytes of the response's body on, then close the connection."""

    after: int


@dataclass(frozen=True, slots=True)
class Flip:
    """Pass the response on with every bit of the byte at ``offset`` of its body turned."""

    offset: int


@dataclass(frozen=True, slots=True)
class LoseResponse:
    """Let the service do the work to the end, then reset the connection: the client cannot know."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop at the gate: before anything is done or, with ``after``, so many bytes into the request's body (into the
    response's, where the request has none)."""

    gate: Gate
    after: int | None = None


Fault = Answer | Reset | CutRequest | CutResponse | Flip | LoseResponse | Hold


@dataclass(slots=True)
class _Rule:
    fault: Fault
    match: Match
    skip: int
    left: int | None

    def due(self, exchange: Exchange) -> bool:
        """Whether the fault befalls this exchange; counts it."""
        if self.left == 0 or not self.match(exchange):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Traffic:
    """Everything that passed a service, and the faults still to come. Safe from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._exchanges: list[Exchange] = []
        self._rules: list[_Rule] = []
        self._gates: list[Gate] = []

    def inject(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str = "",
        query: str = "",
        part: int | None = None,
        range: str = "",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let the fault befall the matching requests: the first ``skip`` pass, then ``times`` (None: all) do not.

        The oldest rule that matches a request counts.
        """
        with self._changed:
            self._rules.append(_Rule(fault, Match(method, path, query, part, range), skip, times))
            if isinstance(fault, Hold):
                self._gates.append(fault.gate)

    def hold(
        self,
        *,
        method: str | None = None,
        path: str = "",
        query: str = "",
        part: int | None = None,
        after: int | None = None,
        skip: int = 0,
        times: int | None = None,
    ) -> Gate:
        """Hold matching requests at a new gate, see :class:`Hold`."""
        gate = Gate()
        hold = Hold(gate, after)
        self.inject(hold, method=method, path=path, query=query, part=part, skip=skip, times=times)
        return gate

    def heal(self) -> None:
        """Forget the faults still to come, and open every gate."""
        with self._changed:
            self._rules.clear()
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.open()

    def forget(self) -> None:
        """Start the record anew; faults stay."""
        with self._changed:
            self._exchanges.clear()

    def seen(
        self,
        *,
        method: str | None = None,
        path: str = "",
        query: str = "",
        part: int | None = None,
        status: int | None = None,
    ) -> list[Exchange]:
        """The matching exchanges, in the order in which they began."""
        match = Match(method, path, query, part, status=status)
        with self._changed:
            return [exchange for exchange in self._exchanges if match(exchange)]

    def wait(self, enough: Callable[[list[Exchange]], bool], timeout: float = PATIENCE) -> list[Exchange]:
        """All exchanges, as soon as there are ``enough``. TimeoutError where that does not happen."""
        with self._changed:
            if not self._changed.wait_for(lambda: enough(self._exchanges), timeout):
                raise TimeoutError(f"not seen in {timeout:.0f} s; seen: {self._exchanges}")
            return list(self._exchanges)

    def wait_for(
        self,
        count: int = 1,
        *,
        method: str | None = None,
        path: str = "",
        query: str = "",
        status: int | None = None,
        timeout: float = PATIENCE,
    ) -> list[Exchange]:
        """The matching exchanges, as soon as ``count`` of them have ended."""
        match = Match(method, path, query, status=status)

        def ended(exchanges: list[Exchange]) -> list[Exchange]:
            return [exchange for exchange in exchanges if exchange.end and match(exchange)]

        return ended(self.wait(lambda exchanges: len(ended(exchanges)) >= count, timeout))

    def begin(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> tuple[Exchange, Fault | None]:
        """Record a request; the fault that is to befall it, if any. Header names in lower case. For the services."""
        with self._changed:
            exchange = Exchange(len(self._exchanges) + 1, method, path, blank(query), headers)
            self._exchanges.append(exchange)
            fault = next((rule.fault for rule in self._rules if rule.due(exchange)), None)
            self._changed.notify_all()
            return exchange, fault

    def finish(self, exchange: Exchange, end: str) -> None:
        """Record how a request ended. For the services."""
        with self._changed:
            exchange.end = end
            self._changed.notify_all()
