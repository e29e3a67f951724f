"""Where an S3 store is and how to talk to it: values, read off the settings once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from score.errors import Misconfigured

DEFAULT_REGION = "us-east-1"
_AWS_REGION = re.compile(r"[.-]([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.com(?:\.cn)?\Z")
_NAME_OF_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """One S3 service and the account on it. Raises Misconfigured where an address cannot be one.

    ``endpoint`` is ``[scheme://]host[:port][/path]``; without a scheme ``secured`` decides, and an empty endpoint is
    that of AWS in the region. ``url_host`` replaces scheme, host and port in URLs handed to clients, which are signed
    for it. Without an access key botocore's chain gives the credentials. ``version`` is that of the signatures, 4 or
    2. ``kms_key`` has objects encrypted by the store with that key (SSE-KMS). Times are in seconds; ``retry_limit``
    is how often a failed call is tried again, and after ``patience`` seconds it is not tried again in any case.
    """

    endpoint: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    region: str = ""
    secured: bool = True
    url_host: str = ""
    version: Literal[2, 4] = 4
    kms_key: str = ""
    retry_limit: int = 5
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    patience: float = 45.0
    connections: int = 512

    def __post_init__(self) -> None:
        if bool(self.access_key) != bool(self.secret_key):
            given, missing = ("access", "secret") if self.access_key else ("secret", "access")
            raise Misconfigured(
                f"The {given} key of the S3 store is set, its {missing} key is not.",
                hint="Set both, or neither for the usual AWS credential chain.",
            )
        if not self.endpoint and _NAME_OF_REGION.match(self.signing_region) is None:
            raise Misconfigured(
                f"{self.region!r} is no region of AWS.", hint="Expected a name such as eu-central-1, or an endpoint."
            )
        _ = self.origin, self.url_origin

    @property
    def signing_region(self) -> str:
        """The region that requests are signed for: as set, else by AWS's host names, else us-east-1."""
        found = _AWS_REGION.search(urlsplit(self._absolute(self.endpoint)).hostname or "")
        return self.region or (found.group(1) if found else DEFAULT_REGION)

    @property
    def origin(self) -> str:
        """``scheme://host[:port]`` that the server itself talks to."""
        if not self.endpoint:
            china = ".cn" if self.signing_region.startswith("cn-") else ""
            return self._absolute(f"s3.{self.signing_region}.amazonaws.com{china}")
        return _origin(self._absolute(self.endpoint), self.endpoint)

    @property
    def base_path(self) -> str:
        """What stands before the bucket in paths; empty for nearly every store."""
        return urlsplit(self._absolute(self.endpoint)).path.rstrip("/")

    @property
    def address(self) -> str:
        """``scheme://host[:port][/path]``: the endpoint as other programs want it."""
        return self.origin + self.base_path

    @property
    def url_origin(self) -> str:
        """``scheme://host[:port]`` of URLs handed to clients."""
        if not self.url_host:
            return self.origin
        url = self.url_host if "://" in self.url_host else f"{self.origin.partition('://')[0]}://{self.url_host}"
        if urlsplit(url).path.strip("/"):
            raise Misconfigured(
                f"The host for signed URLs, {self.url_host!r}, has a path.", hint="Give [scheme://]host[:port] only."
            )
        return _origin(url, self.url_host)

    def _absolute(self, endpoint: str) -> str:
        return endpoint if "://" in endpoint else f"{'https' if self.secured else 'http'}://{endpoint}"


def _origin(url: str, given: str) -> str:
    problem = f"{given!r} is no address of an S3 store."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Misconfigured(problem, hint="Expected [http(s)://]host[:port].") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise Misconfigured(problem, hint="Expected [http(s)://]host[:port].")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
