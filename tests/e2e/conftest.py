"""Sites out of real processes, on each store, shared by the tests of a run and mended between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from score.testing.minio import Minio
from score.testing.site import Site, local_site, s3_site


@pytest.fixture(scope="session")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with local_site(tmp_path_factory.mktemp("local")) as site:
        yield site


@pytest.fixture(scope="session")
def _minio(tmp_path_factory: pytest.TempPathFactory, minio: Minio) -> Iterator[Site]:
    with s3_site(tmp_path_factory.mktemp("minio"), minio) as site:
        yield site


@pytest.fixture(params=["local", pytest.param("minio", marks=pytest.mark.needs("minio"))])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A running site; as it was before, after each test."""
    site: Site = request.getfixturevalue(f"_{request.param}")
    site.heal()
    yield site
    site.heal()
