"""The secrets of a test run, and a look at texts in which they must not be seen; see ``secrecy_plugin``."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

SHORTEST = 12
"""Characters; what is shorter is a word that may stand anywhere."""
SIGNED = re.compile(r"(?i)(?:^|[?&;\s])(?:x-amz-)?(?:signature|sig|security-token)=[A-Za-z0-9%+/_-]{6,}")
"""Part of a signed URL, as it must not be seen."""
_SECRET_NAMES = re.compile(r"(?i)(secret|password|accesstoken|accountkey)\Z")
_OVERLAP = 2000
"""Characters that are read again, since a secret may have been written in two pieces."""

_lock = threading.Lock()
_secrets: set[str] = set()
_passing: set[str] = set()
_found: list[str] = []
_watched: dict[Path, tuple[int, bool, Callable[[], bool]]] = {}


def secret(text: str) -> str:
    """``text``, which must not be seen in any output from now on. AssertionError where it is too short to tell."""
    assert len(text) >= SHORTEST, "a secret of a test must not be a word that may stand anywhere"
    with _lock:
        _secrets.add(text)
    return text


def passing_secret(text: str) -> None:
    """A text that is a secret until the test has ended; what is too short to tell is passed over."""
    if len(text) >= SHORTEST:
        with _lock:
            _passing.add(text)


def secrets_of(settings: Mapping[str, str]) -> None:
    """Name the values of secret settings, by their names."""
    for name, text in settings.items():
        if _SECRET_NAMES.search(re.sub(r"[._-]", "", name)) and len(text) >= SHORTEST:
            secret(text)


def watch(path: Path, ended: Callable[[], bool], *, answer: bool = False) -> None:
    """Look at what a program writes to a file, until it has ended. ``answer``: it is what the user asked for, which
    may be a signed URL."""
    with _lock:
        _watched[path] = (0, answer, ended)


def look_at(text: str, where: str, *, signed: bool = True) -> None:
    """Note every secret in ``text``; with ``signed`` parts of signed URLs too. What is noted holds none of it."""
    with _lock:
        hits = sum(one in text for one in _secrets | _passing)
        if hits:
            _found.append(f"{where}: {hits} secret(s) of this test run")
        if signed and SIGNED.search(text):
            _found.append(f"{where}: part of a signed URL")


def read_watched() -> None:
    """Look at what the watched files hold that was not looked at yet."""
    with _lock:
        watched = dict(_watched)
    for path, (at, answer, ended) in watched.items():
        over = ended()
        try:
            size = path.stat().st_size
            if size > at:
                with open(path, "rb") as file:
                    file.seek(max(0, at - _OVERLAP))
                    look_at(file.read().decode(errors="replace"), f"{path.name} of a program", signed=not answer)
        except FileNotFoundError:
            over = True
        with _lock:
            if over:
                del _watched[path]
            else:
                _watched[path] = (size, answer, ended)


def found(*, ended: bool) -> list[str]:
    """What was noted since the last call. ``ended``: so has the test."""
    with _lock:
        if ended:
            _passing.clear()
        noted, _found[:] = list(dict.fromkeys(_found)), []
    return noted
