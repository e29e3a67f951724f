"""What was registered of a file, which is what its upload has to be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from score.client.catalog import Catalog
from score.client.records import Record
from score.errors import Integrity, NotFound

_HINT = "Register the file as it is now, or find the file that was registered."


@dataclass(frozen=True)
class Registered:
    """The registry's record of one object, asked for once, when it is first needed; where there is none, or nobody
    answers, everything fits: the Score server asks the registry too, and has the last word."""

    catalog: Catalog
    object_id: str

    @cached_property
    def _record(self) -> Record:
        return self.catalog.record(self.object_id) or Record(self.object_id)

    @property
    def md5(self) -> str:
        """In hex; empty where it is not known."""
        return self._record.md5 or ""

    def require_known(self, path: Path) -> None:
        """Raises NotFound where the object that the file is to become is not registered."""
        if self.catalog.is_unknown(self.object_id):
            raise NotFound(
                f"{path}: object {self.object_id} is not registered.",
                hint="Check the id, and that METADATA_URL is the right metadata service.",
            )

    def require_size(self, path: Path, size: int) -> None:
        """Raises Integrity where another size is registered than that of the file, in bytes."""
        known = self._record.size
        if known is not None and known != size:
            raise Integrity(f"{path} has {size:,} bytes, but {known:,} are registered.", hint=_HINT)

    def require_md5(self, path: Path, md5: str) -> None:
        """Raises Integrity where another MD5 is registered."""
        if self.md5 and self.md5 != md5:
            raise Integrity(f"{path}: MD5 {self.md5} is registered, but {md5} was given.", hint=_HINT)
