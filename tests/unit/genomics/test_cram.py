"""Heads of containers and their index, from bytes made by hand: the numbers of CRAM in all their lengths."""

from __future__ import annotations

import struct
import zlib

import pytest

from score.genomics.cram import Container, Version, read_container, read_crai, read_version
from score.genomics.damage import Damaged

V3, V2 = Version(3, 0), Version(2, 1)


def itf8(value: int) -> bytes:
    value &= 0xFFFFFFFF
    if value < 1 << 7:
        return bytes([value])
    if value < 1 << 14:
        return bytes([0x80 | value >> 8, value & 0xFF])
    if value < 1 << 21:
        return bytes([0xC0 | value >> 16, value >> 8 & 0xFF, value & 0xFF])
    if value < 1 << 28:
        return bytes([0xE0 | value >> 24, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF])
    return bytes([0xF0 | value >> 28, value >> 20 & 0xFF, value >> 12 & 0xFF, value >> 4 & 0xFF, value & 0x0F])


def ltf8(value: int, extra: int) -> bytes:
    """With so many bytes after the first, 0 to 8."""
    first = (0xFF00 >> extra) & 0xFF
    return bytes([first | (value >> 8 * extra if extra < 7 else 0)]) + (value & (1 << 8 * extra) - 1).to_bytes(
        extra, "big"
    )


def container(reference: int, start: int, *, version: Version, landmarks: int = 2, extra: int = 0) -> bytes:
    head = struct.pack("<i", 500) + b"".join(map(itf8, (reference, start, 70_000, 9000)))
    head += ltf8(1, extra) if version.major == 3 else itf8(1_000_000)
    head += ltf8(3, extra) + itf8(4) + itf8(landmarks) + b"".join(itf8(one * 200_000) for one in range(landmarks))
    return head + struct.pack("<I", zlib.crc32(head)) if version.major == 3 else head


@pytest.mark.parametrize("version", [V3, V2], ids=str)
@pytest.mark.parametrize("reference", [-2, -1, 0, 127, 128, 16_383, 16_384, 2_097_152, 268_435_456, 2_147_483_647])
@pytest.mark.parametrize("extra", range(9))
def test_numbers_of_every_length(version: Version, reference: int, extra: int) -> None:
    head = container(reference, reference, version=version, extra=extra)
    assert read_container(b"xyz" + head, 3, version) == Container(len(head), len(head) + 500, reference)
    for kept in range(len(head)):
        assert read_container(head[:kept], 0, version) is None


def test_what_is_no_container() -> None:
    head = container(1, 5, version=V3)
    with pytest.raises(Damaged, match="wrong checksum"):
        read_container(head[:5] + b"\x07" + head[6:], 0, V3)
    with pytest.raises(Damaged, match="no container begins at byte 0"):
        read_container(struct.pack("<i", -1) + head[4:], 0, V3)


@pytest.mark.parametrize("data", [b"", b"CRA", b"CRAM\4\0", b"CRAM\1\0", b"BAM\1\0\0\0"])
def test_versions_that_are_not_known(data: bytes) -> None:
    with pytest.raises(Damaged):
        read_version(data)


INDEX = b"0\t11\t90\t100\t5\t9\n0\t101\t50\t300\t5\t9\n-1\t0\t0\t900\t5\t9\n3\t1\t0\t500\t5\t9\n-2\t0\t0\t700\t5\t9\n"


@pytest.mark.parametrize(
    ("reference", "ranges", "expected"),
    [
        (0, [(0, 10)], [700]),
        (0, [(0, 11)], [100, 700]),
        (0, [(99, 100)], [100, 700]),
        (0, [(100, 101)], [300, 700]),
        (0, [(150, 999)], [700]),
        (0, [(0, 1), (20, 21), (140, 160)], [100, 300, 700]),
        (3, [(0, 1)], [500, 700]),
        (3, [(1, 2)], [700]),
        (-1, [], [700, 900]),
        (5, [(0, 1 << 40)], [700]),
    ],
)
def test_containers_of_a_range(reference: int, ranges: list[tuple[int, int]], expected: list[int]) -> None:
    index = read_crai(INDEX)
    assert index.containers(reference, ranges) == expected
    assert [index.after(one) for one in (100, 700, 900)] == [300, 900, None]
    assert index.last == 900


@pytest.mark.parametrize(
    "text", [b"x", b"0\t1\t2\n", b"0\t1\t2\t3\t4\t5\n", b"-3\t1\t2\t99\t4\t5\n", b"0\t1\t1e9\t99\t1\t1", b"9" * 9000]
)
def test_lines_that_are_none(text: bytes) -> None:
    with pytest.raises(Damaged, match="its line 1"):
        read_crai(text)
