"""Whether an analysis may be published: every object is in the store as it was registered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from score.errors import Conflict
from score.metadata.payload import Document

NAMED = 5
"""Files that are named in an error; of the others only the number is told."""
Held = tuple[int, str | None]
"""Size in bytes, and MD5 in hex, None where nobody knows it."""


class MissingObjects(Conflict):
    """Files of the analysis were not uploaded."""


class OtherSizes(Conflict):
    """Objects have another size than was registered."""


class OtherChecksums(Conflict):
    """Objects have another MD5 than was registered, or none that is known."""


def check_objects(
    analysis: str, files: Sequence[Document], held: Mapping[str, Held | None], *, ignore_undefined: bool = False
) -> None:
    """Raises MissingObjects, OtherSizes or OtherChecksums, in this order, naming files.

    ``held`` is what the store holds under the object id of each file, None for nothing. ``ignore_undefined`` lets
    objects pass whose MD5 nobody knows.
    """
    objects: dict[str, Held] = {id: found for id, found in held.items() if found is not None}
    missing = [file for file in files if file["objectId"] not in objects]
    if missing:
        raise MissingObjects(
            "The following storage objectIds must be uploaded to the storage server before the analysisId"
            f" {analysis} can be published: {_name(missing)}"
        )
    sizes = [file for file in files if objects[file["objectId"]][0] != file["fileSize"]]
    if sizes:
        raise OtherSizes(
            f"The following file objectIds have mismatching object sizes in the storage server: [{_name(sizes)}]."
            f" The analysisId '{analysis}' cannot be published until they all match."
        )
    md5s = {id: md5 for id, (_, md5) in objects.items()}
    undefined = [] if ignore_undefined else [file for file in files if md5s[file["objectId"]] is None]
    wrong = [file for file in files if (md5 := md5s[file["objectId"]]) and md5.lower() != file["fileMd5sum"]]
    if undefined or wrong:
        found = [
            f"ObjectIds with {what} md5 checksum({len(some)}): [{_name(some)}]."
            for what, some in (("an undefined", undefined), ("a defined and mismatching", wrong))
            if some
        ]
        raise OtherChecksums(
            f"Found files with a mismatching md5 checksum in the storage server. {' '.join(found)}"
            f" The analysisId '{analysis}' cannot be published until all checksums match."
        )


def _name(files: Sequence[Document]) -> str:
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(f"{file['objectId']} ({file['fileName']})" for file in files[:NAMED]) + more
