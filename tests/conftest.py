"""What holds for all tests."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from score.testing.secrecy import secret

# No test times anything: how long an example takes is the machine's affair.
settings.register_profile("score", deadline=None)
settings.load_profile("score")

secret("720dffc1-628f-49f2-992f-f09b8ba2ae2a")  # the token of the client in these tests


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
def make_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes a file of random bytes in ``in/``."""

    def make(name: str, size: int) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(size))
        return path

    return make
