"""A fake Score with its store behind a proxy that does damage, and what reads from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from score.client.calls import Endpoint, Score
from score.client.source import ObjectSource
from score.reading import RemoteObject, Shared
from score.testing.proxy import FaultProxy
from score.testing.score import FakeScore, FaultyScore, Heard
from score.transfer.engine import Engine
from score.transfer.http import Http, Timeouts
from score.transfer.retry import Patience, Stop
from score.transfer.workers import Workers

KIB = 1024
BLOCK = 4 * KIB
OBJECT = "9a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"

Open = Callable[..., RemoteObject]


@pytest.fixture
def proxy_and_fake() -> Iterator[tuple[FaultProxy, FakeScore]]:
    with FakeScore(64 * KIB) as fake, FaultProxy(fake.url) as proxy:
        fake.public_url = proxy.url
        yield proxy, fake


@pytest.fixture
def proxy(proxy_and_fake: tuple[FaultProxy, FakeScore]) -> FaultProxy:
    """The way to server and store; it can be shut."""
    return proxy_and_fake[0]


@pytest.fixture
def site(proxy_and_fake: tuple[FaultProxy, FakeScore]) -> FaultyScore:
    proxy, fake = proxy_and_fake
    return FaultyScore(fake, proxy.traffic, Heard())


@pytest.fixture
def make_shared(site: FaultyScore) -> Iterator[Callable[..., Shared]]:
    """What objects share, with an engine of its own; waits for nothing unless told so."""
    with ExitStack() as stack:

        def make(patience: Patience | None = None, stop: Stop | None = None, **settings: Any) -> Shared:
            http = Http(16, Timeouts(connect=20, read=20))
            workers = Workers(3)
            stack.callback(http.close)
            stack.callback(workers.close)
            engine = Engine(http, workers, patience or Patience(4, 0), stop or Stop(), site.heard)
            return stack.enter_context(Shared(engine, **{"memory": 256 * KIB, "block": BLOCK, **settings}))

        yield make


@pytest.fixture
def shared(make_shared: Callable[..., Shared]) -> Shared:
    return make_shared()


@pytest.fixture
def open_object(site: FaultyScore, shared: Shared) -> Iterator[Open]:
    with ExitStack() as stack:

        def make(shared: Shared = shared, object_id: str = OBJECT) -> RemoteObject:
            score = Score(Endpoint(shared.engine.http, site.url))
            return stack.enter_context(RemoteObject(shared, ObjectSource(score, object_id), "reads.bam"))

        yield make
