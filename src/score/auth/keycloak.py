"""Keycloak's permissions (UMA): what the owner of a JWT may do. Protocol, section 7."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from score.auth.calls import Answer, Patience, as_json, ask, body_of, open_session
from score.errors import Unauthenticated
from score.protocol.onward import ONWARD

log = logging.getLogger(__name__)

_GRANT = "urn:ietf:params:oauth:grant-type:uma-ticket"


@dataclass(frozen=True, slots=True)
class Realm:
    """A realm of Keycloak. ``host`` with scheme and port; ``audience`` is the client that has the resources."""

    host: str
    name: str
    audience: str

    @property
    def url(self) -> str:
        """The issuer of its tokens, where they are asked for under this host."""
        return f"{self.host.rstrip('/')}/realms/{quote(self.name, safe='')}"

    @property
    def token_url(self) -> str:
        """Where permissions are asked for."""
        return f"{self.url}/protocol/openid-connect/token"

    @property
    def keys_url(self) -> str:
        """Its JWK set."""
        return f"{self.url}/protocol/openid-connect/certs"


class RealmPermissions:
    """:class:`score.auth.jwt.Permissions` of a realm, where each scope is called ``<resource>.<scope>``.

    Must be made within a running event loop.
    """

    def __init__(self, realm: Realm, patience: Patience | None = None, tls: ssl.SSLContext | None = None) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self._realm = realm
        self._patience = patience or Patience()
        self._session = open_session(tls)

    async def of(self, token: str, claims: dict[str, Any]) -> frozenset[str]:
        """The scopes of a token's owner: none where Keycloak says that there is no permission at all."""
        answer = await ask(lambda: self._send(token), self._realm.token_url, self._patience, list)
        if answer.status == 403:
            return frozenset()
        if answer.status >= 400:
            raise self._refusal(answer, claims)
        return frozenset(
            f"{one['rsname']}.{scope}"
            for one in answer.document
            if isinstance(one, dict) and isinstance(one.get("rsname"), str) and isinstance(one.get("scopes"), list)
            for scope in one["scopes"]
            if isinstance(scope, str)
        )

    async def probe(self) -> str:
        """Empty when the realm answers, else what is wrong."""
        try:
            status, body = await self._send(None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"Keycloak at {self._realm.url} does not answer: {type(error).__name__}."
        if status == 401 and isinstance(as_json(body), dict):  # it was asked without a token
            return ""
        return (
            f"Keycloak at {self._realm.url} answers {status}. Check auth.server.keycloak.host and"
            " auth.server.keycloak.realm."
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _refusal(self, answer: Answer, claims: dict[str, Any]) -> Unauthenticated:
        if answer.status == 401:
            issuer = str(claims.get("iss"))[:200]
            if issuer != self._realm.url:
                return Unauthenticated(
                    f"Keycloak refuses the token: it was issued under {issuer!r}, and is looked at under"
                    f" {self._realm.url!r}.",
                    hint="Get one under that address, or set auth.server.keycloak.host to the one that people use.",
                )
            return Unauthenticated("Keycloak refuses the token.", hint="It may be expired: get a new one.")
        log.warning(
            "Keycloak at %s cannot tell permissions: %s (%s). Check auth.server.clientId (%r): it must be a client of"
            " that realm, with authorization services.",
            self._realm.url, answer.status, str(answer.fields.get("error_description"))[:200], self._realm.audience,
        )  # fmt: skip
        return Unauthenticated(f"Keycloak cannot tell what the token is good for: it answers {answer.status}.")

    async def _send(self, token: str | None) -> tuple[int, bytes]:
        form = {"grant_type": _GRANT, "audience": self._realm.audience, "response_mode": "permissions"}
        headers = dict(ONWARD.get()) if token is None else {**ONWARD.get(), "Authorization": f"Bearer {token}"}
        url = URL(self._realm.token_url, encoded=True)
        async with self._session.post(url, data=form, headers=headers, allow_redirects=False) as answer:
            return answer.status, await body_of(answer)
