"""Claim: a token may do in each call what the contract's table says, no more; a refused call changes nothing.

Every credential in every call, on open and on controlled files, against a running server with Ego, Keycloak (a fake
with the API-key plugin, and the real one for JWTs) and embedded keys. The same table is printed in the documentation.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3

from score.auth.embedded import KeyFile
from score.server.build import open_service
from score.server.settings import JWT, Settings
from score.testing.authorization import CALLS, CREDENTIALS, STUDY, SYSTEM, Access, Call, Credential, expected
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.server import RunningServer

DATA = b"four"
MD5 = hashlib.md5(DATA).hexdigest()
REAL = pytest.param("keycloak, real", marks=pytest.mark.needs("keycloak"))
Keys = FakeEgo | FakeKeycloak | KeyFile


@dataclass
class World:
    """A running server with four registered files, and the means to make tokens for it."""

    provider: str
    url: str
    keys: Keys
    jwts: Callable[[Credential], str]
    http: urllib3.PoolManager
    objects: dict[tuple[str, Access], str] = field(default_factory=dict)
    uploads: dict[Access, str] = field(default_factory=dict)

    def call(self, method: str, target: str, token: str = "", body: bytes | None = None, **headers: str) -> Any:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return self.http.request(method, self.url + target, headers=given | headers, body=body)

    def good(self, method: str, target: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        answer = self.call(method, target, self.system, body)
        assert answer.status == 200, answer.data
        return answer.json() if answer.data else None

    @property
    def system(self) -> str:
        if not hasattr(self, "_system"):
            self._system = self.make_key(SYSTEM)
        return self._system

    def make_key(self, scopes: tuple[str, ...]) -> str:
        if isinstance(self.keys, KeyFile):
            return self.keys.create("somebody", scopes)
        return self.keys.issue_key(*scopes)

    def register(self) -> None:
        self.good("POST", f"/studies/{STUDY}/", {"studyId": STUDY, "name": STUDY})
        kinds: list[tuple[str, Access]] = [
            (what, access) for what in ("up", "down") for access in ("open", "controlled")
        ]  # type: ignore[assignment]
        for what, access in kinds:
            file = {"fileName": f"{what}-{access}", "fileSize": len(DATA), "fileMd5sum": MD5, "fileAccess": access}
            payload = {"studyId": STUDY, "analysisType": {"name": "x"}, "samples": [], "files": [file]}
            analysis = self.good("POST", f"/submit/{STUDY}", payload)["analysisId"]
            (found,) = self.good("GET", f"/studies/{STUDY}/analysis/{analysis}/files")
            self.objects[what, access] = found["objectId"]
            if what == "down":
                upload = self.begin(found["objectId"])
                self.good("POST", f"/upload/{found['objectId']}?uploadId={upload}")
                self.good("PUT", f"/studies/{STUDY}/analysis/publish/{analysis}")

    def begin(self, identity: str) -> str:
        """An upload in progress whose only part is sent and recorded."""
        started = self.good("POST", f"/upload/{identity}/uploads?fileSize={len(DATA)}&md5={MD5}&overwrite=true")
        assert self.http.request("PUT", started["parts"][0]["url"], body=DATA).status == 200
        upload: str = started["uploadId"]
        self.good("POST", f"/upload/{identity}/parts?partNumber=1&uploadId={upload}&md5={MD5}&etag={MD5}")
        return upload

    def upload_of(self, access: Access) -> str:
        """The id of the upload in progress, begun where none is."""
        if access not in self.uploads:
            self.uploads[access] = self.begin(self.objects["up", access])
        return self.uploads[access]

    def headers_of(self, credential: Credential) -> dict[str, str]:
        match credential.kind:
            case "none":
                return {}
            case "basic":
                return {"Authorization": "Basic " + base64.b64encode(b"score:scoresecret1234").decode()}
            case "empty":
                return {"Authorization": "Bearer "}
            case "word":
                token = "nonsense"
            case "unknown":
                token = str(uuid.uuid4())
            case "key":
                token = self.make_key(credential.scopes or ())
            case "expired key":
                token = self._expired()
            case "revoked key":
                token = self.make_key(SYSTEM)
                self.keys.revoke(token)
            case _:
                token = self.jwts(credential)
        return {"Authorization": f"Bearer {token}"}

    def ask(self, call: Call, access: Access, headers: dict[str, str]) -> int:
        names = {
            "up": self.objects["up", access],
            "down": self.objects["down", access],
            "id": self.upload_of(access) if call.prepared else "",
            "md5": MD5,
        }
        target = call.path.format_map(names) + (f"?{call.query.format_map(names)}" if call.query else "")
        answer = self.http.request(call.method, self.url + target, headers=headers)
        check_form(answer, target)
        return int(answer.status)

    def _expired(self) -> str:
        if isinstance(self.keys, KeyFile):
            return self.keys.create("somebody", SYSTEM, time.time() - 5)
        return self.keys.issue_key(*SYSTEM, lasts=-5)


def check_form(answer: Any, target: str) -> None:
    """Refusals are JSON, say what is needed, and challenge where a token would help."""
    if answer.status < 400:
        return
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert (document["status"], document["path"]) == (answer.status, target.partition("?")[0])
    assert ("www-authenticate" in answer.headers) is (answer.status == 401)
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if answer.status == 403:
        assert document["message"].startswith("Token missing required scope to ")
        assert "score.READ" in document["message"] or "score.WRITE" in document["message"]


def fake_jwt(server: FakeEgo | FakeKeycloak, credential: Credential) -> str:
    match credential.kind:
        case "jwt expired":
            return server.issue_jwt(*SYSTEM, lasts=-61)
        case "jwt foreign":
            return type(server)().issue_jwt(*SYSTEM)
        case "jwt none":
            return without_signature(server.issue_jwt(*SYSTEM))
        case "jwt program" if isinstance(server, FakeEgo):
            return server.issue_jwt(*SYSTEM, application=True)
        case _:
            return server.issue_jwt(*(credential.scopes or ()))


def without_signature(token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}."


def open_world(stack: ExitStack, provider: str, folder: Path, request: pytest.FixtureRequest) -> World:
    settings: dict[str, object] = {"local.directory": folder, "profiles": ("local", "secure")}
    jwts: Callable[[Credential], str]
    keys: Keys
    if provider == "embedded":
        keys = KeyFile(folder / "keys.sqlite3")
        stack.callback(keys.close)
        ego = FakeEgo()
        jwts = lambda credential: fake_jwt(ego, credential)  # noqa: E731
    elif provider == "ego":
        keys = ego = stack.enter_context(FakeEgo())
        settings |= client_of(ego) | {f"{JWT}.public-key-location": ego.public_key_url}
        jwts = lambda credential: fake_jwt(ego, credential)  # noqa: E731
    else:
        keys = fake = stack.enter_context(FakeKeycloak())
        settings |= client_of(fake) | {"auth.server.provider": "keycloak"}
        host, realm = fake.url, fake.realm
        jwts = lambda credential: fake_jwt(fake, credential)  # noqa: E731
        if "real" in provider:
            keycloak = request.getfixturevalue("keycloak")
            real = keycloak.make_realm()
            host, realm = keycloak.url, real.name

            def real_jwt(credential: Credential) -> str:
                match credential.kind.removeprefix("jwt "):
                    case "program":
                        return str(real.client_token())
                    case "foreign":
                        return str(keycloak.make_realm().token("operator"))
                    case "none":
                        return without_signature(real.token("operator"))
                    case "expired":
                        pytest.skip("waits: it is in test_keycloak.py")
                    case user:
                        return str(real.token(user))

            jwts = real_jwt
        settings |= {"auth.server.keycloak.host": host, "auth.server.keycloak.realm": realm}
    chosen = Settings.model_validate(settings)
    server = stack.enter_context(RunningServer(lambda: open_service(chosen)))
    http = stack.enter_context(urllib3.PoolManager(retries=False, timeout=60))
    return World(provider.partition(",")[0], server.url, keys, jwts, http)


def client_of(server: FakeEgo | FakeKeycloak) -> dict[str, object]:
    return {
        "auth.server.url": server.check_url,
        "auth.server.clientId": server.client_id,
        "auth.server.clientSecret": server.client_secret,
    }


@pytest.fixture(scope="module", params=["ego", "keycloak", "embedded", REAL])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        world = open_world(stack, request.param, tmp_path_factory.mktemp("site"), request)
        world.register()
        yield world


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda one: one.name)
def test_every_credential_in_every_call(world: World, credential: Credential) -> None:
    headers = world.headers_of(credential)
    kinds: tuple[Access, Access] = ("open", "controlled")
    cells = [(call, access) for call in CALLS for access in kinds]
    refused = [cell for cell in cells if expected(world.provider, credential, *cell) != 200]
    before = {access: world.upload_of(access) for access in kinds} if refused else {}
    found = {cell: world.ask(*cell, headers) for cell in refused}
    for access, upload in before.items():
        status = world.good("GET", f"/upload/{world.objects['up', access]}/status?fileSize={len(DATA)}")
        assert (status["uploadId"], status["parts"][0]["sourceMd5"]) == (upload, MD5), "a refused call did something"
    for call, access in cells:
        if (call, access) not in found:
            found[call, access] = world.ask(call, access, headers)
            if call.consumes:
                world.uploads.clear() if call.path == "/upload/cancel" else world.uploads.pop(access, None)
    assert {f"{call.shown} {access}": status for (call, access), status in found.items()} == {
        f"{call.shown} {access}": expected(world.provider, credential, call, access) for call, access in cells
    }


def test_open_files_need_a_token_where_the_settings_say_so(tmp_path: Path) -> None:
    """Claim: with auth.anonymous.open=false nobody gets a URL without a token."""
    keys = KeyFile(tmp_path / "keys.sqlite3")
    chosen = Settings.model_validate(
        {"local.directory": tmp_path, "profiles": ("local", "secure"), "auth.anonymous.open": "false"}
    )
    with RunningServer(lambda: open_service(chosen)) as server, urllib3.PoolManager(retries=False) as http:
        world = World("embedded", server.url, keys, lambda one: "", http)
        world.register()
        for credential in (CREDENTIALS[0], next(one for one in CREDENTIALS if one.scopes == ())):
            headers = world.headers_of(credential)
            for call in CALLS:
                for access in ("open", "controlled"):
                    wanted = expected("embedded", credential, call, access, anonymous_open=False)  # type: ignore[arg-type]
                    assert world.ask(call, access, headers) == wanted  # type: ignore[arg-type]
    keys.close()
