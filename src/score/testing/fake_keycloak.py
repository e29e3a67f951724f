"""A fake Keycloak with the API-key plugin: what Score asks of either, as Keycloak 22.0.5 and plugin 1.0.1 answer it.

The plugin is not to be had from a package registry; JWTs and permissions are tested against the real one as well.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from score.protocol.ids import is_uuid
from score.testing.ego import KEY_LIFE, ApiKey, as_form, is_client
from score.testing.secrecy import secret
from score.testing.service import FakeService


class FakeKeycloak(FakeService):
    """A realm with one client (``client_id``, ``client_secret``), which has the resources; keys and tokens are made
    by the test. A scope such as ``score.READ`` is the scope READ of the resource ``score``."""

    def __init__(self, realm: str = "r") -> None:
        super().__init__()
        self.client_id = "score"
        self.client_secret = secret("scoresecret1234")
        self.realm = realm
        self._api_keys: dict[str, ApiKey] = {}
        self._permissions: dict[str, tuple[str, ...]] = {}
        self._signing: list[tuple[str, rsa.RSAPrivateKey]] = []
        self._encrypting = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.rotate()

    @property
    def realm_url(self) -> str:
        """The issuer of its tokens."""
        return f"{self.url}/realms/{self.realm}"

    @property
    def check_url(self) -> str:
        """What ``auth.server.url`` is set to."""
        return f"{self.realm_url}/apikey/check_api_key"

    @property
    def keys_url(self) -> str:
        """What ``spring.security.oauth2.resourceserver.jwt.jwk-set-uri`` is set to."""
        return f"{self.realm_url}/protocol/openid-connect/certs"

    def issue_key(self, *scopes: str, lasts: float = KEY_LIFE) -> str:
        """A new API key with these scopes. ``lasts`` in seconds; a negative one gives an expired key."""
        key = ApiKey(str(uuid.uuid4()), str(uuid.uuid4()), scopes, time.time() + lasts)
        self._api_keys[key.key] = key
        return secret(key.key)

    def revoke(self, key: str) -> None:
        """Make an API key useless."""
        self._api_keys[key].revoked = True

    def issue_jwt(self, *scopes: str, lasts: float | None = 600, headers: Any = None, **claims: Any) -> str:
        """A new JWT of a user who has these permissions, signed with the newest key; ``claims`` replace its own."""
        now = int(time.time())
        subject = str(uuid.uuid4())
        self._permissions[subject] = scopes
        payload: dict[str, Any] = {
            "iat": now,
            "jti": str(uuid.uuid4()),
            "iss": self.realm_url,
            "sub": subject,
            "typ": "Bearer",
            "azp": self.client_id,
        }
        if lasts is not None:
            payload["exp"] = int(now + lasts)
        kid, key = self._signing[-1]
        return secret(jwt.encode(payload | claims, key, "RS256", {"kid": kid} if headers is None else headers))

    def rotate(self, *, keep: bool = True) -> None:
        """Sign with a new key from now on; unless ``keep``, the older ones are withdrawn."""
        if not keep:
            self._signing.clear()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._signing.append((base64.urlsafe_b64encode(uuid.uuid4().bytes).decode(), key))

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/realms/{realm}/protocol/openid-connect/certs", self._show_keys),
            web.post("/realms/{realm}/protocol/openid-connect/token", self._tell_permissions),
            *(web.post(f"/realms/{{realm}}/apikey/check_api_key{slash}", self._check) for slash in ("", "/")),
        ]

    async def _show_keys(self, request: web.Request) -> web.Response:
        if request.match_info["realm"] != self.realm:
            return _json(404, {"error": "Realm does not exist"})
        shown = [_jwk(kid, key, "sig", "RS256") for kid, key in self._signing]
        return _json(200, {"keys": [*shown, _jwk("enc", self._encrypting, "enc", "RSA-OAEP")]})

    async def _tell_permissions(self, request: web.Request) -> web.Response:
        if request.match_info["realm"] != self.realm:
            return _json(404, {"error": "Realm does not exist"})
        form = dict(parse_qsl((await request.read()).decode()))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return _refuse(401, "invalid_client", "Invalid client or Invalid client credentials")
        subject = self._subject(token, f"{request.scheme}://{request.host}/realms/{self.realm}")
        if subject is None:
            return _refuse(401, "invalid_grant", "Invalid bearer token")
        if "audience" not in form:
            return _refuse(400, "invalid_request", "You must provide the issuedFor")
        if form["audience"] != self.client_id:
            return _refuse(400, "invalid_request", f"Unknown resource server id: [{form['audience']}]")
        granted: dict[str, list[str]] = {}
        for scope in self._permissions.get(subject, ()):
            resource, _, name = scope.rpartition(".")
            granted.setdefault(resource, []).append(name)
        if not granted:
            return _refuse(403, "access_denied", "not_authorized")
        return _json(
            200,
            [
                {"scopes": scopes, "rsid": str(uuid.uuid5(uuid.NAMESPACE_OID, resource)), "rsname": resource}
                for resource, scopes in granted.items()
            ],
        )

    def _subject(self, token: str, issuer: str) -> str | None:
        """Whose token it is, where it is one of this realm, asked for under this address."""
        for _, key in self._signing:
            try:
                claims = jwt.decode(token, key.public_key(), ["RS256"], issuer=issuer)
            except jwt.PyJWTError:
                continue
            return str(claims["sub"])
        return None

    async def _check(self, request: web.Request) -> web.Response:
        if not request.headers.get("Content-Type", "").startswith("multipart/form-data"):
            return _json(415, {"error": "RESTEASY003065: Cannot consume content type"})
        authorization = request.headers.get("Authorization", "")
        if not is_client(authorization, self.client_id, self.client_secret):
            return _json(401, {"error": "HTTP 401 Unauthorized"})
        given = as_form(request.headers["Content-Type"], await request.read()).get("apiKey", "")
        if not given:
            return _json(400, {"error": "ApiKey cannot be empty."})
        if not is_uuid(given):
            return _json(400, {"error": "Invalid apiKey format"})
        key = self._api_keys.get(given)
        if key is None:
            return _json(400, {"error": "ApiKey not found"})
        answer: dict[str, Any] = {"user_id": key.user, "exp": int(key.expires * 1000)}
        if key.revoked:
            return _json(207, answer | {"message": "ApiKey is revoked", "revoked": True, "valid": False})
        if key.expires <= time.time():
            return _json(207, answer | {"message": "ApiKey is expired", "revoked": False, "valid": False})
        return _json(207, answer | {"scope": list(key.scopes), "revoked": False, "valid": True})


def _jwk(kid: str, key: rsa.RSAPrivateKey, use: str, algorithm: str) -> dict[str, str]:
    numbers = key.public_key().public_numbers()

    def text(number: int) -> str:
        return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).decode().rstrip("=")

    return {"kid": kid, "kty": "RSA", "alg": algorithm, "use": use, "n": text(numbers.n), "e": text(numbers.e)}


def _json(status: int, document: object) -> web.Response:
    text = json.dumps(document, separators=(",", ":"))
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "application/json"})


def _refuse(status: int, error: str, says: str) -> web.Response:
    return _json(status, {"error": error, "error_description": says})
