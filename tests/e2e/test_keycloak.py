"""The real Keycloak: tokens by password and by client credentials, permissions, rotation of keys, expiry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import pytest
import urllib3

from score.auth.base import Identity
from score.auth.jwt import Jwts
from score.auth.keycloak import Realm, RealmPermissions
from score.auth.keysets import KeySet, read_jwks
from score.errors import Unauthenticated, Unavailable
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.keycloak import CLIENT, Keycloak, TestRealm

pytestmark = pytest.mark.needs("keycloak")


@pytest.fixture(scope="module")
def realm(keycloak: Keycloak) -> TestRealm:
    return keycloak.make_realm()


def ask(
    realm: TestRealm, test: Callable[[Jwts], Awaitable[None]], host: str = "", clock: Sequence[float] = (0.0,)
) -> None:
    async def main() -> None:
        where = Realm(host or realm.keycloak.url, realm.name, CLIENT)
        jwts = Jwts(KeySet(where.keys_url, read_jwks, lambda: clock[0]), RealmPermissions(where))
        try:
            await test(jwts)
        finally:
            await jwts.close()

    asyncio.run(main())


async def identify(jwts: Jwts, token: str) -> Identity:
    while True:
        try:
            return await jwts.identify(token)
        except Unavailable:
            await asyncio.sleep(0)


def test_permissions_of_people_and_programs(realm: TestRealm) -> None:
    tokens = {
        realm.token("operator"): {"score.READ", "score.WRITE"},
        realm.token("submitter"): {"PROGRAMDATA-TEST-CA.READ", "PROGRAMDATA-TEST-CA.WRITE"},
        realm.token("reader"): {"PROGRAMDATA-TEST-CA.READ"},
        realm.token("stranger"): {
            "PROGRAMDATA-OTHER-CA.READ", "PROGRAMDATA-OTHER-CA.WRITE",
            "PROGRAMDATA-DOT.TED.READ", "PROGRAMDATA-DOT.TED.WRITE",
        },
        realm.token("nobody"): set(),
        realm.client_token("pipeline"): {"score.READ", "score.WRITE"},
        realm.client_token("idle"): set(),
    }  # fmt: skip

    async def test(jwts: Jwts) -> None:
        for token, scopes in tokens.items():
            identity = await identify(jwts, token)
            assert identity.scopes == scopes
            assert len(identity.subject) == 36
        assert await jwts.probe() == ""

    ask(realm, test)


@pytest.mark.parametrize("kind", ["id_token", "refresh_token"])
def test_other_tokens_of_a_valid_login_are_refused(realm: TestRealm, kind: str) -> None:
    """Claim: an ID token or a refresh token, signed by the same server, is no access token."""

    async def test(jwts: Jwts) -> None:
        with pytest.raises(Unauthenticated):
            await identify(jwts, realm.token("operator", kind=kind))

    ask(realm, test)


def test_an_expired_token_is_refused(realm: TestRealm) -> None:
    """Claim: Keycloak refuses an expired token at once, within the skew that clocks are allowed too."""
    token = realm.expired_token("operator")

    async def test(jwts: Jwts) -> None:
        with pytest.raises(Unauthenticated, match="expired"):
            await identify(jwts, token)

    ask(realm, test)


def test_a_token_from_under_another_address_is_refused_with_the_reason(realm: TestRealm) -> None:
    token = realm.token("operator")
    host = realm.keycloak.url.replace("127.0.0.1", "localhost")

    async def test(jwts: Jwts) -> None:
        with pytest.raises(Unauthenticated, match=r"it was issued under 'http://127\.0\.0\.1:.*localhost"):
            await identify(jwts, token)

    ask(realm, test, host)


def test_a_token_of_another_realm_is_refused(realm: TestRealm) -> None:
    token = realm.keycloak.make_realm().token("operator")

    async def test(jwts: Jwts) -> None:
        with pytest.raises(Unauthenticated, match="none of the authorization server's keys"):
            await identify(jwts, token)

    ask(realm, test)


def test_a_logout_ends_tokens(keycloak: Keycloak) -> None:
    """Claim: a session that is ended in Keycloak opens nothing more, as soon as Keycloak is asked again."""
    realm = keycloak.make_realm()
    token = realm.token("operator")

    async def test(jwts: Jwts) -> None:
        assert (await identify(jwts, token)).scopes
        realm.log_out("operator")
        with pytest.raises(Unauthenticated):
            await identify(jwts, token)

    ask(realm, test)


def test_keys_may_be_rotated(keycloak: Keycloak) -> None:
    """Claim: tokens of a new signing key are taken without a restart; those of the old one go on."""
    realm = keycloak.make_realm()
    old = realm.token("reader")
    clock = [0.0]

    async def test(jwts: Jwts) -> None:
        await identify(jwts, old)
        realm.rotate()
        new = realm.token("reader")
        assert old.split(".")[0] != new.split(".")[0]
        clock[0] += 11  # a look for new keys at most every ten seconds
        assert (await identify(jwts, new)).scopes == (await identify(jwts, old)).scopes

    ask(realm, test, clock=clock)


def test_the_fake_answers_as_the_real_one(realm: TestRealm) -> None:
    """The fake Keycloak, byte for byte but for ids, in what Score asks of it."""
    with FakeKeycloak(realm=realm.name) as fake, urllib3.PoolManager(retries=False) as http:

        def permissions(base: str, token: str | None, **more: str) -> tuple[int, str, bytes]:
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket",
                "audience": "score",
                "response_mode": "permissions",
            }
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            url = f"{base}/realms/{realm.name}/protocol/openid-connect/token"
            fields = {name: value for name, value in (form | more).items() if value}
            answer = http.request("POST", url, fields=fields, headers=headers, encode_multipart=False)
            return answer.status, answer.headers["content-type"], answer.data

        real_url, good, forged = (
            realm.keycloak.url,
            realm.token("operator"),
            realm.token("operator")[:-8] + "AAAAAAAA",
        )
        for token, mine in (
            (realm.token("nobody"), fake.issue_jwt()),
            (forged, fake.issue_jwt("score.READ")[:-8] + "AAAAAAAA"),
            (None, None),
            ("00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"),
        ):
            assert permissions(real_url, token) == permissions(fake.url, mine)
        mine = fake.issue_jwt("score.READ", "score.WRITE")
        for audience in ("nosuch", ""):
            assert permissions(real_url, good, audience=audience) == permissions(fake.url, mine, audience=audience)
        for found in (permissions(real_url, good), permissions(fake.url, mine)):
            assert found[:2] == (200, "application/json")
            (granted,) = json.loads(found[2])
            assert list(granted) == ["scopes", "rsid", "rsname"]
            assert (granted["scopes"], granted["rsname"]) == (["READ", "WRITE"], "score")
        shown = [
            json.loads(http.request("GET", f"{base}/realms/{realm.name}/protocol/openid-connect/certs").data)["keys"]
            for base in (real_url, fake.url)
        ]
        for keys in shown:
            assert sorted((key["use"], key["alg"], key["kty"]) for key in keys) == [
                ("enc", "RSA-OAEP", "RSA"), ("sig", "RS256", "RSA"),
            ]  # fmt: skip
