"""Score: file transfer for genomics data platforms, on top of object storage.

The SDK::

    from score import Client

    with Client() as client:
        client.connect()
        client.download(["7a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"], Path("data"))

Names are loaded when they are first used, so that ``import score`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from score._version import __version__

if TYPE_CHECKING:
    from score.client.client import Client
    from score.client.layout import Layout
    from score.client.outcome import Outcome, State
    from score.client.settings import Settings
    from score.errors import ScoreError

_HOMES = {
    "Client": "score.client.client",
    "Layout": "score.client.layout",
    "Outcome": "score.client.outcome",
    "ScoreError": "score.errors",
    "Settings": "score.client.settings",
    "State": "score.client.outcome",
}

__all__ = ["Client", "Layout", "Outcome", "ScoreError", "Settings", "State", "__version__"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
