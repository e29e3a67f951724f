"""What a store's failure means: its answers and the breakdowns of the connection as errors of Score. Pure.

No message holds a URL, a header or anything else that is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from score.errors import AlreadyExists, Conflict, NotFound, Refused, ScoreError, Unavailable
from score.storage.answers import PASSING_STATUSES, clock_hint, retry_after
from score.storage.base import OVERWRITE
from score.storage.s3.xml import Fault

_PASSING_CODES = frozenset(
    {
        *("InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"),
        "ConditionalRequestConflict",  # of Amazon, where the object changes just then: asked again, it knows
    }
)
_GONE_CODES = frozenset({"NoSuchKey", "NoSuchUpload"})
_UNSUPPORTED_CODES = frozenset({"InvalidArgument", "InvalidRequest", "MethodNotAllowed", "NotImplemented"})
_PART_CODES = frozenset({"EntityTooSmall", "InvalidPart", "InvalidPartOrder"})
_HINTS = {
    "AccessDenied": "Check that the account may use this bucket in this way.",
    "AuthorizationHeaderMalformed": "Check the region that requests are signed for.",
    "ExpiredToken": "The session token has expired: renew it.",
    "InvalidAccessKeyId": "Check s3.accessKey.",
    "NoSuchBucket": "Create the bucket, or correct its name in the settings.",
    "PermanentRedirect": "Check the endpoint and the region of the bucket.",
    "QuotaExceeded": "Raise the quota of the account or the bucket, or make room.",
    "RequestTimeTooSkewed": "Set this machine's clock right.",
    "SignatureDoesNotMatch": "Check s3.secretKey, and that no proxy changes the Host header.",
}


class Unsupported(Refused):
    """The store does not have what is asked for, and says so; perhaps it has the rest of it."""


def translate(what: str, status: int, headers: Mapping[str, str], fault: Fault | None, now: datetime) -> ScoreError:
    """The error for an answer that is none of success. ``what`` names operation and object; ``now`` is our time."""
    # HEAD has no body to name a code in; MinIO names it in a header.
    code = (fault.code if fault else "") or headers.get("x-minio-error-code", "")
    said = f"{status}" + (f" {code}" if code else "") + (f" ({fault.message})" if fault and fault.message else "")
    message = f"The store answered {said} to {what}."
    hint = _HINTS.get(code, "")
    if code.lower().startswith("kms"):
        hint = "Check s3.masterEncryptionKeyId, and that the account may use that key."
    # A bucket that is missing is not among them: nobody knows then whether the object is there.
    if code in _GONE_CODES or (status == 404 and not code):
        return NotFound(message)
    if code == "PreconditionFailed" or status == 412:
        return AlreadyExists(message, hint=OVERWRITE)  # all conditions are about that
    if code in _UNSUPPORTED_CODES or status == 501:
        return Unsupported(message)
    if code in _PART_CODES:
        return Conflict(message)
    if status in PASSING_STATUSES or code in _PASSING_CODES:
        return Unavailable(message, retry_after=retry_after(headers))
    return Refused(message, hint=hint or (clock_hint(headers, now) if status == 403 else ""))
