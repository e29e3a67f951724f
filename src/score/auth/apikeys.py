"""API keys: Ego, or Keycloak's API-key plugin, is asked whose they are. Protocol, section 7."""

from __future__ import annotations

import base64
import logging
import math
import ssl
import time
from dataclasses import dataclass, field

import aiohttp

from score.auth.base import Identity, fingerprint
from score.auth.calls import Answer, Patience, as_json, ask, body_of, open_session
from score.errors import Unauthenticated
from score.protocol.onward import ONWARD

log = logging.getLogger(__name__)

_NOBODYS = "00000000-0000-0000-0000-000000000000"
_EPOCH = 1e11
"""From here on ``exp`` is a time, in milliseconds since 1970 (Keycloak's plugin); below, seconds left (Ego)."""


@dataclass(frozen=True, slots=True)
class KeyServer:
    """Where keys are checked. ``form_field`` is the name of the form field."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    form_field: str = "apiKey"
    patience: Patience = field(default_factory=Patience)


class ApiKeys:
    """An :class:`score.auth.base.Authorizer` for API keys. Must be made within a running event loop."""

    def __init__(self, server: KeyServer, tls: ssl.SSLContext | None = None) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self._server = server
        credentials = f"{server.client_id}:{server.client_secret}"
        self._session = open_session(
            tls, headers={"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
        )

    async def identify(self, token: str) -> Identity:
        """The owner of an API key. Unauthenticated where it is not valid; Unavailable where nobody can tell now."""
        answer = await ask(lambda: self._send(token), self._server.url, self._server.patience)
        if answer.status >= 400:
            if wrong := self._misconfigured(answer):
                log.warning("%s", wrong)
            raise _refused()
        said = answer.fields
        expires = _end(said.get("exp"))
        if (
            "error" in said
            or (expires is not None and expires <= time.time())
            or said.get("revoked") not in (None, False)
            or said.get("valid") not in (None, True)
        ):
            raise _refused()
        return Identity(
            str(said.get("user_id") or "unknown"), _scopes(said.get("scope")), fingerprint(token), expires
        )

    async def probe(self) -> str:
        """Empty when the authorization server answers, be it with a refusal, else what is wrong."""
        try:
            status, body = await self._send(_NOBODYS)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"The authorization server at {self._server.url} does not answer: {type(error).__name__}."
        answer = Answer(status, as_json(body))
        if not 400 <= status < 500 and (status not in (200, 207) or not isinstance(answer.document, dict)):
            what = status if status >= 300 else "with a page, not with what is known of a key"
            return f"The authorization server at {self._server.url} answers {what}. Check auth.server.url."
        return self._misconfigured(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _misconfigured(self, answer: Answer) -> str:
        """What a refusal says of our own settings: Ego refuses a wrong client without a word, Keycloak with these."""
        error = answer.fields.get("error")
        if answer.status in (404, 405, 415):
            return f"The authorization server at {self._server.url} answers {answer.status}. Check auth.server.url."
        if answer.status == 401 and error in (None, "HTTP 401 Unauthorized"):
            return (
                f"The authorization server at {self._server.url} does not know this server."
                " Check auth.server.clientId and auth.server.clientSecret."
            )
        if answer.status == 400 and ("path" in answer.fields or error == "ApiKey cannot be empty."):
            return (
                f"The authorization server at {self._server.url} does not find the key in the form field"
                f" {self._server.form_field!r}. Check auth.server.tokenName."
            )
        return ""

    async def _send(self, token: str) -> tuple[int, bytes]:
        with aiohttp.MultipartWriter("form-data") as form:
            form.append(token).set_content_disposition("form-data", name=self._server.form_field)
        async with self._session.post(
            self._server.url, data=form, headers=ONWARD.get(), allow_redirects=False
        ) as answer:
            return answer.status, await body_of(answer)


def _refused() -> Unauthenticated:
    return Unauthenticated("The API key is not valid.", hint="It may be revoked or expired: get a new one.")


def _end(exp: object) -> float | None:
    """When a key ends, in seconds since 1970; None where nobody says, long ago where it is nonsense."""
    if exp is None:
        return None
    if isinstance(exp, bool) or not isinstance(exp, int | float) or not math.isfinite(exp):
        return 0.0
    return exp / 1000 if exp >= _EPOCH else time.time() + exp


def _scopes(given: object) -> frozenset[str]:
    """A list of scopes, or one text with blanks between them; anything else is none."""
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    return frozenset(word for word in words if isinstance(word, str))
