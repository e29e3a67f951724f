"""Attacks by addresses: who is called because somebody else said so, and who gets the token."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from score.auth import calls
from score.auth.apikeys import ApiKeys, KeyServer
from score.auth.base import Identity
from score.auth.jwt import Jwts
from score.auth.keycloak import Realm, RealmPermissions
from score.auth.keysets import KeySet, read_pem
from score.client.client import Client
from score.client.manifest_source import fetch
from score.client.settings import Settings
from score.client.tls import Tls
from score.errors import NotFound, Refused, ScoreError, Unavailable
from score.metadata.song import Song
from score.testing.certificates import Authority
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.faults import Answer
from score.testing.score import FakeScore
from score.testing.service import FakeService
from score.testing.song import FakeSong, SongFile
from score.transfer import connections
from score.transfer.http import Http, Timeouts
from score.transfer.retry import Patience

TOKEN = "720dffc1-628f-49f2-992f-f09b8ba2ae2a"
DATA = b"d" * 1000
LINK_LOCAL = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://169.254.170.2/v2/credentials",
    "https://169.254.0.1/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/latest/",
    "http://100.100.100.200/latest/meta-data",
    "http://user:password@169.254.169.254/",
    "http://169.254.169.254:80/",
]


class Elsewhere(FakeService):
    """Another service on the same host: it answers everything, and keeps what it was sent."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.route("*", "/{path:.*}", self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(text="s3")


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as service:
        yield service


@pytest.fixture
def score() -> Iterator[FakeScore]:
    with FakeScore() as score:
        yield score


@pytest.fixture
def http() -> Iterator[Http]:
    http = Http(2, Timeouts(connect=20, read=20))
    yield http
    http.close()


def settings(score: FakeService, song: FakeService, **more: Any) -> Settings:
    quick = {"patience": Patience(attempts=1, first_wait=0), "timeouts": Timeouts(connect=20, read=20)}
    return Settings(score.url, song.url, TOKEN, **quick, **more)


@pytest.fixture
def client(score: FakeScore, song: FakeSong) -> Iterator[Client]:
    with Client(settings(score, song)) as client:
        yield client


@pytest.fixture
def file(score: FakeScore, song: FakeSong) -> SongFile:
    """A registered file whose object is in place."""
    registered = song.register("f.bam", analysis="b", size=len(DATA), md5=hashlib.md5(DATA).hexdigest())
    score.public_url = score.url
    score.add(registered.object_id, DATA)
    return registered


def tokens(*services: FakeService) -> list[str]:
    """The values of all Authorization headers that these services got."""
    return [
        seen.headers["authorization"]
        for one in services
        for seen in one.traffic.seen()
        if "authorization" in seen.headers
    ]


# Who gets the token


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_takes_the_token_elsewhere(
    client: Client, score: FakeScore, song: FakeSong, elsewhere: Elsewhere, tmp_path: Path, status: int
) -> None:
    """Not to another port of the same host either: it is another service."""
    object_id = str(uuid.uuid4())
    redirection = Answer(status, b"", {"Location": f"{elsewhere.url}/elsewhere"})
    for service in (score, song):
        service.traffic.inject(redirection, times=None)
    data = tmp_path / "f"
    data.write_bytes(DATA)
    calls: list[Callable[[], object]] = [
        client.score.profile,
        client.score.ping,
        lambda: client.score.exists(object_id),
        lambda: client.score.start(object_id, 5, "0" * 32, overwrite=False),
        lambda: client.score.complete(object_id, "u"),
        lambda: client.score.cancel(object_id, "u"),
        lambda: client.score.download(object_id),
        lambda: client.song.entity(object_id),
        lambda: client.song.publish("S", "a"),
        lambda: client.upload(data, object_id),
        lambda: client.url(object_id),
    ]
    for call in calls:
        with pytest.raises(Refused, match="not followed"):
            call()
    (outcome,) = client.download([object_id], tmp_path / "out")
    assert isinstance(outcome.error, Refused)
    assert set(tokens(score, song)) == {f"Bearer {TOKEN}"}, "it was sent where it belongs"
    assert elsewhere.traffic.seen() == []


def test_no_data_call_has_the_token(
    client: Client, score: FakeScore, song: FakeSong, elsewhere: Elsewhere, file: SongFile, tmp_path: Path
) -> None:
    """Signed URLs are all that a store is shown, be it on the server's own host."""
    client.download([file.object_id], tmp_path)
    client.score.ping()
    data = tmp_path / "f"
    data.write_bytes(DATA)
    upload = song.register("g", analysis="a", size=len(DATA), md5=hashlib.md5(DATA).hexdigest())
    song.set_state(upload.analysis, "UNPUBLISHED")
    client.upload(data, upload.object_id)
    store = score.traffic.seen(path="/store/")
    assert {seen.method for seen in store} == {"GET", "PUT"}
    assert not [seen for seen in store if "authorization" in seen.headers or TOKEN in str(seen.headers)]
    score.public_url = elsewhere.url
    client.download([file.object_id], tmp_path / "again")
    assert elsewhere.traffic.seen()
    assert tokens(elsewhere) == []


def test_a_stores_redirection_is_not_followed(
    client: Client, score: FakeScore, elsewhere: Elsewhere, file: SongFile, tmp_path: Path
) -> None:
    score.traffic.inject(Answer(307, b"", {"Location": f"{elsewhere.url}/x"}), path="/store/", times=None)
    (outcome,) = client.download([file.object_id], tmp_path)
    assert outcome.error is not None
    assert elsewhere.traffic.seen() == []


def test_a_manifests_host_does_not_get_the_token(client: Client, elsewhere: Elsewhere) -> None:
    fetch(f"{elsewhere.url}/manifest.tsv", "", client.http)
    fetch(str(uuid.uuid4()), elsewhere.url, client.http)
    assert len(elsewhere.traffic.seen()) == 2
    assert tokens(elsewhere) == []


def test_a_song_that_is_not_proven_does_not_get_the_token(score: FakeScore, tmp_path: Path) -> None:
    """``metadata.ssl.enabled=false``: the certificate is not looked at, so anybody may be there."""
    authority = Authority()
    song = FakeSong()
    song.tls = authority.issue().context(tmp_path)
    with song:
        file = song.register("f.bam", analysis="a")
        with Client(settings(score, song)) as client, pytest.raises(Refused, match="not trusted"):
            client.song.entity(file.object_id)
        with Client(settings(score, song, verify_metadata=False)) as client:
            assert client.song.entity(file.object_id).file_name == "f.bam"
            client.score.profile()
        assert tokens(song) == []
        assert tokens(score) == [f"Bearer {TOKEN}"]
        (tmp_path / "ca.pem").write_bytes(authority.pem())
        with Client(settings(score, song, tls=Tls(str(tmp_path / "ca.pem")))) as client:
            client.song.entity(file.object_id)
        assert tokens(song) == [f"Bearer {TOKEN}"]


# Who is called


@pytest.mark.parametrize("url", LINK_LOCAL)
def test_no_url_leads_to_a_link_local_address(http: Http, url: str) -> None:
    """Clouds keep the keys of the machine there."""
    with pytest.raises(Refused, match="link-local") as caught:
        http.request("GET", url)
    assert "password" not in str(caught.value)
    with pytest.raises(Refused, match="link-local"):
        fetch(url, "", http)


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
def test_a_name_that_leads_there_gets_nothing(
    http: Http, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """What counts is the address that was connected to, however it was written. Loopback stands in for it here."""
    assert http.request("GET", elsewhere.url.replace("127.0.0.1", host)).status == 200
    elsewhere.traffic.forget()
    monkeypatch.setattr(connections, "_FORBIDDEN", (ip_network("127.0.0.0/8"),))
    fresh = Http(1, Timeouts(connect=20, read=20))
    with pytest.raises(Refused, match="link-local"):
        fresh.request("GET", elsewhere.url.replace("127.0.0.1", host))
    fresh.close()
    assert elsewhere.traffic.seen() == []


@pytest.mark.parametrize("where", LINK_LOCAL[:4])
def test_a_redirected_manifest_leads_nowhere_near(http: Http, elsewhere: Elsewhere, where: str) -> None:
    elsewhere.traffic.inject(Answer(302, b"", {"Location": where}), times=None)
    with pytest.raises(Refused):
        fetch(f"{elsewhere.url}/manifest.tsv", "", http)


@pytest.mark.parametrize(
    "spec",
    [
        "file:///etc/passwd", "FILE:/etc/passwd", "file://localhost/etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x",
        "data:text/plain,x", "jar:file:///x", "http:/127.0.0.1/x", "//127.0.0.1/x",
    ],
)  # fmt: skip
def test_a_manifest_is_a_file_or_a_web_address(http: Http, spec: str) -> None:
    with pytest.raises(ScoreError) as caught:
        fetch(spec, "", http)
    assert isinstance(caught.value, NotFound), "taken as the name of a file that is not there"


@pytest.mark.parametrize("where", LINK_LOCAL[:2])
def test_part_urls_of_the_server_lead_nowhere_near(
    client: Client, score: FakeScore, song: FakeSong, file: SongFile, tmp_path: Path, where: str
) -> None:
    score.public_url = where.rstrip("/")
    (outcome,) = client.download([file.object_id], tmp_path)
    assert "link-local" in str(outcome.error)
    with pytest.raises(Refused, match="link-local"):
        client.score.ping()


# The server's calls to Song


def ask(url: str, *calls: Callable[[Song], Any]) -> list[object]:
    """What calls to Song give, or fail with."""

    async def run() -> list[object]:
        song = Song(url)
        try:
            return await asyncio.gather(*[call(song) for call in calls], return_exceptions=True)
        finally:
            await song.close()

    return asyncio.run(run())


def test_song_sends_the_server_nowhere_else(song: FakeSong, elsewhere: Elsewhere) -> None:
    song.traffic.inject(Answer(302, b"", {"Location": f"{elsewhere.url}/latest/meta-data"}), times=None)
    entity, state, probe = ask(
        song.url,
        lambda one: one.entity(str(uuid.uuid4())),
        lambda one: one.analysis_state("S", "a"),
        lambda one: one.probe(),
    )
    assert isinstance(entity, Refused)
    assert isinstance(state, Refused)
    assert "302" in str(probe)
    assert elsewhere.traffic.seen() == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_takes_keys_and_secrets_elsewhere(elsewhere: Elsewhere, status: int) -> None:
    """The server's secret, and keys and tokens of callers, follow no redirection of an authorization server."""
    away = Answer(status, b"", {"Location": f"{elsewhere.url}/o/check_api_key"})
    once = calls.Patience(retries=0)

    async def run() -> list[object]:
        keys = ApiKeys(KeyServer(ego.check_url, ego.client_id, ego.client_secret, patience=once))
        permissions = RealmPermissions(Realm(keycloak.url, keycloak.realm, keycloak.client_id), once)
        asked = [keys.identify(ego.issue_key("a.READ")), permissions.of(keycloak.issue_jwt("a.READ"), {})]
        found = await asyncio.gather(*asked, keys.probe(), permissions.probe(), return_exceptions=True)
        await keys.close()
        await permissions.close()
        return found

    with FakeEgo() as ego, FakeKeycloak() as keycloak:
        for one in (ego, keycloak):
            one.traffic.inject(away, times=None)
        owner, scopes, *probes = asyncio.run(run())
    assert isinstance(owner, Unavailable)
    assert isinstance(scopes, Unavailable)
    assert all(str(status) in str(probe) for probe in probes)
    assert elsewhere.traffic.seen() == []


@pytest.mark.parametrize("safe", [True, False], ids=["https", "http"])
def test_no_redirection_has_keys_fetched_without_tls(tmp_path: Path, safe: bool) -> None:
    """A key that proves tokens and is asked for over TLS comes over TLS, whoever sends on; to another address with
    TLS a redirection is followed."""
    authority = Authority()

    async def run(ego: FakeEgo) -> Identity | ScoreError:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wants_key = b" /key " in await reader.readuntil(b"\r\n\r\n")
            there = f"https://127.0.0.1:{port}/key" if safe else ego.public_key_url
            body = ego.public_key.encode() if wants_key else b""
            head = "200 OK\r\n" if wants_key else f"302 Found\r\nlocation: {there}\r\n"
            writer.write(f"HTTP/1.1 {head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
            await writer.drain()
            writer.close()

        context = authority.issue().context(tmp_path)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        trusted = ssl.create_default_context(cadata=authority.pem().decode())
        jwts = Jwts(KeySet(f"https://127.0.0.1:{port}/asked", read_pem, tls=trusted))
        token = ego.issue_jwt("score.READ")
        try:
            async with asyncio.timeout(20):
                problem = await jwts.probe()
                assert safe or "without TLS" in problem
                return await jwts.identify(token)
        except ScoreError as error:
            return error
        finally:
            await jwts.close()
            server.close()

    with FakeEgo() as ego:
        found = asyncio.run(run(ego))
    if safe:
        assert isinstance(found, Identity)
        assert "score.READ" in found.scopes
    else:
        assert isinstance(found, Unavailable)


@pytest.mark.parametrize(
    "evil",
    [
        "../../admin",
        "..",
        "a?b=c",
        "a#b",
        "a/../../x",
        "@evil.example",
        "http://evil.example/",
        "a\r\nX: y",
        "%2e%2e",
        "\\..\\x",
    ],
)
def test_names_become_one_piece_of_a_path(song: FakeSong, evil: str) -> None:
    """Study and analysis come from Song's own answers; they never choose another call, query or host."""
    ask(song.url, lambda one: one.analysis_state(evil, evil), lambda one: one.entity(evil))
    for seen in song.traffic.seen():
        assert seen.query == ""
        assert "x" not in seen.headers
    paths = sorted(seen.path for seen in song.traffic.seen())
    if evil == "..":
        assert paths == [], "no server may be asked to go up"
        return
    assert len(paths) == 2
    assert paths[0].startswith("/entities/")
    assert paths[1].startswith("/studies/")
