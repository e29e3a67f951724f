"""From settings to an authorizer, and what the operator should know of them. Protocol, section 7."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from score.auth.base import Authorizer
from score.auth.calls import Patience
from score.auth.scopes import Right, Scopes
from score.server.settings import FIELDS, JWT, PROVIDERS, Settings, written
from score.server.watching import Watch, WatchedAuthorizer


def scopes_of(settings: Settings) -> Scopes:
    """The rights that the settings describe."""
    return Scopes(
        download=Right(settings.download_system, settings.download_prefix, settings.download_suffix),
        upload=Right(settings.upload_system, settings.upload_prefix, settings.upload_suffix),
    )


def open_authorizer(settings: Settings, tls: ssl.SSLContext | None = None, watch: Watch | None = None) -> Authorizer:
    """Who tells whose token it is, under the profile secure. Must run in the event loop that will serve it.

    ``tls`` says whom calls to the authorization server believe; an own authorizer has its own ways. ``watch`` is
    around each question that is not answered out of memory. Raises Misconfigured.
    """
    from score.auth.cache import Remembered

    authorizer = _open(settings, tls)
    if watch is not None:
        authorizer = WatchedAuthorizer(authorizer, watch)
    return Remembered(authorizer, settings.auth_cache) if settings.auth_cache else authorizer


def _open(settings: Settings, tls: ssl.SSLContext | None) -> Authorizer:
    from score.auth.bearer import Bearer

    if settings.provider not in PROVIDERS:
        from score.auth.own import open_own

        return open_own(settings.provider, _as_text(settings))
    if settings.provider == "embedded":
        from score.auth.embedded import EmbeddedKeys

        return Bearer(EmbeddedKeys(settings.key_file.absolute()), None)
    jwts = _open_jwts(settings, tls)  # first: this may fail, and there is nothing to close yet
    return Bearer(_open_keys(settings, tls), jwts)


def _open_jwts(settings: Settings, tls: ssl.SSLContext | None) -> Authorizer | None:
    """Those who verify JWTs; a JWK set wins over a PEM, and Keycloak has one."""
    from score.auth.jwt import Jwts
    from score.auth.keysets import KeySet, read_jwks, read_pem

    if settings.provider == "keycloak":
        from score.auth.keycloak import Realm, RealmPermissions

        realm = Realm(settings.keycloak_host, settings.keycloak_realm, settings.auth_client_id)
        if settings.jwt_key and not settings.jwt_keys:
            keys = KeySet(settings.jwt_key, read_pem, tls=tls)
        else:
            keys = KeySet(settings.jwt_keys or realm.keys_url, read_jwks, tls=tls)
        return Jwts(keys, RealmPermissions(realm, _patience(settings), tls))
    if settings.jwt_keys:
        return Jwts(KeySet(settings.jwt_keys, read_jwks, tls=tls))
    return Jwts(KeySet(settings.jwt_key, read_pem, tls=tls)) if settings.jwt_key else None


def _open_keys(settings: Settings, tls: ssl.SSLContext | None) -> Authorizer | None:
    from score.auth.apikeys import ApiKeys, KeyServer

    if not settings.auth_url:
        return None
    return ApiKeys(
        KeyServer(
            url=settings.auth_url,
            client_id=settings.auth_client_id,
            client_secret=settings.auth_client_secret.get_secret_value(),
            form_field=settings.auth_field or _field_of(settings.auth_url),
            patience=_patience(settings),
        ),
        tls=tls,
    )


def _field_of(url: str) -> str:
    """The form field of a key, by what the address is of: Ego's old call has another one."""
    return "token" if urlsplit(url).path.rstrip("/").endswith("check_token") else "apiKey"


def _patience(settings: Settings) -> Patience:
    return Patience(settings.auth_retries, settings.auth_backoff / 1000, settings.auth_multiplier)


def _as_text(settings: Settings) -> dict[str, str]:
    """The settings ``auth.*`` by their names, for an own authorizer."""
    return {alias: written(getattr(settings, name)) for alias, name in FIELDS.items() if alias.startswith("auth.")}


def missing(settings: Settings) -> list[str]:
    """What the profile secure lacks. Raises Misconfigured for an authorizer that is not there."""
    lacking = []
    client = {"auth.server.clientId": settings.auth_client_id} if settings.provider == "keycloak" else {}
    if settings.auth_url and settings.provider in ("ego", "keycloak"):
        client["auth.server.clientId"] = settings.auth_client_id
        client["auth.server.clientSecret"] = settings.auth_client_secret.get_secret_value()
    match settings.provider:
        case "keycloak":
            realm = {
                "auth.server.keycloak.host": settings.keycloak_host,
                "auth.server.keycloak.realm": settings.keycloak_realm,
            }
            lacking += [name for name, text in realm.items() if not text]
        case "ego":
            if not (settings.auth_url or settings.jwt_key or settings.jwt_keys):
                lacking.append(f"auth.server.url (for API keys) or {JWT}.public-key-location (for JWTs)")
        case "embedded":
            pass
        case own:
            from score.auth.own import find

            find(own)
    return lacking + [name for name, text in client.items() if not text]


def advice(settings: Settings) -> list[str]:
    """Warnings about settings of authorization that are valid, but hardly what is meant."""
    if not settings.secure:
        asked = [name for name in ("auth_url", "auth_provider", "jwt_key", "jwt_keys") if getattr(settings, name)]
        if not asked:
            return []
        aliases = {name: alias for alias, name in FIELDS.items()}
        return [f"{aliases[asked[0]]} HAS NO EFFECT: without the profile secure nobody needs a token."]
    return [*_advice_on_scopes(settings), *_advice_on_provider(settings)]


def _advice_on_scopes(settings: Settings) -> list[str]:
    said = []
    scopes = scopes_of(settings)
    up, down = "auth.server.scope.upload", "auth.server.scope.download"
    if settings.upload_system.upper().endswith(".READ"):
        said.append(f"{up}.system is {settings.upload_system}, A READ SCOPE THAT NOW GRANTS ALL UPLOADS.")
    if settings.download_system.upper().endswith(".WRITE"):
        said.append(
            f"{down}.system is {settings.download_system}: whoever has READ scopes only cannot download everything."
            " It looks as if it were swapped with the one for uploads."
        )
    if settings.upload_system.lower() == settings.download_system.lower():
        said.append(
            f"{up}.system and {down}.system are both {settings.upload_system}: all who read everything write."
        )
    if scopes.upload.scope("x").lower() == scopes.download.scope("x").lower():
        said.append(f"{up}.study.* and {down}.study.* name the same scope: all who read a study write to it.")
    said += [
        f"{kind}.study.* and the system scope {other.system} fit together: who may use a study named {study!r} HAS"
        " THE RIGHTS OF THE WHOLE SYSTEM. Choose another prefix."
        for kind, right in ((up, scopes.upload), (down, scopes.download))
        for other in (scopes.upload, scopes.download)
        if (study := right.study_of(other.system))
    ]
    return list(dict.fromkeys(said))


def _advice_on_provider(settings: Settings) -> list[str]:
    said = []
    if settings.auth_field == "apiToken":
        said.append("auth.server.tokenName is apiToken, which neither Ego nor Keycloak knows; leave it out.")
    elif settings.auth_field and settings.provider in ("ego", "keycloak") and settings.auth_url:
        known = _field_of(settings.auth_url)
        if settings.auth_field != known and urlsplit(settings.auth_url).path.rstrip("/").endswith(
            ("check_api_key", "check_token")
        ):
            said.append(
                f"auth.server.tokenName is {settings.auth_field[:40]}; auth.server.url takes {known}: leave it out."
            )
    if settings.jwt_key and settings.jwt_keys:
        said.append(f"{JWT}.public-key-location has no effect: {JWT}.jwk-set-uri wins.")
    if settings.provider == "keycloak" and not settings.auth_url:
        said.append("auth.server.url is not set: JWTs are taken, and API keys are not.")
    if settings.provider == "embedded" and (settings.auth_url or settings.jwt_key or settings.jwt_keys):
        said.append("auth.server.url and the keys of JWTs are not used: auth.server.provider is embedded.")
    if settings.provider == "embedded" and not settings.auth_provider:
        said.append(
            "Neither Ego nor Keycloak is set: tokens are the server's own keys, made with: score-server key create"
        )
    if settings.auth_cache > 300:
        said.append(f"auth.cache.seconds: a revoked key still works for up to {settings.auth_cache} s.")
    return said
