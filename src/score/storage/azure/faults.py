"""What a failure of Azure means: its answers as errors of Score. Pure.

No message holds a URL, a header or anything else that is signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from score.errors import Conflict, NotFound, Refused, ScoreError, Unavailable

_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset(
    {"ContainerBeingDeleted", "InternalError", "OperationTimedOut", "ServerBusy", "OperationNotAllowedInCurrentState"}
)
_CHANGED_CODES = frozenset(
    {"BlobAlreadyExists", "ConditionNotMet", "InvalidBlobOrBlock", "InvalidBlockId", "InvalidBlockList"}
)
_HINTS = {
    "AccountIsDisabled": "Enable the storage account.",
    "AuthenticationFailed": "Check azure.accountKey, and this machine's clock.",
    "AuthorizationFailure": "Check azure.accountName, azure.accountKey and the firewall of the storage account.",
    "AuthorizationPermissionMismatch": "Check the permissions of the stored access policies.",
    "ContainerNotFound": "Create the container, or correct bucket.name.object.",
    "InvalidAuthenticationInfo": "Check azure.accountKey, and this machine's clock.",
    "KeyBasedAuthenticationNotPermitted": "Allow access by account key in the settings of the storage account.",
}
_NOTABLE_SKEW = 300.0

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds."""


def translate(
    what: str, status: int, headers: Mapping[str, str], fault: tuple[str, str], now: datetime
) -> ScoreError:
    """The error for an answer that is none of success. ``what`` names operation and object; ``now`` is our time."""
    # HEAD has no body to name a code in.
    code = fault[0] or headers.get("x-ms-error-code", "")
    said = f"{status}" + (f" {code}" if code else "") + (f" ({fault[1]})" if fault[1] else "")
    message = f"The store answered {said} to {what}."
    hint = _HINTS.get(code, "")
    if code in _PASSING_CODES or (status in _PASSING_STATUSES and code not in _CHANGED_CODES):
        return Unavailable(message, retry_after=_retry_after(headers))
    if status in (409, 412) or code in _CHANGED_CODES:
        return Conflict(message)
    if status == 404 and code != "ContainerNotFound":  # without it nobody knows whether the blob is there
        return NotFound(message)
    skew = clock_skew(headers, now)
    if status == 403 and skew is not None and abs(skew) > _NOTABLE_SKEW:
        hint = f"The store's clock differs from this machine's by {skew:.0f} s, which may be the reason."
    return Refused(message, hint=hint)


def clock_skew(headers: Mapping[str, str], now: datetime) -> float | None:
    """The store's clock minus ours, in seconds, None where the answer has no date."""
    try:
        told = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() - now.timestamp()


def delays(limit: int, random: Random) -> Iterator[float]:
    """Seconds to wait before each of ``limit`` further attempts: doubled each time, of random length."""
    for attempt in range(limit):
        yield min(FIRST_DELAY * 2**attempt, LONGEST_DELAY) * random.uniform(0.5, 1.0)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
