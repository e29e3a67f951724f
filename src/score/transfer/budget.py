"""How many parts and files are under way at once, and how large their buffers are: one budget for a run. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from score.protocol.parts import MIB

FILES = 4
"""Files under way for each part under way: small files spend their time on calls, not on bytes."""
LARGEST_CHUNK = MIB // 2
"""Bytes read, hashed and sent at once: large enough to leave Python rarely, small enough for many threads."""
_SMALLEST_CHUNK = 16 * 1024
_HASHED_AT_ONCE = 4
"""Chunks that the MD5 of a whole file takes at once. The one thread that computes it is what ends a large transfer,
and with each buffer it has to wait for the others to let Python go on."""
_GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Budget:
    """``parts`` and ``files`` under way at once; ``chunk``: bytes of each buffer."""

    parts: int = 6
    files: int = 6 * FILES
    chunk: int = LARGEST_CHUNK

    @classmethod
    def within(cls, parallel: int, memory: float) -> Budget:
        """The budget for ``parallel`` parts (``transport.parallel``) whose buffers take at most ``memory`` GiB
        (``transport.memory``): where that is little, buffers are smaller, then files and parts fewer."""
        room = int(memory * _GIB)
        parts, files = parallel, parallel * FILES
        if _buffers(parts, files) * _SMALLEST_CHUNK > room:
            files = parts
        while parts > 1 and _buffers(parts, files) * _SMALLEST_CHUNK > room:
            parts -= 1
            files = parts
        chunk = room // _buffers(parts, files) // 4096 * 4096
        return cls(parts, files, min(max(chunk, _SMALLEST_CHUNK), LARGEST_CHUNK))

    @property
    def hashed(self) -> int:
        """Bytes of the buffer in which a whole file is hashed."""
        return _HASHED_AT_ONCE * self.chunk

    @property
    def memory(self) -> int:
        """Bytes that all buffers take at most."""
        return _buffers(self.parts, self.files) * self.chunk


def _buffers(parts: int, files: int) -> int:
    """How many chunks: a part that arrives is in one of ours and one of the connection, a file in those where it is
    hashed."""
    return 2 * parts + _HASHED_AT_ONCE * files
