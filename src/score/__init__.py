"""Score: file transfer for genomics data platforms, on top of object storage.

The SDK::

    from score import Client

    with Client() as client:
        client.connect()
        client.download(["7a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"], Path("data"))

The names of ``__all__`` and those of ``score.errors`` are the public ones; docs/sdk.md describes them. Names are
loaded when they are first used, so that ``import score`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from score._version import __version__

if TYPE_CHECKING:
    from score.client.client import Client
    from score.client.layout import Layout
    from score.client.manifests import UploadEntry
    from score.client.outcome import Outcome, State, Stored
    from score.client.settings import Settings
    from score.client.transfer import Transfer
    from score.errors import ScoreError
    from score.protocol.wire import Listed
    from score.reading.file import RemoteFile
    from score.transfer.events import Checked, Ended, Event, Moved, Note, PartDone, Planned, Verifying, Waiting

_HOMES = {
    "Checked": "score.transfer.events",
    "Client": "score.client.client",
    "Ended": "score.transfer.events",
    "Event": "score.transfer.events",
    "Layout": "score.client.layout",
    "Listed": "score.protocol.wire",
    "Moved": "score.transfer.events",
    "Note": "score.transfer.events",
    "Outcome": "score.client.outcome",
    "PartDone": "score.transfer.events",
    "Planned": "score.transfer.events",
    "RemoteFile": "score.reading.file",
    "ScoreError": "score.errors",
    "Settings": "score.client.settings",
    "State": "score.client.outcome",
    "Stored": "score.client.outcome",
    "Transfer": "score.client.transfer",
    "UploadEntry": "score.client.manifests",
    "Verifying": "score.transfer.events",
    "Waiting": "score.transfer.events",
}

__all__ = [
    "Checked",
    "Client",
    "Ended",
    "Event",
    "Layout",
    "Listed",
    "Moved",
    "Note",
    "Outcome",
    "PartDone",
    "Planned",
    "RemoteFile",
    "ScoreError",
    "Settings",
    "State",
    "Stored",
    "Transfer",
    "UploadEntry",
    "Verifying",
    "Waiting",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
