"""Sites out of real processes, on each store, shared by the tests of a run and mended between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes a file of random bytes in ``in/``."""

    def make(name: str, size: int) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(size))
        return path

    return make
