"""JWTs: RS256, verified with the authorization server's public key. Protocol, section 7.

Which keys count is the operator's decision alone: nothing in a token (``alg``, ``jku``, ``x5u``, ``jwk``) changes it.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from score.auth.base import Identity, fingerprint
from score.auth.keysets import KeySet
from score.errors import Unauthenticated

LEEWAY = 60
"""Seconds by which clocks may differ."""
_OPTIONS: Any = {
    "require": ["exp"],
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Permissions(Protocol):
    """Who tells what the owner of a verified token may do, where the token itself does not."""

    async def of(self, token: str, claims: dict[str, Any]) -> frozenset[str]:
        """The scopes. Unauthenticated where the token is refused; Unavailable where nobody can tell now."""
        ...

    async def probe(self) -> str:
        """Empty when it answers, else what is wrong."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Jwts:
    """An :class:`score.auth.base.Authorizer` for JWTs. Scopes are those of the claim ``context.scope``, or what
    ``permissions`` tell."""

    def __init__(self, keys: KeySet, permissions: Permissions | None = None) -> None:
        self._keys = keys
        self._permissions = permissions

    async def identify(self, token: str) -> Identity:
        """The owner of a JWT. Unauthenticated where it is not valid; Unavailable while there is no key."""
        claims = await self._verified(token)
        scopes = scopes_of(claims) if self._permissions is None else await self._permissions.of(token, claims)
        return Identity(
            str(claims.get("sub") or "unknown"), scopes, fingerprint(token), float(claims["exp"]) + LEEWAY
        )

    async def probe(self) -> str:
        """Empty when there is a key to verify with and permissions can be asked for, else what is wrong."""
        problems = [await self._keys.probe(), await self._permissions.probe() if self._permissions else ""]
        return " ".join(problem for problem in problems if problem)

    async def close(self) -> None:
        """End what runs in the background."""
        await self._keys.close()
        if self._permissions is not None:
            await self._permissions.close()

    async def _verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that one of the keys signed."""
        parts = token.split(".")
        header = _document(parts[0])
        if len(parts) != 3 or header is None or _document(parts[1]) is None:
            raise _refused("it is no JWT")
        if header.get("alg") != "RS256" or "crit" in header:
            raise Unauthenticated(
                "The token is not valid: only RS256 is taken.",
                hint="The authorization server has to sign with that; in Keycloak the client or the realm says so.",
            )
        kid = header.get("kid")
        kid = kid if isinstance(kid, str) else None
        await self._keys.freshen()
        claims = _decode(token, self._keys.candidates(kid))
        if claims is None and await self._keys.renewed(kid):
            claims = _decode(token, self._keys.candidates(kid))
        if claims is None:
            raise _refused("none of the authorization server's keys signed it")
        return claims


def scopes_of(claims: dict[str, Any]) -> frozenset[str]:
    """The scopes of ``context.scope``, a list; another shape means none, and is no error."""
    context = claims.get("context")
    scopes = context.get("scope") if isinstance(context, dict) else None
    return frozenset(one for one in scopes if isinstance(one, str)) if isinstance(scopes, list) else frozenset()


def _decode(token: str, keys: Any) -> dict[str, Any] | None:
    """The claims, None where no key signed them. Unauthenticated where the signature is right and the rest is not."""
    key: RSAPublicKey
    for key in keys:
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], leeway=LEEWAY, options=_OPTIONS)
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            raise _refused(str(error).rstrip(".")) from None
        except OverflowError:
            raise _refused("its times are none") from None
        return claims
    return None


def _document(segment: str) -> dict[str, Any] | None:
    """A piece of a token, None where it is no JSON object, or one that readers may take in different ways: with a
    name given twice, with numbers that are none, nested beyond sense."""
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is given twice")
    return document


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"The token is not valid: {why}.", hint="Get a new one.")
