"""Ids of objects and uploads: what is plausible, so that nothing else is passed on to a store or to Song."""

from __future__ import annotations

import re
import uuid

from score.errors import Invalid

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")
_UPLOAD = re.compile(r"[A-Za-z0-9._~+=/-]{1,1024}\Z")


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID in its usual form, in either case."""
    return _UUID.match(text) is not None


def check_object_id(text: str) -> str:
    """``text`` as given, never changed in case. Raises Invalid where it is no UUID."""
    if not is_uuid(text):
        raise Invalid(f"{text[:60]!r} is not an object id.", hint="Object ids are UUIDs, given out by Song.")
    return text


def check_upload_id(text: str) -> str:
    """``text`` as given. Raises Invalid where no store could have given it out."""
    if _UPLOAD.match(text) is None or ".." in text or text.startswith("/"):
        raise Invalid("That is not an upload id.", hint="Use the uploadId of the upload's specification.")
    return text


def object_id(analysis_id: str, file_name: str) -> str:
    """The object id that Song gives to a file of an analysis: a name-based UUID (version 5)."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{analysis_id}:{file_name}"))
