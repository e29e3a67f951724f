"""What a failure of Azure means: its answers as errors of Score. Pure.

No message holds a URL, a header or anything else that is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from score.errors import Conflict, NotFound, Refused, ScoreError, Unavailable
from score.storage.answers import PASSING_STATUSES, clock_hint, retry_after

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


def translate(
    what: str, status: int, headers: Mapping[str, str], fault: tuple[str, str], now: datetime
) -> ScoreError:
    """The error for an answer that is none of success. ``what`` names operation and object; ``now`` is our time."""
    # HEAD has no body to name a code in.
    code = fault[0] or headers.get("x-ms-error-code", "")
    said = f"{status}" + (f" {code}" if code else "") + (f" ({fault[1]})" if fault[1] else "")
    message = f"The store answered {said} to {what}."
    if code in _PASSING_CODES or (status in PASSING_STATUSES and code not in _CHANGED_CODES):
        return Unavailable(message, retry_after=retry_after(headers))
    if status in (409, 412) or code in _CHANGED_CODES:
        return Conflict(message)
    if status == 404 and code != "ContainerNotFound":  # without it nobody knows whether the blob is there
        return NotFound(message)
    clocks = clock_hint(headers, now) if status == 403 else ""
    return Refused(message, hint=clocks or _HINTS.get(code, ""))
