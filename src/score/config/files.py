"""Files that hold settings: which there are, and what they say."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from score.config.formats import Document, read_properties, read_yaml
from score.errors import Misconfigured


def label(file: Path, folder: Path) -> str:
    """How messages call a file."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def is_there(file: Path) -> bool:
    """Whether there is such a file. Raises Misconfigured where it cannot be told, as in a folder of another user."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"The settings in {file} cannot be read: {error.strerror}.",
        hint="Have it made readable, or start in another folder.",
    )


def text_of(file: Path) -> str:
    """What a file says. Raises Misconfigured where it cannot be read."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # the encoding of properties files of old


def documents(places: Iterable[Path], folder: Path, profile: str = "") -> list[tuple[str, Document]]:
    """The documents of ``application.*`` in every place, lowest first; with a profile those of
    ``application-<profile>.*``. A place may be a file itself, whose profiles then lie beside it, named likewise."""
    found = []
    suffix = f"-{profile}" if profile else ""
    for place in places:
        names = [f"application{suffix}.{kind}" for kind in ("yml", "yaml", "properties")]
        files = [place.with_stem(place.stem + suffix)] if is_there(place) else [place / name for name in names]
        for file in files:
            if is_there(file):
                name, text = label(file, folder), text_of(file)
                read = read_yaml(text, name) if file.suffix in (".yml", ".yaml") else read_properties(text)
                found += [(name, document) for document in read]
    return found
