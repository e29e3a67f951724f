"""A fake Ego: checks of API keys, JWTs and the key that proves them, as Ego 5.5 answers them."""

from __future__ import annotations

import base64
import email.policy
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qsl

import jwt
from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from score.testing.secrecy import secret
from score.testing.service import FakeService

JWT_LIFE = 3 * 3600
"""Seconds."""
KEY_LIFE = 365 * 24 * 3600
"""Seconds."""


@dataclass(slots=True)
class ApiKey:
    """An API key; ``expires`` in seconds since 1970."""

    key: str
    user: str
    scopes: tuple[str, ...]
    expires: float
    revoked: bool = False


class FakeEgo(FakeService):
    """An Ego with one application (``client_id``, ``client_secret``), and keys and tokens that the test makes."""

    def __init__(self) -> None:
        super().__init__()
        self.client_id = "score"
        self.client_secret = secret("scoresecret1234")
        self.signing_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._keys: dict[str, ApiKey] = {}

    @property
    def check_url(self) -> str:
        """What ``auth.server.url`` is set to; the parameter is ``apiKey``."""
        return f"{self.url}/o/check_api_key"

    @property
    def public_key_url(self) -> str:
        """What ``spring.security.oauth2.resourceserver.jwt.public-key-location`` is set to."""
        return f"{self.url}/oauth/token/public_key"

    def issue_key(self, *scopes: str, lasts: float = KEY_LIFE) -> str:
        """A new API key with these scopes, such as ``score.WRITE``. WRITE is answered as READ and WRITE.

        ``lasts`` in seconds; a negative one gives an expired key.
        """
        key = ApiKey(str(uuid.uuid4()), str(uuid.uuid4()), scopes, time.time() + lasts)
        self._keys[key.key] = key
        return secret(key.key)

    def revoke(self, key: str) -> None:
        """Make an API key useless."""
        self._keys[key].revoked = True

    def issue_jwt(
        self,
        *scopes: str,
        lasts: float | None = JWT_LIFE,
        application: bool = False,
        key: rsa.RSAPrivateKey | None = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A new JWT with these scopes, signed with Ego's key or with another one.

        ``lasts`` in seconds, None leaves ``exp`` out; ``claims`` replace Ego's own.
        """
        now = int(time.time())
        subject = str(uuid.uuid4())
        owner = {"name": "someone", "status": "APPROVED", "type": "USER"}
        payload: dict[str, Any] = {
            "iat": now,
            "jti": str(uuid.uuid4()),
            "iss": "ego",
            "sub": subject,
            "aud": [],
            "context": {"application" if application else "user": owner, "scope": list(scopes)},
        }
        if lasts is not None:
            payload["exp"] = int(now + lasts)
        return secret(jwt.encode(payload | claims, key or self.signing_key, algorithm="RS256", headers=headers))

    @property
    def public_key(self) -> str:
        """The key as Ego shows it: the base64 on one line, CRLF between the lines, none at the end."""
        der = self.signing_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"-----BEGIN PUBLIC KEY-----\r\n{base64.b64encode(der).decode()}\r\n-----END PUBLIC KEY-----"

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/oauth/token/public_key", self._show_key),
            *(web.post(f"/o/check_api_key{slash}", self._check_api_key) for slash in ("", "/")),
            *(web.post(f"/o/check_token{slash}", self._check_token) for slash in ("", "/")),
        ]

    async def _show_key(self, request: web.Request) -> web.Response:
        return web.Response(text=self.public_key, content_type="text/plain", charset="UTF-8")

    async def _check_api_key(self, request: web.Request) -> web.Response:
        return await self._check(request, "apiKey")

    async def _check_token(self, request: web.Request) -> web.Response:
        return await self._check(request, "token")

    async def _check(self, request: web.Request, parameter: str) -> web.Response:
        """The answer on a key, given in the query, urlencoded or as multipart/form-data."""
        if not is_client(request.headers.get("Authorization", ""), self.client_id, self.client_secret):
            return web.Response(status=401)
        given = request.query.get(parameter)
        if given is None:
            given = as_form(request.headers.get("Content-Type", ""), await request.read()).get(parameter)
        if given is None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
            problem = {"timestamp": now, "status": 400, "error": "Bad Request", "path": request.path}
            return _json(400, problem, "application/json")
        key = self._keys.get(given)
        if key is None:
            return _refuse("ApiKey not found")
        left = int(key.expires - time.time())
        if key.revoked or left <= 0:
            return _refuse(f'ApiKey \\"{given}\\" has expired or is no longer valid. ')
        answer = {"user_id": key.user, "exp": left, "scope": _with_reads(key.scopes)}
        return _json(207, answer, "application/json;charset=UTF-8")


def is_client(authorization: str, client_id: str, client_secret: str) -> bool:
    """Whether a header is the Basic authorization of this client."""
    try:
        given = BasicAuth.decode(authorization)
    except ValueError:
        return False
    return (given.login, given.password) == (client_id, client_secret)


def as_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, urlencoded or multipart/form-data."""
    if content_type.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=email.policy.HTTP)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_content().rstrip("\r\n")
        for part in message.iter_parts()
    }


def _with_reads(scopes: Sequence[str]) -> list[str]:
    """The scopes as Ego explodes them: whoever may write may read."""
    reads = [f"{scope.removesuffix('.WRITE')}.READ" for scope in scopes if scope.endswith(".WRITE")]
    return list(dict.fromkeys([*scopes, *reads]))


def _json(status: int, document: object, media_type: str) -> web.Response:
    text = json.dumps(document, separators=(",", ":"))
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": media_type})


def _refuse(text: str) -> web.Response:
    return web.Response(status=401, text=f'{{"error": "{text}"}}', content_type="text/plain", charset="UTF-8")
