"""MD5 checksums in hex and base64, and in ETags."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import Invalid
from score.protocol.digests import check_md5, etag_md5, is_md5, to_hex

EMPTY_MD5 = hashlib.md5(b"").hexdigest()

DIGESTS = st.binary(max_size=20).map(lambda data: hashlib.md5(data).digest())


@given(DIGESTS)
def test_hex_and_base64_are_the_same_checksum(digest: bytes) -> None:
    text = digest.hex()
    assert to_hex(text) == to_hex(text.upper()) == to_hex(base64.b64encode(digest).decode()) == text
    assert check_md5(text.upper()) == text


@given(DIGESTS)
def test_etags_of_parts_hold_the_checksum(digest: bytes) -> None:
    text = digest.hex()
    for etag in (text, f'"{text}"', f'"{text.upper()}"', f' "{text}" ', f'W/"{text}"'):
        assert etag_md5(etag) == text
    assert etag_md5(f'"{text}-2"') is None


@pytest.mark.parametrize(
    "text", [None, "", "nonsense", "=", "1B2M2Y8AsgTpgAmY7PhCfg", "AAAA", "é" * 32, EMPTY_MD5[:-1]]
)
def test_nonsense_is_no_checksum(text: str | None) -> None:
    assert to_hex(text) is None


@pytest.mark.parametrize("text", ["", "x" * 32, EMPTY_MD5 + "\n", EMPTY_MD5[:-1], EMPTY_MD5 + "0"])
def test_a_checksum_has_32_hex_digits(text: str) -> None:
    assert not is_md5(text)
    with pytest.raises(Invalid, match=r"md5 .* is not an MD5 checksum"):
        check_md5(text)


def test_the_empty_file_has_the_known_checksum() -> None:
    assert to_hex("1B2M2Y8AsgTpgAmY7PhCfg==") == EMPTY_MD5
