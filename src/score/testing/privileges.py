"""Permissions that hold for root too, so that tests of folders nobody may write to mean the same for everyone."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_VERSION_3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root's right to pass over permissions


def unprivileged(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread (and the threads that it starts) for which permissions count.

    Linux gives each thread its own capabilities; where the user is not root there is nothing to give up.
    """

    def run() -> T:
        if sys.platform == "linux" and os.geteuid() == 0:
            _drop_overrides()
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _drop_overrides() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same for capabilities from 32 on
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for index in (0, 1):
        sets[index] &= ~_OVERRIDES
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
