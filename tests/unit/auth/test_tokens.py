"""API keys and JWTs, against a fake Ego with scripted faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from score.auth.apikeys import ApiKeys, KeyServer
from score.auth.base import Authorizer, Identity
from score.auth.bearer import Bearer
from score.auth.cache import Remembered
from score.auth.calls import Patience, ask, body_of, open_session
from score.auth.jwt import Jwts
from score.auth.keysets import KeySet, read_jwks, read_pem
from score.errors import Misconfigured, ScoreError, Unauthenticated, Unavailable
from score.testing.ego import FakeEgo
from score.testing.faults import Answer, Reset

PATIENCE = {"retries", "backoff", "multiplier", "total"}
KEY = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def ego() -> Iterator[FakeEgo]:
    with FakeEgo() as ego:
        yield ego


def server(ego: FakeEgo, **more: Any) -> KeyServer:
    patience = Patience(**({"backoff": 0.01} | {name: more.pop(name) for name in PATIENCE & more.keys()}))
    settings = {"url": ego.check_url, "client_id": ego.client_id, "client_secret": ego.client_secret}
    return KeyServer(**(settings | more), patience=patience)


def with_keys(ego: FakeEgo, test: Callable[[ApiKeys], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        keys = ApiKeys(server(ego, **more))
        try:
            await test(keys)
        finally:
            await keys.close()

    asyncio.run(main())


def with_jwts(location: str, test: Callable[[Jwts], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        jwts = Jwts(KeySet(location, read_jwks if "certs" in location else read_pem, **more))
        try:
            await test(jwts)
        finally:
            await jwts.close()

    asyncio.run(main())


async def identify(jwts: Authorizer, token: str) -> Identity:
    """Ask until the key is there."""
    while True:
        try:
            return await jwts.identify(token)
        except Unavailable:
            await asyncio.sleep(0)


def test_a_key_has_the_scopes_that_ego_says(ego: FakeEgo) -> None:
    async def test(keys: ApiKeys) -> None:
        identity = await keys.identify(ego.issue_key("score.WRITE"))
        assert identity.scopes == {"score.WRITE", "score.READ"}
        assert len(identity.fingerprint) == 12
        assert (await keys.identify(ego.issue_key())).scopes == frozenset(), "no scopes is not no key"

    with_keys(ego, test)


def test_keys_are_asked_about_as_the_reference_asks(ego: FakeEgo) -> None:
    async def test(keys: ApiKeys) -> None:
        await keys.identify(ego.issue_key("a.READ"))
        (asked,) = ego.traffic.seen(method="POST")
        assert asked.headers["content-type"].startswith("multipart/form-data")
        assert asked.headers["authorization"].startswith("Basic ")
        assert b'name="apiKey"' in asked.body

    with_keys(ego, test)


@pytest.mark.parametrize("path", ["/o/check_api_key", "/o/check_token"])
def test_the_form_field_is_as_set(ego: FakeEgo, path: str) -> None:
    async def test(keys: ApiKeys) -> None:
        assert (await keys.identify(ego.issue_key("a.READ"))).scopes == {"a.READ"}

    with_keys(ego, test, url=ego.url + path, form_field="token" if "token" in path else "apiKey")


def test_keys_that_are_none(ego: FakeEgo) -> None:
    async def test(keys: ApiKeys) -> None:
        revoked = ego.issue_key("a.READ")
        ego.revoke(revoked)
        for key in (KEY, revoked, ego.issue_key("a.READ", lasts=-5)):
            with pytest.raises(Unauthenticated):
                await keys.identify(key)

    with_keys(ego, test)


@pytest.mark.parametrize(
    ("status", "answer", "scopes"),
    [
        (200, {"scope": ["a.READ"]}, {"a.READ"}),
        (207, {"scope": ["a.READ"], "exp": 5}, {"a.READ"}),
        (207, {"scope": ["a.READ"], "exp": 17953373880000, "valid": True, "revoked": False}, {"a.READ"}),
        (207, {"scope": ["a.READ"], "exp": 1600000000000, "valid": True, "revoked": False}, None),
        (207, {"scope": "a.READ b.WRITE"}, {"a.READ", "b.WRITE"}),
        (207, {}, set()),
        (207, {"scope": None}, set()),
        (207, {"scope": ["a.READ"], "exp": 0}, None),
        (207, {"scope": ["a.READ"], "exp": -7}, None),
        (207, {"scope": ["a.READ"], "revoked": True}, None),
        (207, {"scope": ["a.READ"], "valid": False}, None),
        (207, {"scope": ["a.READ"], "exp": "0"}, None),
        (207, {"scope": ["a.READ"], "exp": True}, None),
        (207, {"scope": ["a.READ"], "exp": None, "revoked": None, "valid": None}, {"a.READ"}),
        (207, {"scope": ["a.READ"], "revoked": "true"}, None),
        (207, {"scope": ["a.READ"], "valid": "false"}, None),
        (200, {"scope": ["a.READ"], "error": "no"}, None),
        (200, {"error": None}, None),
        (400, {"message": "malformed"}, None),
        (401, {"error": "x"}, None),
        (403, {}, None),
        (404, {}, None),
    ],
)
def test_answers(ego: FakeEgo, status: int, answer: dict[str, Any], scopes: set[str] | None) -> None:
    async def test(keys: ApiKeys) -> None:
        if scopes is None:
            with pytest.raises(Unauthenticated):
                await keys.identify(KEY)
        else:
            assert (await keys.identify(KEY)).scopes == scopes
        assert len(ego.traffic.seen()) == 1

    ego.traffic.inject(Answer(status, json.dumps(answer).encode()), path="/o/")
    with_keys(ego, test)


@pytest.mark.parametrize(
    "fault", [Answer.unavailable(), Answer.failure(), Answer.garbage(), Reset(), Answer(302, b"")]
)
def test_failures_that_pass_are_asked_again(ego: FakeEgo, fault: Any) -> None:
    async def test(keys: ApiKeys) -> None:
        assert (await keys.identify(ego.issue_key("a.READ"))).scopes == {"a.READ"}
        assert len(ego.traffic.seen()) == 3

    ego.traffic.inject(fault, path="/o/", times=2)
    with_keys(ego, test)


@pytest.mark.parametrize("retries", [0, 3])
def test_failures_that_last_are_said(ego: FakeEgo, retries: int) -> None:
    async def test(keys: ApiKeys) -> None:
        with pytest.raises(Unavailable, match="503") as caught:
            await keys.identify(KEY)
        assert KEY not in str(caught.value)
        assert len(ego.traffic.seen()) == retries + 1

    ego.traffic.inject(Answer.unavailable(), path="/o/", times=None)
    with_keys(ego, test, retries=retries)


def test_patience_bounds_all_repetitions(ego: FakeEgo) -> None:
    """By default: asked at once, after 15 and after 40 seconds; then a client, which waits 60, hears of it."""

    async def test(keys: ApiKeys) -> None:
        with pytest.raises(Unavailable):
            await keys.identify(KEY)
        assert len(ego.traffic.seen()) == 2

    ego.traffic.inject(Answer.unavailable(), path="/o/", times=None)
    with_keys(ego, test, backoff=1000.0, total=0.9)


def test_an_outage_of_half_a_minute_is_outlived_by_default(ego: FakeEgo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim: with the default settings one call asks at once, after 15 and after 40 seconds, before it gives up."""
    now, asked = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def send() -> tuple[int, bytes]:
        asked.append(now)
        return (200, b"{}") if now > 30 else (503, b"")

    monkeypatch.setattr("score.auth.calls.asyncio.sleep", sleep)
    assert asyncio.run(ask(send, "http://ego", Patience(), clock=lambda: now)).status == 200
    assert asked == [0, 15, 40]


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    """Claim: an attempt ends with the time that there is, however long the server is silent."""

    async def silent() -> tuple[int, bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Unavailable, match="TimeoutError"):
        asyncio.run(ask(silent, "http://ego", Patience(retries=5, backoff=0.01, total=0.05)))


def test_an_answer_without_end_is_cut(ego: FakeEgo) -> None:
    """Claim: an authorization server cannot fill the memory."""

    async def main() -> int:
        async with open_session() as session, session.get(ego.public_key_url) as answer:
            return len(await body_of(answer))

    ego.traffic.inject(Answer(200, b"x" * 8 * 1024 * 1024), path="/oauth")
    assert asyncio.run(main()) < 5 * 1024 * 1024


def test_no_server_at_all(ego: FakeEgo) -> None:
    async def test(keys: ApiKeys) -> None:
        with pytest.raises(Unavailable):
            await keys.identify(KEY)
        assert "does not answer" in await keys.probe()

    ego.shut()
    with_keys(ego, test, retries=1)


def test_answers_are_kept_a_short_while_and_never_refusals(ego: FakeEgo) -> None:
    async def main() -> None:
        now = 0.0
        keys = Remembered(ApiKeys(server(ego)), 10, clock=lambda: now)
        key = ego.issue_key("a.READ")
        await asyncio.gather(*[keys.identify(key) for _ in range(5)])
        await keys.identify(key)
        assert len(ego.traffic.seen()) == 1
        ego.revoke(key)
        now = 11.0
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await keys.identify(key)
        assert len(ego.traffic.seen()) == 3
        await keys.close()

    asyncio.run(main())


def test_keys_are_probed(ego: FakeEgo) -> None:
    async def test(keys: ApiKeys) -> None:
        assert await keys.probe() == ""

    async def elsewhere(keys: ApiKeys) -> None:
        assert "404" in await keys.probe()

    async def as_stranger(keys: ApiKeys) -> None:
        assert "auth.server.clientSecret" in await keys.probe()

    async def in_another_field(keys: ApiKeys) -> None:
        assert "auth.server.tokenName" in await keys.probe()

    async def to_a_page(keys: ApiKeys) -> None:
        for answer in (Answer(302, headers={"Location": "/login"}), Answer(200, b"<html>Log in")):
            ego.traffic.inject(answer, path="/o/")
            assert "Check auth.server.url" in await keys.probe()
            ego.traffic.inject(answer, path="/o/", times=2)
            with pytest.raises(Unavailable):
                await keys.identify(KEY)

    with_keys(ego, test)
    with_keys(ego, to_a_page, retries=1)
    with_keys(ego, elsewhere, url=f"{ego.url}/elsewhere")
    with_keys(ego, as_stranger, client_secret="wrong")
    with_keys(ego, in_another_field, form_field="apiToken")


def test_a_jwt_has_the_scopes_of_its_context(ego: FakeEgo) -> None:
    async def test(jwts: Jwts) -> None:
        assert (await identify(jwts, ego.issue_jwt("a.READ", "b.WRITE"))).scopes == {"a.READ", "b.WRITE"}
        assert (await identify(jwts, ego.issue_jwt("a.READ", application=True))).scopes == {"a.READ"}
        for context in (None, [], {"scope": "a.READ"}, {"scopes": ["a.READ"]}, {"scope": [1, None]}):
            token = ego.issue_jwt(context=context, scope=["top.LEVEL"], sub=5, jti=7, aud=["other"], iss="x")
            assert (await identify(jwts, token)).scopes == frozenset()
        assert await jwts.probe() == ""

    with_jwts(ego.public_key_url, test)


def test_jwts_that_are_refused(ego: FakeEgo) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    good = ego.issue_jwt("a.READ")
    header, payload, signature = good.split(".")
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}

    async def test(jwts: Jwts) -> None:
        assert await identify(jwts, good)
        assert await identify(jwts, ego.issue_jwt(lasts=-50)), "60 s of clock skew"
        for token in (
            ego.issue_jwt(lasts=-70),
            ego.issue_jwt(lasts=None),
            ego.issue_jwt(key=stranger),
            "nonsense",
            "",
            f"{none}.{payload}.",
            f"{header}.{payload}.",
            f"{header}.{payload}.{signature[:-4]}AAAA",
        ):
            with pytest.raises(Unauthenticated):
                await jwts.identify(token)
        with pytest.raises(Unauthenticated, match="has to sign with that"):
            await jwts.identify(jwt.encode({"exp": 99999999999}, ego.signing_key, "RS512"))

    with_jwts(ego.public_key_url, test)


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(ego: FakeEgo) -> None:
    import base64
    import hashlib
    import hmac

    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    signed = (
        f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'exp': 99999999999, 'context': {'scope': ['score.WRITE']}})}"
    )
    mac = hmac.digest(ego.public_key.encode(), signed.encode(), hashlib.sha256)
    token = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    async def test(jwts: Jwts) -> None:
        with pytest.raises(Unauthenticated):
            await identify(jwts, token)

    with_jwts(ego.public_key_url, test)


def test_the_key_is_fetched_in_the_background_until_it_is_there(
    ego: FakeEgo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("score.auth.keysets._WAITS", (0.0,))
    ego.traffic.inject(Answer.unavailable(), path="/oauth", times=3)
    gate = ego.traffic.hold(path="/oauth")

    async def test(jwts: Jwts) -> None:
        with pytest.raises(Unavailable, match="has not been fetched yet"):
            await jwts.identify(ego.issue_jwt())
        assert "503" in await jwts.probe()
        await asyncio.to_thread(gate.wait_for_arrival)
        assert "503" in await jwts.probe()
        gate.open()
        assert await identify(jwts, ego.issue_jwt("a.READ"))
        assert await jwts.probe() == ""
        assert len(ego.traffic.seen(path="/oauth")) == 4

    with_jwts(ego.public_key_url, test)


def test_a_new_key_of_the_server_is_noticed(ego: FakeEgo) -> None:
    now = 0.0

    async def test(jwts: Jwts) -> None:
        nonlocal now
        await identify(jwts, ego.issue_jwt())
        ego.signing_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with pytest.raises(Unauthenticated):
            await jwts.identify(ego.issue_jwt())
        now = 61.0
        assert (await jwts.identify(ego.issue_jwt("a.READ"))).scopes == {"a.READ"}
        with pytest.raises(Unauthenticated):
            await jwts.identify("a.b.c")

    with_jwts(ego.public_key_url, test, clock=lambda: now)


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_the_key_may_lie_in_a_file(ego: FakeEgo, tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "key.pem"
    file.write_text(ego.public_key)

    async def test(jwts: Jwts) -> None:
        assert (await jwts.identify(ego.issue_jwt("a.READ"))).scopes == {"a.READ"}

    with_jwts(f"{prefix}{file}", test)


@pytest.mark.parametrize("content", [None, "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "\xff"])
def test_a_key_file_that_is_none(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_text(content)

    async def test(jwts: Jwts) -> None: ...

    with pytest.raises(Misconfigured, match=r"key\.pem"):
        with_jwts(str(file), test)


@pytest.mark.parametrize("separator", ["\r\n", "\n", " ", ""])
def test_the_lines_of_a_key_may_be_broken_anyhow(ego: FakeEgo, separator: str) -> None:
    (expected,), (found,) = (
        read_pem(text, "x") for text in (ego.public_key, ego.public_key.replace("\r\n", separator))
    )
    assert found.public.public_numbers() == expected.public.public_numbers()


def test_a_uuid_is_an_api_key_and_all_else_a_jwt(ego: FakeEgo) -> None:
    async def main() -> None:
        both = Bearer(ApiKeys(server(ego)), Jwts(KeySet(ego.public_key_url, read_pem)))
        assert (await both.identify(ego.issue_key("key.READ"))).scopes == {"key.READ"}
        token = ego.issue_jwt("jwt.READ")
        assert (await identify(both, token)).scopes == {"jwt.READ"}
        assert await both.probe() == ""
        await both.close()
        neither = Bearer(None, None)
        for one in (KEY, token):
            with pytest.raises(Unauthenticated):
                await neither.identify(one)

    asyncio.run(main())


def test_no_error_shows_the_token(ego: FakeEgo) -> None:
    async def test(jwts: Jwts) -> None:
        token = ego.issue_jwt(lasts=-100)
        with pytest.raises(ScoreError) as caught:
            await identify(jwts, token)
        for piece in token.split("."):
            assert piece not in str(caught.value)

    with_jwts(ego.public_key_url, test)
