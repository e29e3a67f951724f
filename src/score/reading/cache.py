"""A bounded cache of blocks: in memory, and what falls out of memory on the disk, where that is wanted.

The file on the disk has no name, so nothing is left of it after the process, whichever way that ends.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

Key = Hashable


class BlockCache:
    """Blocks of bytes by key, the longest unused ones leave first. Safe for threads.

    ``memory`` and ``disk`` in bytes; ``block`` is the largest size of a block; ``folder`` is where the file goes
    (the system's temporary folder where None).
    """

    def __init__(self, memory: int, block: int, disk: int = 0, folder: Path | None = None) -> None:
        self.capacity = memory
        self._used = 0
        self._blocks: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._disk = _Disk(disk // block, block, folder) if disk >= block else None

    @property
    def used(self) -> int:
        """Bytes in memory."""
        return self._used

    def get(self, key: Key) -> bytes | None:
        """The block, None where it is not there."""
        with self._lock:
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
                return found
            if self._disk is None or (found := self._disk.take(key)) is None:
                return None
            self._keep(key, found)
            return found

    def holds(self, key: Key) -> bool:
        """Whether the block is there."""
        with self._lock:
            return key in self._blocks or (self._disk is not None and self._disk.holds(key))

    def put(self, key: Key, block: bytes) -> None:
        """Keep a block as long as there is room."""
        with self._lock:
            if self._disk is not None:
                self._disk.drop(key)
            self._keep(key, block)

    def drop(self, key: Key) -> None:
        """Forget a block."""
        with self._lock:
            self._used -= len(self._blocks.pop(key, b""))
            if self._disk is not None:
                self._disk.drop(key)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._blocks.clear()
            self._used = 0
            if self._disk is not None:
                self._disk.close()
                self._disk = None

    def _keep(self, key: Key, block: bytes) -> None:
        self._used += len(block) - len(self._blocks.pop(key, b""))
        self._blocks[key] = block
        while self._used > self.capacity and len(self._blocks) > 1:
            old, data = self._blocks.popitem(last=False)
            self._used -= len(data)
            if self._disk is not None and not self._disk.put(old, data):
                self._disk.close()  # a full disk costs speed, nothing else
                self._disk = None


class _Disk:
    """Blocks in the slots of one file. Not safe for threads."""

    def __init__(self, slots: int, block: int, folder: Path | None) -> None:
        self._file = tempfile.TemporaryFile(prefix="score-", dir=folder, buffering=0)  # noqa: SIM115 - close() does
        self._block = block
        self._free = list(range(slots))
        self._slots: OrderedDict[Key, tuple[int, int]] = OrderedDict()

    def holds(self, key: Key) -> bool:
        return key in self._slots

    def take(self, key: Key) -> bytes | None:
        """The block, which leaves the disk: it goes back to memory, and another one comes in its place."""
        place = self._slots.get(key)
        if place is None:
            return None
        self.drop(key)
        slot, length = place
        try:
            data = os.pread(self._file.fileno(), length, slot * self._block)
        except OSError:
            return None
        return data if len(data) == length else None

    def put(self, key: Key, data: bytes) -> bool:
        """Whether the disk took it."""
        slot = self._free.pop() if self._free else self._slots.popitem(last=False)[1][0]
        try:
            if os.pwrite(self._file.fileno(), data, slot * self._block) < len(data):
                return False
        except OSError:
            return False
        self._slots[key] = (slot, len(data))
        return True

    def drop(self, key: Key) -> None:
        place = self._slots.pop(key, None)
        if place is not None:
            self._free.append(place[0])

    def close(self) -> None:
        self._file.close()
