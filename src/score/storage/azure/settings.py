"""Where a container of Azure is and how to talk to it: values, read off the settings once."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from score.errors import Misconfigured

_CONTAINER = re.compile(r"(\$root|[a-z0-9](?:-?[a-z0-9]){2,62})\Z")


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """One container and the account that it belongs to. Raises Misconfigured where a value cannot be one.

    ``endpoint`` is the full blob endpoint, ``http(s)://host[:port][/path]``; empty: the account's own in Azure's
    public cloud, by ``protocol``. ``account_key`` is base64. Times are in seconds; ``retry_limit`` is how often a
    failed call is tried again, and after ``patience`` seconds it is not tried again in any case.
    """

    account: str
    account_key: str = field(repr=False)
    container: str
    endpoint: str = ""
    protocol: str = "https"
    upload_policy: str = "UploadPolicy"
    download_policy: str = "DownloadPolicy"
    retry_limit: int = 5
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    patience: float = 45.0
    connections: int = 512

    def __post_init__(self) -> None:
        try:
            good = bool(base64.b64decode(self.account_key, validate=True))
        except ValueError:
            good = False
        if not good:
            raise Misconfigured(
                "azure.accountKey is no account key: it has to be base64.",
                hint="Copy one of the two keys of the storage account, from its page 'Access keys'.",
            )
        if self.protocol not in ("http", "https"):
            raise Misconfigured(f"azure.endpointProtocol is {self.protocol!r}.", hint="Expected http or https.")
        if _CONTAINER.match(self.container) is None:
            raise Misconfigured(
                f"bucket.name.object is {self.container!r}, which cannot be the name of a container of Azure.",
                hint="Names have 3 to 63 characters: small letters, digits and single hyphens.",
            )
        try:
            parts = urlsplit(self.base)
            good = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            good = False
        if not good or parts.query or parts.fragment or "@" in parts.netloc:
            raise Misconfigured(
                f"azure.endpoint is {self.endpoint!r}, which is no blob endpoint.",
                hint="Expected http(s)://host[:port][/path], such as http://127.0.0.1:10000/account.",
            )

    @property
    def key(self) -> bytes:
        """The account key."""
        return base64.b64decode(self.account_key)

    @property
    def base(self) -> str:
        """The blob endpoint, without a slash at its end."""
        return self.endpoint.rstrip("/") or f"{self.protocol}://{self.account}.blob.core.windows.net"
