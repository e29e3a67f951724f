"""Values written as text, in settings and in query parameters. The ValueError of each says what is expected."""

from __future__ import annotations

import re


def boolean(text: object) -> bool:
    """``true`` or ``false``, also as yes, on, 1, no, off, 0, as Spring takes them."""
    word = str(text).lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError("true or false")


def whole(text: object) -> int:
    """A whole number that fits in 64 bits."""
    if re.fullmatch(r"[+-]?[0-9]{1,19}", str(text)) is None or abs(number := int(str(text))) >= 2**63:
        raise ValueError("a whole number")
    return number
