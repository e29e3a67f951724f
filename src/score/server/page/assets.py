"""The files of the page: read once, served with ETags, so that browsers fetch anew only what changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

_TYPES = {
    "html": "text/html;charset=UTF-8",
    "css": "text/css;charset=UTF-8",
    "js": "text/javascript;charset=UTF-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file; ``etag`` has its quotes."""

    content: bytes
    media_type: str
    etag: str

    def is_known(self, if_none_match: str) -> bool:
        """Whether the header ``If-None-Match`` says that the browser has it."""
        names = {name.strip().removeprefix("W/") for name in if_none_match.split(",")}
        return bool(names & {self.etag, "*"})


def load() -> Mapping[str, Asset]:
    """All files, by their names."""
    folder = files("score.server.page") / "files"
    return {entry.name: _asset(entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.is_file()}


def _asset(name: str, content: bytes) -> Asset:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Asset(content, _TYPES[name.rpartition(".")[2]], etag)
