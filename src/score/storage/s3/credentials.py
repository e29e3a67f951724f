"""Where a store's credentials come from: the settings, or botocore's chain where they have none.

The chain (environment, profiles, web identity, container and instance metadata) reads files and calls services, so it
runs in a thread. botocore itself renews temporary keys: it asks for new ones from a quarter of an hour before they
expire, at every use. Metadata services have new ones only five minutes before, so here it is asked now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from score.errors import Misconfigured, Unavailable
from score.storage.s3.signing import Credentials

log = logging.getLogger(__name__)

_ASK_EVERY: Final = 10.0
"""Seconds between two attempts to renew keys that still work."""


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
    """Credentials of botocore's chain, which is loaded at the first use. ``clock`` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked = 0.0
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
        return self._load() if keys is None or _expired(keys) else keys

    def _stale(self) -> bool:
        """Whether botocore would renew the keys now, and was not just asked to."""
        needed = getattr(self._found, "refresh_needed", None)
        if needed is None or not needed():
            return False
        return self._clock() - self._asked >= _ASK_EVERY or (self._keys is not None and _expired(self._keys))

    def _load(self) -> Credentials:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        self._asked = self._clock()
        try:
            self._found = self._found or _without_extension(Session()).get_credentials()
            if self._found is None:
                raise Misconfigured(
                    "There are no credentials for the S3 store.",
                    hint="Set s3.accessKey and s3.secretKey, or provide them in one of the usual AWS ways.",
                )
            keys = self._found.get_frozen_credentials()
        except (BotoCoreError, RuntimeError) as error:  # the latter for keys that come expired
            if self._keys is not None and not _expired(self._keys):
                log.warning(
                    "Keys that expire at %s could not be renewed: %s", self._keys.expires, type(error).__name__
                )
                return self._keys
            raise Unavailable(f"The AWS credential chain failed: {type(error).__name__}.") from error
        expires = getattr(self._found, "_expiry_time", None)
        self._keys = Credentials(
            keys.access_key,
            keys.secret_key,
            keys.token or "",
            expires.astimezone(UTC) if isinstance(expires, datetime) else None,
        )
        return self._keys


def _without_extension(session: Any) -> Any:
    """The session, with keys of instances that expire when they do.

    botocore takes keys whose end is near for good for up to 20 minutes more, in case the metadata service is down.
    URLs signed with them would claim a life that they do not have. There is no setting for it.
    """
    fetcher = session.get_component("credential_provider").get_provider("iam-role")._role_fetcher
    fetcher._evaluate_expiration = lambda credentials: None
    return session


def _expired(keys: Credentials) -> bool:
    return keys.expires is not None and keys.expires <= datetime.now(UTC)
