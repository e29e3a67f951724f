"""Objects of a Score server as inputs and outputs of Snakemake workflows.

A query is ``score://<object id>``, ``score://<object id>/<any name>`` or ``score://<study>/<analysis>/<file name>``.
What lies here is the least that Snakemake's interface asks for; the work is done by ``score.Client``.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_storage_plugins.common import Operation
from snakemake_interface_storage_plugins.io import IOCacheStorageInterface, get_constant_prefix
from snakemake_interface_storage_plugins.settings import StorageProviderSettingsBase
from snakemake_interface_storage_plugins.storage_object import (
    StorageObjectGlob,
    StorageObjectRead,
    StorageObjectWrite,
)
from snakemake_interface_storage_plugins.storage_provider import (
    ExampleQuery,
    QueryType,
    StorageProviderBase,
    StorageQueryValidationResult,
)

from score import Client, Event, Layout, Note, Settings, Waiting
from score.errors import NotFound, NotReady, ScoreError

SCHEME = "score://"
_OBJECT = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


@dataclass
class StorageProviderSettings(StorageProviderSettingsBase):
    """What is not given here is taken from where score-client takes it: ``STORAGE_URL`` and so on."""

    url: str | None = field(default=None, metadata={"help": "Address of the Score server (else STORAGE_URL)"})
    metadata_url: str | None = field(
        default=None, metadata={"help": "Address of Song (else METADATA_URL, else the Score server's)"}
    )
    token: str | None = field(
        default=None, repr=False, metadata={"help": "Access token (else ACCESSTOKEN)", "env_var": True}
    )
    force: bool = field(
        default=False, metadata={"help": "Replace objects that are there with other contents", "type": bool}
    )


class StorageProvider(StorageProviderBase):
    """Holds the one client of a workflow's process; it is made when it is first needed."""

    settings: StorageProviderSettings

    def __post_init__(self) -> None:
        self._client: Client | None = None
        self._making = threading.Lock()
        self._ids: dict[str, str] = {}

    @property
    def client(self) -> Client:
        """The client. WorkflowError where the settings are incomplete."""
        with self._making:
            if self._client is None:
                given = {
                    "storage_url": self.settings.url,
                    "metadata_url": self.settings.metadata_url,
                    "accessToken": self.settings.token,
                }
                try:
                    settings = Settings.load(**{name: text for name, text in given.items() if text})
                    self._client = Client(settings, listener=self._tell)
                except ScoreError as error:
                    raise WorkflowError(str(error)) from None
            return self._client

    def _tell(self, event: Event) -> None:
        match event:
            case Waiting():
                self.logger.warning(str(event))
            case Note(item, text):
                self.logger.warning(f"{item}: {text}")

    def object_id(self, path: PurePosixPath) -> str:
        """The object of a query, asked of the metadata service once where it is named by study, analysis and file."""
        if _OBJECT.match(path.parts[0]):
            return path.parts[0]
        study, analysis, name = path.parts
        if str(path) not in self._ids:
            found = self.client.files(study, analysis)
            self._ids |= {f"{study}/{analysis}/{each}": one for each, one in found.items()}
        if str(path) not in self._ids:
            raise NotFound(f"Analysis {analysis} of study {study} has no file {name}.")
        return self._ids[str(path)]

    @classmethod
    def example_queries(cls) -> list[ExampleQuery]:
        """For Snakemake's catalogue."""
        return [
            ExampleQuery(
                "score://7a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001/sample.bam", "An object by its id", QueryType.ANY
            ),
            ExampleQuery(
                "score://TEST-CA/735b65fa-f502-11e6-9811-6d36ca5fb3ab/sample.bam",
                "A file of an analysis of a study",
                QueryType.ANY,
            ),
        ]

    def rate_limiter_key(self, query: str, operation: Operation) -> Any:
        """There is one server."""
        return self.settings.url

    def default_max_requests_per_second(self) -> float:
        """Not used: the client waits as the server asks it to."""
        return 100.0

    def use_rate_limiter(self) -> bool:
        """Not used."""
        return False

    @classmethod
    def is_valid_query(cls, query: str) -> StorageQueryValidationResult:
        """Whether it is one; parts may be wildcards."""
        path = PurePosixPath(query.removeprefix(SCHEME))
        parts = path.parts
        reason = None
        if not query.startswith(SCHEME):
            reason = f"it does not begin with {SCHEME}"
        elif not parts or ".." in parts or path.is_absolute():
            reason = "it names no object"
        elif not (len(parts) == 3 or (len(parts) <= 2 and (_OBJECT.match(parts[0]) or "{" in parts[0]))):
            reason = f"it is neither {SCHEME}<object id>[/<name>] nor {SCHEME}<study>/<analysis>/<file name>"
        return StorageQueryValidationResult(query, reason is None, reason)


class StorageObject(StorageObjectRead, StorageObjectWrite, StorageObjectGlob):
    """One object of the server."""

    provider: StorageProvider

    def __post_init__(self) -> None:
        self._path = PurePosixPath(self.query.removeprefix(SCHEME))

    @property
    def _id(self) -> str:
        return self.provider.object_id(self._path)

    def local_suffix(self) -> str:
        """Where it lies below Snakemake's folder for the storage: in a folder of its object, also without a name."""
        return str(self._path if len(self._path.parts) > 1 else self._path / self._path)

    async def inventory(self, cache: IOCacheStorageInterface) -> None:
        """Nothing is known for free."""

    def get_inventory_parent(self) -> str | None:
        """Nothing is asked for together."""
        return None

    def cleanup(self) -> None:
        """Nothing is left to clean up."""

    def exists(self) -> bool:
        """Whether the object is in the store, published or not."""
        try:
            return self.provider.client.exists(self._id)
        except NotFound:
            return False

    def mtime(self) -> float:
        """When it came into the store; now for what came since a server of the reference made its list."""
        try:
            return self.provider.client.modified(self._id).timestamp()
        except NotReady:
            return time.time()

    def size(self) -> int:
        """In bytes."""
        return self.provider.client.stat(self._id).size

    def checksum(self) -> str | None:
        """The MD5 of the whole, where the server knows it."""
        md5 = self.provider.client.stat(self._id).md5
        return f"md5:{md5}" if md5 else None

    def retrieve_object(self) -> None:
        """Download it, verified. What is finished of an earlier attempt is not fetched again."""
        place = self.local_path()
        own = place.with_name(f".{place.name}")  # another query may name the same object, and fetch it meanwhile
        (outcome,) = self.provider.client.download([self._id], own, layout=Layout.ID, index=False)
        if outcome.error is not None:
            raise WorkflowError(f"{self.query}: {outcome.error}")
        assert outcome.path is not None
        os.replace(outcome.path, place)
        own.rmdir()

    def store_object(self) -> None:
        """Upload it; it must be registered, with the size and MD5 that it has."""
        try:
            self.provider.client.upload(self.local_path(), self._id, force=self.provider.settings.force)
        except ScoreError as error:
            raise WorkflowError(f"{self.query}: {error}") from None

    def remove(self) -> None:
        """Objects stay: a Score server removes none for its users. The next upload compares with what is there."""
        self.provider.logger.warning(f"{self.query} is not removed: objects of a Score server stay.")

    def list_candidate_matches(self) -> Iterable[str]:
        """The files of the analysis, for ``glob_wildcards``."""
        known = PurePosixPath(get_constant_prefix(self.query, strip_incomplete_parts=True).removeprefix(SCHEME)).parts
        if len(known) < 2:
            raise WorkflowError(f"{self.query}: wildcards are found within an analysis; name study and analysis.")
        study, analysis = known[:2]
        return [f"{SCHEME}{study}/{analysis}/{name}" for name in self.provider.client.files(study, analysis)]
