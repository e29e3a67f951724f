"""The fakes of Ego and of Keycloak's API-key plugin, byte for byte against recorded answers of the real ones."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

import pytest
import urllib3

from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak

UNKNOWN = "11111111-1111-4111-8111-111111111111"
JSON, TEXT = "application/json", "text/plain;charset=UTF-8"
UTF8 = "application/json;charset=UTF-8"

# Key, form field, client, client's secret; then status, media type and body, <…> for what differs each time.
EGO = {
    "valid": ("valid", "apiKey", "score", "scoresecret1234", 207, UTF8,
        '{"user_id":"<uuid>","exp":<seconds>,"scope":["song.READ","score.READ","score.WRITE","song.WRITE"]}'),
    "no scope": ("scopeless", "apiKey", "score", "scoresecret1234", 207, UTF8,
        '{"user_id":"<uuid>","exp":<seconds>,"scope":[]}'),
    "revoked": ("revoked", "apiKey", "score", "scoresecret1234", 401, TEXT,
        '{"error": "ApiKey \\"<uuid>\\" has expired or is no longer valid. "}'),
    "expired": ("expired", "apiKey", "score", "scoresecret1234", 401, TEXT,
        '{"error": "ApiKey \\"<uuid>\\" has expired or is no longer valid. "}'),
    "unknown": (UNKNOWN, "apiKey", "score", "scoresecret1234", 401, TEXT, '{"error": "ApiKey not found"}'),
    "malformed": ("not-a-uuid", "apiKey", "score", "scoresecret1234", 401, TEXT, '{"error": "ApiKey not found"}'),
    "wrong field": ("valid", "token", "score", "scoresecret1234", 400, JSON,
        '{"timestamp":"<time>","status":400,"error":"Bad Request","path":"/o/check_api_key"}'),
    "wrong secret": ("valid", "apiKey", "score", "x", 401, None, ""),
    "unknown client": ("valid", "apiKey", "nosuch", "x", 401, None, ""),
}  # fmt: skip
PLUGIN = {
    "valid": ("valid", "apiKey", "score", "scoresecret1234", 207, JSON,
        '{"user_id":"<uuid>","exp":<milliseconds>,"scope":["score.WRITE","score.READ"],"revoked":false,"valid":true}'),
    "revoked": ("revoked", "apiKey", "score", "scoresecret1234", 207, JSON,
        '{"user_id":"<uuid>","exp":<milliseconds>,"message":"ApiKey is revoked","revoked":true,"valid":false}'),
    "expired": ("expired", "apiKey", "score", "scoresecret1234", 207, JSON,
        '{"user_id":"<uuid>","exp":<milliseconds>,"message":"ApiKey is expired","revoked":false,"valid":false}'),
    "unknown": (UNKNOWN, "apiKey", "score", "scoresecret1234", 400, JSON, '{"error":"ApiKey not found"}'),
    "malformed": ("not-a-uuid", "apiKey", "score", "scoresecret1234", 400, JSON, '{"error":"Invalid apiKey format"}'),
    "wrong field": ("valid", "token", "score", "scoresecret1234", 400, JSON, '{"error":"ApiKey cannot be empty."}'),
    "wrong secret": ("valid", "apiKey", "score", "x", 401, JSON, '{"error":"HTTP 401 Unauthorized"}'),
}  # fmt: skip
PLACES = {
    "<uuid>": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<seconds>": r"3153[56]\d{3}",
    "<milliseconds>": r"\d{13}",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000",
}
Case = tuple[str, str, str, str, int, str | None, str]


@pytest.fixture(params=["ego", "plugin"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeEgo | FakeKeycloak]:
    with FakeEgo() if request.param == "ego" else FakeKeycloak() as server:
        yield server


def test_answers_on_keys(server: FakeEgo | FakeKeycloak) -> None:
    scopes = ("song.READ", "score.READ", "score.WRITE", "song.WRITE")
    if isinstance(server, FakeKeycloak):
        scopes = ("score.WRITE", "score.READ")
    keys = {
        "valid": server.issue_key(*scopes),
        "scopeless": server.issue_key(),
        "revoked": server.issue_key(*scopes),
        "expired": server.issue_key(*scopes, lasts=-5),
    }
    server.revoke(keys["revoked"])
    cases: dict[str, Case] = PLUGIN if isinstance(server, FakeKeycloak) else EGO
    with urllib3.PoolManager(retries=False) as http:
        for name, (key, field, client, secret, status, media_type, body) in cases.items():
            basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
            answer = http.request(
                "POST",
                server.check_url,
                fields={field: keys.get(key, key)},
                headers={"Authorization": f"Basic {basic}"},
            )
            assert answer.status == status, name
            assert media_type is None or answer.headers["content-type"].replace("; ", ";") == media_type, name
            pattern = re.escape(body)
            for place, what in PLACES.items():
                pattern = pattern.replace(re.escape(place), what)
            assert re.fullmatch(pattern, answer.data.decode()), (name, answer.data)
            if name == "valid":
                assert json.loads(answer.data)["scope"] == list(scopes)


def test_the_plugin_takes_multipart_only() -> None:
    with FakeKeycloak() as fake, urllib3.PoolManager(retries=False) as http:
        key = fake.issue_key("score.READ")
        for answer in (
            http.request("POST", fake.check_url, fields={"apiKey": key}, encode_multipart=False),
            http.request("POST", f"{fake.check_url}?apiKey={key}"),
        ):
            assert answer.status == 415
            assert answer.data == b'{"error":"RESTEASY003065: Cannot consume content type"}'
