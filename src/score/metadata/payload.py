"""What Song takes as an analysis, and what it gives back: pure functions over JSON documents.

A payload names its study, its files, and anything else: all of it is kept and given back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from score.errors import Conflict, Invalid
from score.protocol.digests import is_md5
from score.protocol.ids import object_id
from score.protocol.parts import LARGEST_OBJECT

Document = dict[str, Any]

ACCESS = ("open", "controlled")
LONGEST_NAME = 255
"""Bytes of UTF-8 of a file name, so that every file system can hold it."""
_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")
_UNSPECIFIED = "unspecified"
_OWN = (
    "analysisId",
    "studyId",
    "analysisState",
    "createdAt",
    "updatedAt",
    "firstPublishedAt",
    "publishedAt",
    "analysisStateHistory",
    "samples",
    "files",
    "analysisType",
)


def check_study_id(study: str) -> None:
    """Raises Invalid where it is none."""
    if _STUDY.match(study) is None:
        raise Invalid(
            f"{study[:60]!r} is not a study id.", hint="Letters, digits, dot, dash and underscore, at most 255."
        )


def check_payload(study: str, payload: object) -> Document:
    """``payload`` as given, fit to be registered in ``study``. Raises Invalid, or Conflict for another study's.

    Each file needs ``fileName`` (a plain name, unique in the analysis), ``fileSize`` (bytes, 0 is allowed),
    ``fileMd5sum`` (hex) and ``fileAccess``. Unlike Song, ``analysisType`` and ``samples`` may be missing.
    """
    if not isinstance(payload, dict):
        raise Invalid("The payload is not a JSON object.")
    named = payload.get("studyId")
    if named is None:
        raise Invalid("The field 'studyId' is missing in the payload.")
    if named != study:
        raise Conflict(
            f"The studyId in the URL path {study!r} should match the studyId {str(named)[:60]!r} in the payload."
        )
    kind = payload.get("analysisType", {"name": _UNSPECIFIED})
    if not (isinstance(kind, dict) and isinstance(kind.get("name"), str) and kind["name"] and _is_text(kind["name"])):
        raise Invalid("The field 'analysisType' of the payload needs a 'name'.")
    if not isinstance(payload.get("samples", []), list):
        raise Invalid("The field 'samples' of the payload is not a list.")
    files = payload.get("files")
    if not isinstance(files, list) or not files:
        raise Invalid("The payload names no files.", hint="An analysis has at least one.")
    seen: set[str] = set()
    for number, file in enumerate(files, 1):
        _check_file(number, file)
        if file["fileName"] in seen:
            raise Invalid(f"The file name {file['fileName']!r} occurs twice in the payload.")
        seen.add(file["fileName"])
    return payload


def file_documents(study: str, analysis: str, payload: Mapping[str, Any]) -> list[Document]:
    """The files of a checked payload as Song gives them back, each with its object id."""
    return [
        {
            "objectId": object_id(analysis, file["fileName"]),
            "studyId": study,
            "analysisId": analysis,
            **{name: value for name, value in file.items() if name not in ("objectId", "studyId", "analysisId")},
            "fileMd5sum": file["fileMd5sum"].lower(),
        }
        for file in payload["files"]
    ]


def free_keys(payload: Mapping[str, Any]) -> Document:
    """What the registry keeps of a checked payload beside the files and what it sets itself."""
    kind = payload.get("analysisType", {"name": _UNSPECIFIED})
    return {
        "samples": payload.get("samples", []),
        "analysisType": {**kind, "version": kind.get("version") or 1},
        **{name: value for name, value in payload.items() if name not in _OWN},
    }


def analysis_document(
    row: Mapping[str, Any], kept: Mapping[str, Any], files: Sequence[Document], history: Sequence[Document]
) -> Document:
    """An analysis as Song gives it back.

    ``row`` has ``analysisId``, ``studyId``, ``analysisState``, ``createdAt``, ``updatedAt``; ``kept`` is what
    :func:`free_keys` made; ``history`` has the changes of state in their order.
    """
    published = [change["updatedAt"] for change in history if change["updatedState"] == "PUBLISHED"]
    document = {
        **row,
        "firstPublishedAt": min(published, default=None),
        "publishedAt": max(published, default=None),
        "analysisStateHistory": list(history),
        "samples": kept["samples"],
        "files": list(files),
        "analysisType": kept["analysisType"],
    }
    return document | {name: value for name, value in kept.items() if name not in document}


def _check_file(number: int, file: object) -> None:
    if not isinstance(file, dict):
        raise Invalid(f"File {number} of the payload is not a JSON object.")
    name = file.get("fileName")
    if not isinstance(name, str) or not _is_plain(name):
        raise Invalid(
            f"File {number} of the payload has the fileName {str(name)[:60]!r}.",
            hint=f"A plain name without folders or control characters, at most {LONGEST_NAME} bytes.",
        )
    size = file.get("fileSize")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LARGEST_OBJECT:
        raise Invalid(f"The fileSize of {name!r} is not a number of bytes from 0 to {LARGEST_OBJECT} (5 TiB).")
    md5 = file.get("fileMd5sum")
    if not isinstance(md5, str) or not is_md5(md5):
        raise Invalid(f"The fileMd5sum of {name!r} is not an MD5 checksum of 32 hex digits.")
    if file.get("fileAccess") not in ACCESS:
        raise Invalid(f"The fileAccess of {name!r} is neither open nor controlled.")


def _is_plain(name: str) -> bool:
    if not _is_text(name) or not name.isprintable() or "/" in name:
        return False
    return 0 < len(name.encode()) <= LONGEST_NAME and name not in (".", "..")


def _is_text(text: str) -> bool:
    """Whether a text of JSON can be written as UTF-8: halves of surrogate pairs cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
