"""What holds for all tests."""

from __future__ import annotations

import importlib.util
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import urllib3
from hypothesis import settings

from score.client.client import Client
from score.client.settings import Settings
from score.testing.score import FaultyScore, faulty_score
from score.testing.secrecy import secret
from score.testing.song import FakeSong
from score.transfer.http import Timeouts
from score.transfer.retry import Patience

# No test times anything: how long an example takes is the machine's affair.
settings.register_profile("score", deadline=None)
settings.load_profile("score")

TOKEN = secret("720dffc1-628f-49f2-992f-f09b8ba2ae2a")
"""That of the client in these tests."""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """What this process does on signals, as it was before: commands that are run within it set that, and programs
    that are started later would inherit a signal that is ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """For requests of the test itself."""
    with urllib3.PoolManager(retries=False, timeout=60) as http:
        yield http


@pytest.fixture(scope="session")
def tool() -> Callable[[str], ModuleType]:
    """Gives a program of ``tools/`` as a module."""

    @cache
    def load(name: str) -> ModuleType:
        path = Path(__file__).resolve().parents[1] / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes a file of random bytes in ``in/``."""

    def make(name: str, size: int) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(size))
        return path

    return make


@pytest.fixture
def part_size() -> int:
    """Bytes of the parts that ``site`` asks for; tests may have another."""
    return 64 * 1024


@pytest.fixture
def site(part_size: int) -> Iterator[FaultyScore]:
    """A fake Score behind a proxy."""
    with faulty_score(part_size) as site:
        yield site


@pytest.fixture
def song() -> Iterator[FakeSong]:
    """A fake Song."""
    with FakeSong() as song:
        yield song


@pytest.fixture
def make_client(site: FaultyScore, song: FakeSong) -> Iterator[Callable[..., Client]]:
    """Clients of the two, which wait for nothing, with settings of the test's choosing; closed in the end."""
    with ExitStack() as stack:

        def make(*, block: int | None = None, **settings: Any) -> Client:
            plain = Settings(
                storage_url=site.url,
                metadata_url=song.url,
                token=TOKEN,
                patience=Patience(attempts=3, first_wait=0),
                timeouts=Timeouts(connect=20, read=20),
                parallel=3,
            )
            return stack.enter_context(Client(replace(plain, **settings), listener=site.heard, block=block))

        yield make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()
