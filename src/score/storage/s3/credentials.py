"""Where a store's credentials come from: the settings, or botocore's chain where they have none.

The chain (environment, profiles, web identity, container and instance metadata) reads files and calls services, so it
runs in a thread. botocore itself renews temporary keys a good while before they expire.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Protocol

from score.errors import Misconfigured, Unavailable
from score.storage.s3.signing import Credentials


class KeySource(Protocol):
    """Gives the credentials to sign with."""

    async def fresh(self) -> Credentials:
        """The credentials, renewed where it is time. Raises Misconfigured, Unavailable."""
        ...

    def current(self) -> Credentials:
        """The same where nothing can wait; blocks only where no call of ``fresh`` came before."""
        ...


class FixedKeys:
    """Credentials that never change."""

    def __init__(self, keys: Credentials) -> None:
        self._keys = keys

    async def fresh(self) -> Credentials:
        return self._keys

    def current(self) -> Credentials:
        return self._keys


class ChainKeys:
    """Credentials of botocore's chain, which is loaded at the first use."""

    def __init__(self) -> None:
        self._found: Any = None
        self._keys: Credentials | None = None
        self._renewal = asyncio.Lock()

    async def fresh(self) -> Credentials:
        if self._keys is not None and not self._stale():
            return self._keys
        async with self._renewal:
            if self._keys is None or self._stale():
                return await asyncio.to_thread(self._load)
        return self._keys

    def current(self) -> Credentials:
        keys = self._keys
        if keys is None or (keys.expires is not None and keys.expires <= datetime.now(UTC)):
            return self._load()
        return keys

    def _stale(self) -> bool:
        """Whether botocore would renew the keys now."""
        needed = getattr(self._found, "refresh_needed", None)
        return bool(needed is not None and needed())

    def _load(self) -> Credentials:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            self._found = self._found or Session().get_credentials()
            if self._found is None:
                raise Misconfigured(
                    "There are no credentials for the S3 store.",
                    hint="Set s3.accessKey and s3.secretKey, or provide them in one of the usual AWS ways.",
                )
            keys = self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise Unavailable(f"The AWS credential chain failed: {type(error).__name__}.") from error
        expires = getattr(self._found, "_expiry_time", None)
        self._keys = Credentials(
            keys.access_key,
            keys.secret_key,
            keys.token or "",
            expires.astimezone(UTC) if isinstance(expires, datetime) else None,
        )
        return self._keys
