"""A browser for the tests of a module, and sites that it looks at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from score.testing.browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: while it runs, asyncio cannot be used in this thread."""
    with chromium() as browser:
        yield browser
