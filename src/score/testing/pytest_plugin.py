"""pytest plugin: real components by name, skipped where absent, required under ``SCORE_REQUIRE``.

``@pytest.mark.needs("minio")`` marks what a test runs against. Where that is absent the test is skipped, and the
summary names it; under ``SCORE_REQUIRE=all`` (or a comma list of names) it fails instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from score.testing.azurite import Azurite
    from score.testing.ceph import Ceph
    from score.testing.keycloak import Keycloak
    from score.testing.minio import Minio

pytest.register_assert_rewrite(
    "score.testing.site_contract", "score.testing.store_objects", "score.testing.store_uploads"
)

_GET = "run: make components"


def pytest_configure(config: pytest.Config) -> None:
    from score.errors import Misconfigured
    from score.testing.components import required

    try:
        required()
    except Misconfigured as error:
        raise pytest.UsageError(str(error)) from None
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a job that a shell put into the background; programs that tests start and interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    from score.testing.components import find, required

    absent = [name for name in _needed(item) if find(name) is None]
    if not absent:
        return
    names = ", ".join(absent)
    if required() & set(absent):
        pytest.fail(f"needs {names}, required by SCORE_REQUIRE: {_GET}", pytrace=False)
    pytest.skip(f"needs {names}: {_GET}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from score.testing.components import COMPONENTS

    for item in items:
        if unknown := set(_needed(item)) - COMPONENTS.keys():
            raise pytest.UsageError(f"{item.nodeid} needs components unknown to the test kit: {sorted(unknown)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was not tested, once per component, however many tests that concerns."""
    absent: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if reason.startswith("Skipped: needs ") and reason.endswith(_GET):
            for name in reason.removeprefix("Skipped: needs ").removesuffix(f": {_GET}").split(", "):
                absent[name] = absent.get(name, 0) + 1
    if absent:
        terminalreporter.section("components not tested against", yellow=True)
        for name, tests in sorted(absent.items()):
            terminalreporter.line(f"{name}: {tests} test{'s' * (tests > 1)} skipped. {_GET.capitalize()}")


@pytest.fixture(scope="session")
def minio() -> Iterator[Minio]:
    """A running MinIO, one for each worker of the test run. Tests that use it are marked ``needs("minio")``."""
    from score.testing.minio import running_minio

    with running_minio() as minio:
        yield minio


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """A running Ceph, one for each worker of the test run. Tests that use it are marked ``needs("ceph")``."""
    from score.testing.ceph import running_ceph

    with running_ceph() as ceph:
        yield ceph


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A running Azurite, one for each worker of the test run. Tests that use it are marked ``needs("azurite")``."""
    from score.testing.azurite import running_azurite

    with running_azurite() as azurite:
        yield azurite


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A running Keycloak. It is large, so that the workers of a test run share one."""
    from score.testing.keycloak import shared_keycloak

    own = tmp_path_factory.getbasetemp()
    with shared_keycloak(own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own) as keycloak:
        yield keycloak


def _needed(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("needs") for name in mark.args]
