"""Claim: a token may do in each call what the contract's table says, no more; a refused call changes nothing.

Every credential in every call, on open and on controlled files, against a running server with Ego, Keycloak (a fake
with the API-key plugin, and the real one for JWTs) and embedded keys. The same table is printed in the documentation.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from score.auth.embedded import KeyFile
from score.testing.authorization import CALLS, CREDENTIALS, SYSTEM, Access, Call, Credential, expected
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.secured import MD5, Keys, SecuredSite, check_form, secured_site

REAL = pytest.param("keycloak, real", marks=pytest.mark.needs("keycloak"))
KINDS: tuple[Access, Access] = ("open", "controlled")


@dataclass
class World:
    """A site, and how a JWT is made for it."""

    provider: str
    site: SecuredSite
    jwts: Callable[[Credential], str]

    def headers_of(self, credential: Credential) -> dict[str, str]:
        site = self.site
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
                token = site.make_key(*(credential.scopes or ()))
            case "expired key":
                token = site.make_expired_key(*SYSTEM)
            case "revoked key":
                token = site.make_key(*SYSTEM)
                site.keys.revoke(token)
            case _:
                token = self.jwts(credential)
        return {"Authorization": f"Bearer {token}"}

    def ask(self, call: Call, access: Access, headers: dict[str, str]) -> int:
        site = self.site
        names = {
            "up": site.objects["up", access],
            "down": site.objects["down", access],
            "id": site.upload_of(access) if call.prepared else "",
            "md5": MD5,
        }
        target = call.path.format_map(names) + (f"?{call.query.format_map(names)}" if call.query else "")
        answer = site.http.request(call.method, site.url + target, headers=headers)
        check_form(answer, target)
        return int(answer.status)


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
    keys: Keys
    if provider == "embedded":
        keys, ego = stack.enter_context(closing(KeyFile(folder / "own" / "keys"))), FakeEgo()
        return World(provider, enter(stack, folder, keys), lambda credential: fake_jwt(ego, credential))
    if provider == "ego":
        ego = stack.enter_context(FakeEgo())
        return World(provider, enter(stack, folder, ego), lambda credential: fake_jwt(ego, credential))
    fake = stack.enter_context(FakeKeycloak())
    if provider == "keycloak":
        return World(provider, enter(stack, folder, fake), lambda credential: fake_jwt(fake, credential))
    keycloak = request.getfixturevalue("keycloak")
    realm = keycloak.make_realm()

    def real_jwt(credential: Credential) -> str:
        match credential.kind.removeprefix("jwt "):
            case "program":
                return str(realm.client_token())
            case "foreign":
                return str(keycloak.make_realm().token("operator"))
            case "none":
                return without_signature(realm.token("operator"))
            case "expired":
                return str(realm.expired_token("operator"))
            case user:
                return str(realm.token(user))

    real = {"auth_server_keycloak_host": keycloak.url, "auth_server_keycloak_realm": realm.name}
    return World("keycloak", enter(stack, folder, fake, **real), real_jwt)


def enter(stack: ExitStack, folder: Path, keys: Keys, **settings: str) -> SecuredSite:
    site = stack.enter_context(secured_site(folder, keys, **settings))
    site.populate()
    return site


@pytest.fixture(scope="module", params=["ego", "keycloak", "embedded", REAL])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield open_world(stack, request.param, tmp_path_factory.mktemp("site"), request)


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda one: one.name)
def test_every_credential_in_every_call(world: World, credential: Credential) -> None:
    site, headers = world.site, world.headers_of(credential)
    cells = [(call, access) for call in CALLS for access in KINDS]
    wanted = {cell: expected(world.provider, credential, *cell) for cell in cells}
    refused = [cell for cell in cells if wanted[cell] != 200]
    before = {access: site.upload_of(access) for access in KINDS} if refused else {}
    found = {cell: world.ask(*cell, headers) for cell in refused}
    for access, upload in before.items():
        assert site.is_untouched(site.objects["up", access], upload), "a refused call did something"
    for call, access in cells:
        if (call, access) not in found:
            if call.afresh:
                site.clear(access)
            found[call, access] = world.ask(call, access, headers)
            if call.consumes:
                site.uploads = {} if call.path == "/upload/cancel" else site.uploads | {access: ""}
                site.uploads = {kind: upload for kind, upload in site.uploads.items() if upload}
    assert readable(found) == readable(wanted)


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda one: one.name)
def test_tickets_of_htsget_need_what_downloads_need(world: World, credential: Credential) -> None:
    """Claim: who may not download a file gets no ticket for it, and learns nothing of it. The table has tickets of
    variants; asked for reads, who may have these files is told that they hold none (404)."""
    site, headers = world.site, world.headers_of(credential)
    download = next(call for call in CALLS if call.need == "download")
    for access in KINDS:
        wanted = expected(world.provider, credential, download, access)
        for method in ("GET", "POST"):
            target = f"/htsget/reads/{site.objects['down', access]}"
            answer = site.http.request(method, site.url + target, headers=headers)
            assert answer.status == (404 if wanted == 200 else wanted), (target, answer.data)
            if wanted != 200:
                check_form(answer, target)
            assert ("holds no reads" in answer.json()["htsget"]["message"]) is (wanted == 200)


def test_open_files_need_a_token_where_the_settings_say_so(tmp_path: Path) -> None:
    """Claim: with auth.anonymous.open=false nobody gets a URL without a token."""
    with (
        closing(KeyFile(tmp_path / "keys")) as keys,
        secured_site(tmp_path, keys, auth_anonymous_open="false") as site,
    ):
        site.populate()
        world = World("embedded", site, lambda credential: "")
        for credential in (CREDENTIALS[0], next(one for one in CREDENTIALS if one.scopes == ())):
            headers = world.headers_of(credential)
            cells = [(call, access) for call in CALLS for access in KINDS]
            found = {cell: world.ask(*cell, headers) for cell in cells}
            assert readable(found) == readable(
                {cell: expected("embedded", credential, *cell, anonymous_open=False) for cell in cells}
            )


def readable(statuses: dict[tuple[Call, Access], int]) -> dict[str, int]:
    return {f"{call.shown}, {access} file": status for (call, access), status in statuses.items()}
