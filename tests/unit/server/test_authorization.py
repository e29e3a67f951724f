"""Settings of authorization: what is in force, what is missing, and what the operator is warned of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import urllib3

from score.config.sources import canonical
from score.errors import Misconfigured, Unauthenticated
from score.server.authorization import open_authorizer
from score.server.reading import Reading, read_settings
from score.server.settings import JWT, Settings
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak

EGO = {
    "auth.server.url": "http://ego/o/check_api_key",
    "auth.server.clientId": "score",
    "auth.server.clientSecret": "hunter2",
}
KEYCLOAK = {
    "auth.server.provider": "keycloak",
    "auth.server.keycloak.host": "http://keycloak:8080/",
    "auth.server.keycloak.realm": "r",
    "auth.server.clientId": "score",
}
DOWN, UP = "auth.server.scope.download", "auth.server.scope.upload"


def read(folder: Path, given: dict[str, str], profiles: str = "local,secure") -> Reading:
    words = {"spring.profiles.active": profiles, **given}
    return read_settings([f"--{name}={value}" for name, value in words.items()], {}, folder)


@pytest.mark.parametrize(
    ("given", "provider"),
    [
        ({}, "embedded"),
        (EGO, "ego"),
        ({f"{JWT}.public-key-location": "http://ego/key"}, "ego"),
        ({f"{JWT}.jwk-set-uri": "http://keycloak/certs"}, "ego"),
        (KEYCLOAK, "keycloak"),
        ({**KEYCLOAK, "auth.server.provider": "Keycloak"}, "keycloak"),
        ({"auth.server.provider": "embedded"}, "embedded"),
    ],
)
def test_who_is_asked(tmp_path: Path, given: dict[str, str], provider: str) -> None:
    assert read(tmp_path, given).settings.provider == provider


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"auth.server.provider": "ego"}, ["auth.server.url", "public-key-location"]),
        ({"auth.server.url": "http://ego"}, ["auth.server.clientId", "auth.server.clientSecret"]),
        ({"auth.server.provider": "keycloak"}, ["keycloak.host", "keycloak.realm", "auth.server.clientId"]),
        ({**KEYCLOAK, "auth.server.url": "http://k/apikey"}, ["auth.server.clientSecret"]),
        ({**KEYCLOAK, "auth.server.keycloak.host": "keycloak:8080"}, ["auth.server.keycloak.host", "a URL"]),
        ({"auth.server.provider": "acne"}, ["acne", "score.authorizers"]),
        (
            {f"{JWT}.jwk-set-uri": "https://score:hunter2@keycloak/certs"},
            ["jwk-set-uri", "without user and password"],
        ),
        ({f"{JWT}.public-key-location": "http://score:hunter2@ego/key"}, ["public-key-location", "without user"]),
        ({"auth.server.url": "http://score:hunter2@ego/o/check_api_key"}, ["auth.server.url", "a URL such as"]),
        ({"auth.cache.seconds": "-1"}, ["auth.cache.seconds"]),
        ({"auth.anonymous.open": "perhaps"}, ["auth.anonymous.open"]),
    ],
)
def test_what_stops_the_start(tmp_path: Path, given: dict[str, str], missing: list[str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, given)
    for word in missing:
        assert word in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({f"{UP}.system": "score.READ"}, ["A READ SCOPE THAT NOW GRANTS ALL UPLOADS"]),
        (
            {f"{DOWN}.system": "score.WRITE", f"{UP}.system": "score.READ"},
            ["A READ SCOPE", "looks as if it were swapped"],
        ),
        ({f"{DOWN}.system": "all", f"{UP}.system": "ALL"}, ["all who read everything write"]),
        ({f"{DOWN}.study.suffix": ".X", f"{UP}.study.suffix": ".x"}, ["all who read a study write to it"]),
        ({f"{UP}.study.prefix": ""}, ["named 'score' HAS THE RIGHTS OF THE WHOLE SYSTEM"]),
        ({f"{UP}.system": "PROGRAMDATA-all.WRITE"}, ["named 'all' HAS THE RIGHTS OF THE WHOLE SYSTEM"]),
        ({"auth.server.tokenName": "apiToken"}, ["which neither Ego nor Keycloak knows"]),
        ({"auth.server.tokenName": "token"}, ["auth.server.url takes apiKey"]),
        ({f"{JWT}.public-key-location": "http://k", f"{JWT}.jwk-set-uri": "http://k"}, ["jwk-set-uri wins"]),
        ({"auth.cache.seconds": "3600"}, ["a revoked key still works for up to 3600 s"]),
    ],
)
def test_what_is_warned_of(tmp_path: Path, given: dict[str, str], words: list[str]) -> None:
    said = " ".join(read(tmp_path, EGO | given).warnings)
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "name",
    ["AUTH_SERVER_SCOPE_STUDY_PREFIX", "AUTH_SERVER_SCOPE_DOWNLOAD_SUFFIX", "AUTH_SERVER_SCOPE_UPLOAD_SUFFIX"],
)
def test_published_names_without_effect_are_warned_of_loudly(tmp_path: Path, name: str) -> None:
    words = [f"--{alias}={value}" for alias, value in {**EGO, "spring.profiles.active": "local,secure"}.items()]
    (said,) = read_settings(words, {name: "x"}, tmp_path).warnings
    assert f"{name} (environment {name}) HAS NO EFFECT" in said
    assert "PROGRAMDATA-<study>.READ for downloads and PROGRAMDATA-<study>.WRITE for uploads" in said
    assert canonical(name) not in read_settings(words, {name: "x"}, tmp_path).values.found


def test_authorization_without_the_profile_is_warned_of(tmp_path: Path) -> None:
    for given in (EGO, KEYCLOAK):
        (said,) = read(tmp_path, given, "local").warnings
        assert "HAS NO EFFECT: without the profile secure nobody needs a token" in said


@pytest.mark.parametrize(
    "given",
    [
        EGO,
        {**EGO, "auth.server.url": "http://ego/o/check_token", "auth.server.tokenName": "token"},
        {**EGO, "auth.server.url": "https://own.example.org/introspect", "auth.server.tokenName": "key"},
        {**EGO, **KEYCLOAK, f"{DOWN}.study.prefix": "score.", f"{UP}.study.prefix": "score."},
        {"auth.server.provider": "embedded"},
    ],
)
def test_what_is_right_is_not_warned_of(tmp_path: Path, given: dict[str, str]) -> None:
    assert read(tmp_path, given).warnings == ()


def test_of_two_keys_of_jwts_the_set_wins(tmp_path: Path) -> None:
    """Claim: with public-key-location and jwk-set-uri both set, only keys of the set prove tokens."""
    with FakeEgo() as of_the_pem, FakeKeycloak() as of_the_set, urllib3.PoolManager() as http:
        (tmp_path / "key.pem").write_text(of_the_pem.public_key)
        (tmp_path / "set.json").write_bytes(http.request("GET", of_the_set.keys_url).data)
        both = {f"{JWT}.public-key-location": "key.pem", f"{JWT}.jwk-set-uri": "set.json"}
        given = {name: str(tmp_path / file) for name, file in both.items()}
        realm = {"auth.server.keycloak.host": of_the_set.url, "auth.server.keycloak.realm": of_the_set.realm}

        async def subjects(settings: Settings) -> list[str]:
            authorizer = open_authorizer(settings)
            try:
                with pytest.raises(Unauthenticated, match="none of the authorization server's keys"):
                    await authorizer.identify(of_the_pem.issue_jwt("a.READ"))
                return [(await authorizer.identify(of_the_set.issue_jwt("a.READ"))).subject]
            finally:
                await authorizer.close()

        for more in ({}, KEYCLOAK | realm):
            assert asyncio.run(subjects(read(tmp_path, given | more).settings))


@pytest.mark.parametrize("given", [EGO, KEYCLOAK, {}])
def test_no_secret_is_shown(tmp_path: Path, given: dict[str, str]) -> None:
    """Claim: neither settings nor authorizers show the client secret when they are printed."""
    settings = read(
        tmp_path, {**given, "auth.server.clientSecret": "hunter2", "local.directory": str(tmp_path)}
    ).settings

    async def main() -> str:
        authorizer = open_authorizer(settings)
        try:
            return repr(authorizer) + repr(vars(authorizer)) + repr(settings)
        finally:
            await authorizer.close()

    assert "hunter2" not in asyncio.run(main())
