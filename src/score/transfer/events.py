"""What a transfer tells whoever watches it: a terminal, a log, a program that embeds the SDK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ENDLESS = 2**31 - 1
"""So many attempts are no limit."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An item is about to move. ``size`` bytes in ``parts`` parts, of which ``done`` bytes were moved earlier."""

    item: str
    size: int
    parts: int
    done: int = 0
    done_parts: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """``count`` more bytes of an item went over the wire; negative where bytes have to be moved again."""

    item: str
    count: int


@dataclass(frozen=True, slots=True)
class Checked:
    """``count`` more bytes of an item were read and compared; none of them moved."""

    item: str
    count: int


@dataclass(frozen=True, slots=True)
class PartDone:
    """One more part of an item is verified and recorded."""

    item: str
    number: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call failed in a way that may pass and is repeated after ``seconds``. As text it is a line for a log."""

    what: str
    why: str
    seconds: float
    attempt: int
    attempts: int

    def __str__(self) -> str:
        limit = "" if self.attempts >= ENDLESS else f"/{self.attempts}"
        return f"{self.what}: {self.why} Once more in {self.seconds:.0f} s ({self.attempt}{limit})."


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line, though nothing failed."""

    item: str
    text: str


@dataclass(frozen=True, slots=True)
class Verifying:
    """All bytes of an item are there; its whole MD5 is still being computed, and is past ``read`` bytes."""

    item: str
    read: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """An item is finished: ``state`` is one word of :class:`score.client.outcome.Outcome`, or ``hashed`` in a
    registration."""

    item: str
    state: str
    text: str = ""


Event = Planned | Moved | Checked | PartDone | Waiting | Note | Verifying | Ended
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of whoever does not want to know."""
