"""Who got what: one line of JSON for every URL handed out, refusal, completion, cancellation and deletion.

The lines go to the logger ``score.audit``; where that leads is the program's affair. A line never holds a token, a
key, a URL or a signature: ``key`` is the fingerprint of a token.
"""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime

from score.auth.base import Identity

log = logging.getLogger("score.audit")
log.setLevel(logging.INFO)

_LONGEST = 255
"""Characters of a study's id that a line has; those of the embedded registry have no more."""


@dataclass(slots=True)
class Trail:
    """What is known of the request at hand. ``client`` is its address, ``deed`` what was done in it, ``what`` the
    further fields of its line, ``trace`` the id of its trace in hex, where it is traced."""

    request_id: str
    client: str = ""
    identity: Identity | None = None
    study: str = ""
    deed: str = ""
    what: dict[str, str | int] = field(default_factory=dict)
    trace: str = ""


TRAIL: ContextVar[Trail | None] = ContextVar("trail", default=None)
"""The request at hand; None outside of any."""


def identified(identity: Identity) -> None:
    """The owner of the request's token is known."""
    if (trail := TRAIL.get()) is not None:
        trail.identity = identity


def concerns(study: str) -> None:
    """The request is about a file of this study; callers may name any, of any length."""
    if (trail := TRAIL.get()) is not None:
        trail.study = study[:_LONGEST]


def note(deed: str, object_id: str = "", **what: str | int) -> None:
    """The request does what an audit line has to tell of; it is written when the request is answered."""
    if (trail := TRAIL.get()) is not None:
        trail.deed = deed
        trail.what = {"object": object_id, **what} if object_id else what


def record(deed: str, outcome: str, **what: str | int) -> None:
    """Write a line now, with what is known of the request at hand, if there is one."""
    trail = TRAIL.get()
    line: dict[str, str | int] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "deed": deed,
        "outcome": outcome,
    }
    if trail is not None:
        if trail.identity is not None:
            line |= {"subject": trail.identity.subject, "key": trail.identity.fingerprint}
        if trail.study:
            line["study"] = trail.study
    line |= what
    if trail is not None:
        line |= {"from": trail.client, "request": trail.request_id}
    log.info("%s", json.dumps(line, separators=(",", ":")), extra={"fields": {"message": f"{deed} {outcome}"} | line})


def conclude(trail: Trail, call: str, status: int) -> None:
    """The request is answered with ``status``, 0 where it gets no answer: write its line, where it needs one.

    ``call`` is its method and path, without the query.
    """
    if status in (401, 403):
        record(trail.deed or "call", "refused", **trail.what, status=status, call=call)
    elif trail.deed:
        outcome = "done" if 200 <= status < 300 else "failed" if status else "unanswered"
        record(trail.deed, outcome, **trail.what, status=status)
