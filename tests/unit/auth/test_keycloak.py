"""JWK sets, Keycloak's permissions and its API-key plugin, against a fake Keycloak with scripted faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from score.auth.apikeys import ApiKeys, KeyServer
from score.auth.base import Authorizer, Identity
from score.auth.calls import Patience
from score.auth.jwt import Jwts
from score.auth.keycloak import Realm, RealmPermissions
from score.auth.keysets import KeySet, read_jwks
from score.errors import Misconfigured, Unauthenticated, Unavailable
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.faults import Answer, Reset

QUICK = Patience(retries=2, backoff=0.01)


@pytest.fixture
def fake() -> Iterator[FakeKeycloak]:
    with FakeKeycloak() as fake:
        yield fake


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_jwts(
    fake: FakeKeycloak,
    test: Callable[[Jwts], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
    host: str = "",
    audience: str = "",
    patience: Patience = QUICK,
    permissions: bool = True,
) -> None:
    async def main() -> None:
        realm = Realm(host or fake.url, fake.realm, audience or fake.client_id)
        keys = KeySet(fake.keys_url, read_jwks, clock)
        jwts = Jwts(keys, RealmPermissions(realm, patience) if permissions else None)
        try:
            await identify(jwts, fake.issue_jwt("warm.READ")) if not host and not audience else None
            await test(jwts)
        finally:
            await jwts.close()

    asyncio.run(main())


async def identify(jwts: Authorizer, token: str) -> Identity:
    """Ask until the keys are there."""
    while True:
        try:
            return await jwts.identify(token)
        except Unavailable as error:
            if "has not been fetched" not in str(error):
                raise
            await asyncio.sleep(0)


async def refusal(jwts: Authorizer, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await identify(jwts, token)
    assert token not in str(caught.value)
    return str(caught.value)


def test_permissions_are_scopes(fake: FakeKeycloak) -> None:
    async def test(jwts: Jwts) -> None:
        token = fake.issue_jwt("score.READ", "score.WRITE", "PROGRAMDATA-DOT.TED.READ")
        identity = await identify(jwts, token)
        assert identity.scopes == {"score.READ", "score.WRITE", "PROGRAMDATA-DOT.TED.READ"}
        assert identity.expires is not None
        assert 600 < identity.expires - time.time() <= 661
        (asked, *_) = reversed(fake.traffic.seen(method="POST"))
        assert asked.headers["authorization"] == f"Bearer {token}"
        assert asked.body == (
            b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Auma-ticket&audience=score&response_mode=permissions"
        )
        assert await jwts.probe() == ""

    with_jwts(fake, test)


def test_no_permission_at_all_is_no_scopes_and_no_failure(fake: FakeKeycloak) -> None:
    async def test(jwts: Jwts) -> None:
        assert (await identify(jwts, fake.issue_jwt())).scopes == frozenset()

    with_jwts(fake, test)


@pytest.mark.parametrize(
    "answer",
    ["[]", '[{"rsname":"a"}]', '[{"rsname":null,"scopes":["READ"]}]', '[{"rsname":"a","scopes":"READ"}]', "[[],5]"],
)
def test_permissions_of_another_shape_grant_nothing(fake: FakeKeycloak, answer: str) -> None:
    async def test(jwts: Jwts) -> None:
        fake.traffic.inject(Answer(200, answer.encode()), path="/token")
        assert (await identify(jwts, fake.issue_jwt("score.READ"))).scopes == frozenset()

    with_jwts(fake, test)


def test_scopes_in_the_token_itself_count_for_nothing_with_keycloak(fake: FakeKeycloak) -> None:
    """Claim: with Keycloak only its permissions count, not what a token says of itself."""

    async def test(jwts: Jwts) -> None:
        token = fake.issue_jwt(context={"scope": ["score.WRITE"]}, scope="score.WRITE")
        assert (await identify(jwts, token)).scopes == frozenset()

    with_jwts(fake, test)


def test_a_token_of_another_address_is_refused_with_the_reason(fake: FakeKeycloak) -> None:
    async def test(jwts: Jwts) -> None:
        said = await refusal(jwts, fake.issue_jwt("score.READ", iss="http://public.example.org/realms/r"))
        assert "issued under 'http://public.example.org/realms/r'" in said
        assert fake.realm_url in said
        assert "auth.server.keycloak.host" in said

    with_jwts(fake, test)


def test_a_wrong_audience_is_told_to_the_operator(fake: FakeKeycloak, caplog: pytest.LogCaptureFixture) -> None:
    async def test(jwts: Jwts) -> None:
        assert "400" in await refusal(jwts, fake.issue_jwt("score.READ"))

    with_jwts(fake, test, audience="nosuch")
    assert "auth.server.clientId" in caplog.text
    assert "Unknown resource server id: [nosuch]" in caplog.text


@pytest.mark.parametrize("fault", [Answer.unavailable(), Answer.failure(), Answer.garbage(), Reset()])
def test_failures_that_pass_are_asked_again(fake: FakeKeycloak, fault: Answer | Reset) -> None:
    async def test(jwts: Jwts) -> None:
        fake.traffic.inject(fault, path="/token", times=2)
        assert (await identify(jwts, fake.issue_jwt("a.READ"))).scopes == {"a.READ"}

    with_jwts(fake, test)


def test_failures_that_last_are_said(fake: FakeKeycloak) -> None:
    async def test(jwts: Jwts) -> None:
        fake.traffic.inject(Answer.failure(), path="/token", times=None)
        with pytest.raises(Unavailable, match="500") as caught:
            await jwts.identify(fake.issue_jwt("a.READ"))
        assert caught.value.retry_after

    with_jwts(fake, test)


def test_a_wrong_realm_or_host_is_seen_by_the_probe(fake: FakeKeycloak) -> None:
    async def look(realm: Realm) -> str:
        permissions = RealmPermissions(realm, QUICK)
        try:
            return await permissions.probe()
        finally:
            await permissions.close()

    assert asyncio.run(look(Realm(fake.url, "r", "score"))) == ""
    assert Realm("http://k/", "a b/../c", "x").token_url == (
        "http://k/realms/a%20b%2F..%2Fc/protocol/openid-connect/token"
    )
    assert "404" in asyncio.run(look(Realm(fake.url, "other/../r", "score")))
    assert "does not answer" in asyncio.run(look(Realm("http://127.0.0.1:1", "r", "score")))


def test_an_unknown_key_is_looked_for_once_in_a_while(fake: FakeKeycloak) -> None:
    """Claim: rotation of keys is noticed, and tokens of invented keys cannot make the server fetch without end."""
    clock = Clock()

    async def test(jwts: Jwts) -> None:
        for _ in range(5):
            await refusal(jwts, fake.issue_jwt("a.READ", headers={"kid": "invented"}))
        assert len(fake.traffic.seen(path="/certs")) == 1
        clock.now = 11
        fake.rotate()
        new = fake.issue_jwt("a.READ")
        assert (await jwts.identify(new)).scopes == {"a.READ"}
        assert len(fake.traffic.seen(path="/certs")) == 2
        for _ in range(5):
            await refusal(jwts, fake.issue_jwt("a.READ", headers={"kid": "invented"}))
        assert len(fake.traffic.seen(path="/certs")) == 2

    with_jwts(fake, test, clock)


def test_a_new_key_that_cannot_be_fetched_is_not_a_bad_token(fake: FakeKeycloak) -> None:
    """Claim: a token of a new key, while the keys are not to be had, is 503 and not 401: an upload goes on after."""
    clock = Clock()

    async def test(jwts: Jwts) -> None:
        clock.now = 11
        fake.rotate()
        new = fake.issue_jwt("a.READ")
        fake.traffic.inject(Answer.unavailable(), path="/certs")
        for _ in range(2):
            with pytest.raises(Unavailable, match="certs") as caught:
                await jwts.identify(new)
            assert caught.value.retry_after
        clock.now = 22
        assert (await jwts.identify(new)).scopes == {"a.READ"}
        assert len(fake.traffic.seen(path="/certs")) == 3

    with_jwts(fake, test, clock)


def test_tokens_of_an_older_key_stay_valid_until_it_is_withdrawn(fake: FakeKeycloak) -> None:
    """Claim: a signing key that the authorization server withdrew proves no tokens after at most five minutes."""
    clock = Clock()

    async def test(jwts: Jwts) -> None:
        old = fake.issue_jwt("a.READ")
        fake.rotate()
        clock.now = 11
        await jwts.identify(fake.issue_jwt("a.READ"))
        await jwts.identify(old)
        fake.rotate(keep=False)
        await jwts.identify(old)
        clock.now = 320
        gate = fake.traffic.hold(path="/certs")
        several = [asyncio.create_task(jwts.identify(old)) for _ in range(3)]
        await asyncio.to_thread(gate.wait_for_arrival)
        gate.open()
        for one in several:
            with pytest.raises(Unauthenticated):
                await one
        assert len(fake.traffic.seen(path="/certs")) == 3

    with_jwts(fake, test, clock, permissions=False)


def test_keys_that_cannot_be_fetched_anew_stay_in_use(fake: FakeKeycloak, caplog: pytest.LogCaptureFixture) -> None:
    """Claim: tokens are taken while the authorization server gives no keys, and it is asked once in ten seconds; one
    call waits for that, and no other while it is known to be away."""
    clock = Clock()

    async def test(jwts: Jwts) -> None:
        token = fake.issue_jwt("a.READ")
        fake.traffic.inject(Answer.unavailable(), path="/certs")
        for clock.now in (301, 305):
            await jwts.identify(token)
        assert len(fake.traffic.seen(path="/certs")) == 2
        gate = fake.traffic.hold(path="/certs")
        for clock.now in (312, 323):
            await jwts.identify(token)
        await asyncio.to_thread(gate.wait_for_arrival)
        await jwts.identify(token)
        assert [one.end for one in fake.traffic.seen(path="/certs")][2:] == [""], "nobody waited for the look"
        fake.rotate(keep=False)
        fake.traffic.heal()
        clock.now = 1000
        with pytest.raises(Unauthenticated):
            await jwts.identify(token)

    with_jwts(fake, test, clock, permissions=False)
    assert "The keys from before stay in use" in caplog.text


def test_a_jwt_without_kid_is_tried_against_every_key(fake: FakeKeycloak) -> None:
    async def test(jwts: Jwts) -> None:
        assert (await jwts.identify(fake.issue_jwt("a.READ", headers={}))).scopes == {"a.READ"}

    fake.rotate()
    fake.rotate()
    with_jwts(fake, test)


def test_keys_of_other_kinds_are_passed_over(fake: FakeKeycloak) -> None:
    with urllib3.PoolManager() as http:
        text = http.request("GET", fake.keys_url).data.decode()
    document = json.loads(text)
    good, encrypting = document["keys"]
    assert [key.kid for key in read_jwks(text, "x")] == [good["kid"]]
    odd = [
        encrypting, {}, [], None, {"kty": "EC"}, {**good, "n": 5}, {**good, "e": "!"}, {**good, "alg": "HS256"},
        {**good, "kty": "oct", "k": "c2VjcmV0"}, {key: good[key] for key in ("kty", "n")},
    ]  # fmt: skip
    kept = read_jwks(json.dumps({"keys": [*odd, {**good, "kid": 5, "x5u": "http://elsewhere/"}]}), "x")
    assert [key.kid for key in kept] == [None]
    for nothing in ("", "[]", "{}", '{"keys":{}}', json.dumps({"keys": odd}), "[" * 100_000):
        with pytest.raises(Misconfigured, match="x holds no JWK set"):
            read_jwks(nothing, "x")


def test_a_set_may_lie_in_a_file(fake: FakeKeycloak, tmp_path: Path) -> None:
    with urllib3.PoolManager() as http:
        (tmp_path / "set.json").write_bytes(http.request("GET", fake.keys_url).data)

    async def main() -> None:
        jwts = Jwts(KeySet(str(tmp_path / "set.json"), read_jwks))
        token = fake.issue_jwt(context={"scope": ["a.READ"]})
        assert (await jwts.identify(token)).scopes == {"a.READ"}
        await jwts.close()

    asyncio.run(main())


def test_answers_of_the_api_key_plugin(fake: FakeKeycloak) -> None:
    """Claim: a revoked, expired, unknown or malformed key is refused although the plugin answers 207 to some."""

    async def main() -> None:
        server = KeyServer(fake.check_url + "/", fake.client_id, fake.client_secret, patience=QUICK)
        keys = ApiKeys(server)
        identity = await keys.identify(fake.issue_key("score.READ", "a.WRITE", lasts=1000))
        assert identity.scopes == {"score.READ", "a.WRITE"}
        assert identity.expires is not None
        assert 0 < identity.expires - time.time() <= 1000
        revoked = fake.issue_key("score.READ")
        fake.revoke(revoked)
        for key in (
            revoked,
            fake.issue_key("score.READ", lasts=-1),
            "11111111-2222-4333-8444-555555555555",
            fake.issue_key("score.READ").upper(),
        ):
            with pytest.raises(Unauthenticated):
                await keys.identify(key)
        assert await keys.probe() == ""
        await keys.close()
        for wrong, named in (("client_secret", "clientSecret"), ("form_field", "tokenName")):
            other = ApiKeys(
                KeyServer(
                    **{"url": fake.check_url, "client_id": "score", "client_secret": "scoresecret1234", wrong: "x"}
                )
            )
            assert named in await other.probe()
            await other.close()

    asyncio.run(main())
