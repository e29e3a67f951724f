"""One budget of threads and memory for a whole run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from score.protocol.parts import MIB
from score.transfer.budget import LARGEST_CHUNK, Budget

GIB = 1024 * MIB


def test_by_default_memory_is_no_limit() -> None:
    assert Budget.within(6, 1.0) == Budget() == Budget(6, 24, LARGEST_CHUNK)
    assert Budget().memory < 60 * MIB


@given(st.integers(1, 256), st.floats(0.001, 64))
def test_buffers_never_take_more_than_was_allowed(parallel: int, memory: float) -> None:
    budget = Budget.within(parallel, memory)
    assert budget.memory <= memory * GIB
    assert 1 <= budget.parts <= parallel
    assert budget.parts <= budget.files <= parallel * 4
    assert 16 * 1024 <= budget.chunk <= LARGEST_CHUNK


def test_little_memory_makes_small_buffers_first_then_few_files_then_few_parts() -> None:
    assert Budget.within(6, 0.01) == Budget(6, 24, 98_304)
    assert Budget.within(64, 0.016) == Budget(64, 64, 40_960)
    assert Budget.within(256, 0.001).parts == 10
