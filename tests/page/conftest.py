"""A browser for the tests of a module, and sites out of real processes that it looks at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from score.testing.browser import chromium
from score.testing.minio import Minio
from score.testing.restricted import Restricted, restricted_site
from score.testing.site import Site, local_site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: while it runs, asyncio cannot be used in this thread."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with local_site(tmp_path_factory.mktemp("local")) as site:
        yield site


@pytest.fixture
def site(_local: Site) -> Iterator[Site]:
    """An open site on a disk; as it was before, after each test."""
    _local.heal()
    yield _local
    _local.heal()


@pytest.fixture(scope="module")
def _minio(tmp_path_factory: pytest.TempPathFactory, minio: Minio) -> Iterator[Restricted]:
    with restricted_site(tmp_path_factory.mktemp("minio"), minio, auth_cache_seconds="0") as restricted:
        yield restricted


@pytest.fixture
def restricted(_minio: Restricted) -> Iterator[Restricted]:
    """A site on MinIO with access control, where a revoked key ends at once; as it was before, after each test."""
    _minio.site.heal()
    yield _minio
    _minio.site.heal()
