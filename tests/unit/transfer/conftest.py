"""A fake Score with its store, behind a proxy that does damage, and an engine that waits for nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from score.testing.faults import Traffic
from score.testing.proxy import FaultProxy
from score.testing.score import FakeScore
from score.transfer.engine import Engine
from score.transfer.events import Event
from score.transfer.http import Http, Timeouts
from score.transfer.retry import Patience, Stop
from score.transfer.workers import Workers

PART = 64 * 1024


@dataclass
class Events:
    """A listener that keeps what it was told, from any thread."""

    seen: list[Event] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.seen.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """The events of one kind."""
        with self._lock:
            return [event for event in self.seen if isinstance(event, kind)]


@dataclass
class Store:
    """The fake, the traffic between it and the client, and what the transfer told."""

    fake: FakeScore
    traffic: Traffic
    events: Events

    @property
    def puts(self) -> list[int | None]:
        """Part numbers of all PUTs, in the order in which they began."""
        return [exchange.part for exchange in self.traffic.seen(method="PUT")]

    @property
    def gets(self) -> list[str]:
        """Ranges of all GETs, sorted."""
        return sorted(exchange.range for exchange in self.traffic.seen(method="GET", path="/store/"))


@pytest.fixture
def store() -> Iterator[Store]:
    with FakeScore(PART) as fake, FaultProxy(fake.url) as proxy:
        fake.public_url = proxy.url
        yield Store(fake, proxy.traffic, Events())


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def engine(store: Store, stop: Stop) -> Iterator[Engine]:
    http = Http(8, Timeouts(connect=20, read=20))
    workers = Workers(3)
    patience = Patience(attempts=4, first_wait=0)
    yield Engine(http, workers, patience, stop, store.events)
    workers.close()
    http.close()
