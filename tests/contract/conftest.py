"""What suites of faults share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from score.testing.store_contract import Run, Web


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.close()
