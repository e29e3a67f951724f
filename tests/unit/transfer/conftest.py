"""A fake Score with its store, behind a proxy that does damage, and an engine that waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from score.testing.score import FaultyScore, faulty_score
from score.transfer.engine import Engine
from score.transfer.http import Http, Timeouts
from score.transfer.retry import Patience, Stop
from score.transfer.workers import Workers


@pytest.fixture
def store() -> Iterator[FaultyScore]:
    with faulty_score(part_size=64 * 1024) as store:
        yield store


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def engine(store: FaultyScore, stop: Stop) -> Iterator[Engine]:
    http = Http(8, Timeouts(connect=20, read=20))
    workers = Workers(3)
    yield Engine(http, workers, Patience(attempts=4, first_wait=0), stop, store.heard)
    workers.close()
    http.close()
